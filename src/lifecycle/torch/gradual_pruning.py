"""GradualPruning: a network loses more and more of its weights while it is trained."""

from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle._check import integer, number, one_of
from lifecycle.masks import lamp, list_masks, lowest
from lifecycle.torch import adapter

__all__ = ["GradualPruning"]


class GradualPruning:
    """Prune a network in small steps during its training, so that what remains can adapt.

    The share of zeros after step t follows s (1 − (1 − (t − t₀) / (t₁ − t₀))³) (Zhu & Gupta, 2018). Weights that are
    zero stay zero: the mask is applied at the end of each step of the optimizer.

    Parameters
    ----------
    amount : float
        Share s of the weights that are zero at the end, 0 < amount < 1.
    begin, end : float, default=0.1, 0.75
        The first and the last step of pruning, t₀ and t₁, as shares of all steps.
    n_updates : int, default=50
        Times at which more weights are pruned.
    method : str, default="magnitude"
        A criterion that needs the weights alone.
    scope : {"global", "layer"}, default="global"
        As for `lifecycle.prune`.
    protect : sequence of str, default=()
        As for `lifecycle.prune`.

    Notes
    -----
    As one of the `callbacks` of a TorchClassifier or TorchRegressor it knows the steps. With early stopping, the
    weights of the best epoch are pruned to the full amount at the end.

    In a loop of your own::

        pruning = lt.GradualPruning(0.8).attach(net, optimizer, n_steps=len(loader) * n_epochs)
        ...  # train
        pruning.finish()
    """

    def __init__(
        self,
        amount: float,
        *,
        begin: float = 0.1,
        end: float = 0.75,
        n_updates: int = 50,
        method: str = "magnitude",
        scope: str = "global",
        protect: Any = (),
    ):
        self.amount = number("amount", amount, above=0, below=1)
        self.begin = number("begin", begin, low=0, high=1)
        self.end = number("end", end, low=self.begin, high=1)
        self.n_updates = integer("n_updates", n_updates, low=1)
        criteria = [name for name, criterion in list_masks().items() if criterion.STATISTIC is None]
        self.method = one_of("method", method, criteria)
        self.scope = one_of("scope", scope, ("global", "layer"))
        self.protect = protect

    def __call__(self, estimator: Any, record: dict[str, Any]) -> None:
        """What a callback does at the end of an epoch: nothing."""

    def attach(self, net: nn.Module, optimizer: torch.optim.Optimizer, n_steps: int) -> "GradualPruning":
        """Prune a network while this optimizer trains it for so many steps."""
        from lifecycle.compression._layers import unprotected_layers

        self.detach()
        self.n_steps, self.step, self.updates = integer("n_steps", n_steps, low=1), 0, 0
        names = [layer.name for layer in unprotected_layers(adapter.layers(net), self.protect, net)]
        self.weights = [adapter.parameter(net, name) for name in names]
        self.masks = [(w != 0).to(w.dtype) for w in self.weights]  # of a network that was pruned before
        self.handle = optimizer.register_step_post_hook(self._after_step)
        return self

    def finish(self) -> None:
        """End the pruning; whatever the training came to, the full amount of the weights is zero."""
        self._apply()
        self._prune(self.amount)
        self.detach()

    def detach(self) -> None:
        """End the pruning with the zeros that there are."""
        if hasattr(self, "handle"):
            self.handle.remove()
            del self.weights, self.masks, self.handle  # a copy of an estimator copies its callbacks

    def sparsity(self, step: int) -> float:
        """The share of zeros that is due after a step."""
        first, last = self.begin * self.n_steps, self.end * self.n_steps
        if step < first:
            return 0.0
        done = 1.0 if step >= last else (step - first) / (last - first)
        return self.amount * (1 - (1 - done) ** 3)

    def _after_step(self, *_: Any) -> None:
        self.step += 1
        self._apply()
        first, last = self.begin * self.n_steps, self.end * self.n_steps
        done = 1.0 if self.step >= last else max(self.step - first, 0.0) / (last - first)
        if int(done * self.n_updates) > self.updates:
            self.updates = int(done * self.n_updates)
            self._prune(self.sparsity(self.step))

    @torch.no_grad()
    def _apply(self) -> None:
        for weight, mask in zip(self.weights, self.masks, strict=True):
            weight.mul_(mask)

    @torch.no_grad()
    def _prune(self, amount: float) -> None:
        """Weights that are zero have the lowest scores, and stay zero."""
        arrays = [w.detach().float().cpu().numpy() for w in self.weights]
        scores = [list_masks()[self.method].scores(array, None) for array in arrays]
        if self.scope == "global":
            kept = lowest([lamp(s) for s in scores], amount)
        else:
            kept = [lowest([s], amount)[0] for s in scores]
        self.masks = [
            torch.from_numpy(np.ascontiguousarray(keep)).to(w.device, w.dtype)
            for keep, w in zip(kept, self.weights, strict=True)
        ]
        self._apply()
