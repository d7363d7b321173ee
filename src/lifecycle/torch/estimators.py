"""TorchClassifier and TorchRegressor: a torch module as a scikit-learn estimator."""

from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils.multiclass import check_classification_targets
from torch.nn import functional

from lifecycle._class_weight import class_weights
from lifecycle.torch._base import TorchEstimator
from lifecycle.torch.training import Loss

__all__ = ["TorchClassifier", "TorchRegressor"]

_ARGUMENTS = """
    Parameters
    ----------
    module : None, callable or torch.nn.Module
        None: an `MLP`. A callable, e.g. a module class, gets `module__name=value` as `name=value`; `n_in`, `n_out`
        and `image_size` come from the data where it takes them. A module is copied.
    loss : None, torch loss or callable (outputs, targets) -> loss
        None: {loss}.
    optimizer : str or optimizer of lifecycle
        Name of a rule, such as "adamw", or an object such as `lc.Adam(lr=1e-3)`.
    lr, weight_decay : float, optional
        None: the optimizer's own.
    lr_scheduler : None, "cosine", "plateau" or callable
        A callable makes a scheduler from an optimizer; it moves once an epoch.
    batch_size, max_epochs : int
    early_stopping : bool, splitter or (X_val, y_val)
        True: `validation_fraction` of the training rows are held out. Training stops after `n_iter_no_change`
        epochs without a smaller validation loss, and the weights of the best epoch are kept.
    max_grad_norm : float, optional
        Gradients of a larger norm, over all parameters, are scaled down to it.
    ema_decay : float, optional
        The model's weights are an exponential moving average of those that are trained.{class_weight}
    warm_start : bool
        `fit` goes on from the last `fit`'s weights.
    callbacks : list of callables (estimator, record) -> bool or None
        Called after each epoch; True stops.
    progress : bool, optional
        A bar; None: in a terminal or notebook only.
    device : str
    random_state : int, RandomState, Generator or None

    Attributes
    ----------
    module_ : torch.nn.Module, trained, in eval mode
    history_ : list of dicts with epoch, train_loss, lr, seconds; with validation also valid_loss and valid_score
    n_iter_ : int, epochs
    best_epoch_ : int, with early stopping
    n_features_in_, feature_names_in_ : of X
"""

_CLASS_WEIGHT = """
    class_weight : None, "balanced" or a dict from label to weight"""


class TorchClassifier(ClassifierMixin, TorchEstimator):
    __doc__ = (
        "Classifier around a torch module with one output per class; with two classes one output, a logit, will do.\n"
        + _ARGUMENTS.format(loss="cross entropy", class_weight=_CLASS_WEIGHT)
        + "    classes_ : array of labels\n"
    )

    _target_checks: dict[str, Any] = {}

    def __init__(self, module=None, *, loss=None, optimizer="adamw", lr=None, weight_decay=None, lr_scheduler=None,
                 batch_size=128, max_epochs=50, early_stopping=False, n_iter_no_change=5, validation_fraction=0.1,
                 max_grad_norm=None, ema_decay=None, class_weight=None, warm_start=False, callbacks=(), progress=None,
                 device="cpu", random_state=None, **module_params):  # fmt: skip
        self._set(locals())

    def _learn_targets(self, y: np.ndarray, fresh: bool) -> None:
        check_classification_targets(y)
        classes = np.unique(y)
        if not fresh:
            self._encode(y)
            return
        if len(classes) < 2:
            raise ValueError(f"y has one class only, {classes[0]!r}: a classifier needs at least two classes")
        self.classes_ = classes

    def _encode(self, y: np.ndarray) -> np.ndarray:
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"y has the class {unknown[0]!r}; this model knows {self.classes_.tolist()}")
        return np.searchsorted(self.classes_, y).astype(np.int64)

    def _n_out(self) -> int:
        return len(self.classes_)

    def _shaped(self, out: Any) -> torch.Tensor:
        k = len(self.classes_)
        if isinstance(out, torch.Tensor):
            if k == 2 and (out.ndim == 1 or out.shape[1:] == (1,)):
                logit = out.reshape(-1)
                return torch.stack((torch.zeros_like(logit), logit), dim=1)
            if out.ndim == 2 and out.shape[1] == k:
                return out
        got = f"shape {tuple(out.shape)}" if isinstance(out, torch.Tensor) else type(out).__name__
        raise ValueError(f"the module must return a tensor (n, {k}), one output per class; got {got}")

    def _make_loss(self, weighted: bool) -> Loss:
        return Loss(self.loss, _cross_entropy, lambda out, y: y, weighted)

    def _score(self, out: torch.Tensor, y: torch.Tensor, weights: torch.Tensor | None) -> float:
        hits = (out.argmax(dim=1) == y).double()
        return float(hits.mean() if weights is None else (hits * weights).sum() / weights.sum())

    def _weigh(self, y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
        if self.class_weight is None:
            return sample_weight
        codes = self._encode(y)
        weights = np.ones(len(y)) if sample_weight is None else sample_weight
        return weights * class_weights(self.class_weight, self.classes_, codes, weights)[codes]

    def _splitter(self, seed: int) -> Any:
        return StratifiedShuffleSplit(1, test_size=self.validation_fraction, random_state=seed)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, the softmax of the outputs, shape (n, classes)."""
        return torch.softmax(self._forward(X), dim=1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Labels, shape (n,)."""
        return self.classes_[self._forward(X).argmax(dim=1).numpy()]


class TorchRegressor(RegressorMixin, TorchEstimator):
    __doc__ = "Regressor around a torch module with one output per target.\n" + _ARGUMENTS.format(
        loss="the mean squared error", class_weight=""
    )

    _target_checks: dict[str, Any] = {"multi_output": True, "y_numeric": True}

    def __init__(self, module=None, *, loss=None, optimizer="adamw", lr=None, weight_decay=None, lr_scheduler=None,
                 batch_size=128, max_epochs=50, early_stopping=False, n_iter_no_change=5, validation_fraction=0.1,
                 max_grad_norm=None, ema_decay=None, warm_start=False, callbacks=(), progress=None, device="cpu",
                 random_state=None, **module_params):  # fmt: skip
        self._set(locals())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _learn_targets(self, y: np.ndarray, fresh: bool) -> None:
        if fresh:
            self._y_shape = y.shape[1:]
        self._encode(y)

    def _encode(self, y: np.ndarray) -> np.ndarray:
        if y.shape[1:] != self._y_shape:
            raise ValueError(f"y has the shape {y.shape}; this model was fitted on (n, *{self._y_shape})")
        return y.reshape(len(y), -1).astype(np.float64)

    def _n_out(self) -> int:
        return self._y_shape[0] if self._y_shape else 1

    def _shaped(self, out: Any) -> torch.Tensor:
        k = self._n_out()
        if isinstance(out, torch.Tensor):
            if k == 1 and out.ndim == 1:
                return out[:, None]
            if out.ndim == 2 and out.shape[1] == k:
                return out
        got = f"shape {tuple(out.shape)}" if isinstance(out, torch.Tensor) else type(out).__name__
        raise ValueError(f"the module must return a tensor (n, {k}), one output per target; got {got}")

    def _make_loss(self, weighted: bool) -> Loss:
        return Loss(self.loss, _squared_error, lambda out, y: y, weighted)

    def _score(self, out: torch.Tensor, y: torch.Tensor, weights: torch.Tensor | None) -> float:
        w = torch.ones(len(y), 1, dtype=torch.float64) if weights is None else weights.double()[:, None]
        out, y = out.double(), y.double()
        spread = (w * (y - (w * y).sum(dim=0) / w.sum()) ** 2).sum(dim=0)
        left = (w * (y - out) ** 2).sum(dim=0)
        return float((1.0 - left / spread.clamp_min(torch.finfo(torch.float64).tiny)).mean())

    def _splitter(self, seed: int) -> Any:
        return ShuffleSplit(1, test_size=self.validation_fraction, random_state=seed)

    def predict(self, X: Any) -> np.ndarray:
        """Predictions, shape (n,) or (n, targets) as y had."""
        found = self._forward(X).numpy()
        return found if self._y_shape else found[:, 0]


def _cross_entropy(out: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
    return functional.cross_entropy(out, y, reduction=reduction)


def _squared_error(out: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
    return functional.mse_loss(out, y, reduction=reduction)
