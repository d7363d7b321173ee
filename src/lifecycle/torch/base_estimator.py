"""Base class of the torch estimators: arguments, data, and how `fit` runs."""

import inspect
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_is_fitted, check_X_y, validate_data
from torch import nn
from torch.optim import lr_scheduler as schedulers

from lifecycle import _check
from lifecycle._display import axes_or_new
from lifecycle._progress import progress_bar
from lifecycle.torch import optimizers
from lifecycle.torch._openmp import serial_in_forked_child
from lifecycle.torch.batches import as_array, as_sequences, input_dtype_and_device, to_batches
from lifecycle.torch.gradual_pruning import GradualPruning
from lifecycle.torch.module_factory import build
from lifecycle.torch.quantized import holds_quantized
from lifecycle.torch.training import (
    BestEpoch,
    Samples,
    TrainingConfig,
    predict_batches,
    prediction_threads,
    seeded,
    train,
)

_PREFIX = "module__"


class TorchEstimator(BaseEstimator):
    """Arguments, data and the course of `fit`.

    A subclass defines
      `_target_checks`: the arguments with which scikit-learn checks y;
      `_fit_targets(y, fresh)`, which sets the fitted attributes that describe y;
      `_encode_targets(y)`: the targets as the loss takes them;
      `_n_out()`: outputs of the module; `_n_columns()`: numbers of columns that its output may have;
      `_make_loss(weighted, device)`, `_score(out, y, weights)`, and `_splitter(seed)` for early_stopping=True.
    """

    module_: nn.Module
    history_: list[dict[str, Any]]
    n_features_in_: int
    takes_sequences_: bool

    # -- arguments -------------------------------------------------------------------------------------------------

    def _set_arguments(self, arguments: dict[str, Any]) -> None:
        """Take the arguments of `__init__`; those of the module become attributes with their prefix."""
        module_params = arguments.pop("module__params")
        for name in module_params:
            if not name.startswith(_PREFIX):
                raise TypeError(f"{type(self).__name__} has no argument {name!r}; those of the module are module__name")
        for name, value in (arguments | module_params).items():
            if name != "self":
                setattr(self, name, value)

    def _module_params(self) -> dict[str, Any]:
        return {k.removeprefix(_PREFIX): v for k, v in vars(self).items() if k.startswith(_PREFIX)}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Arguments by name, those of the module (module__name) among them."""
        return super().get_params(deep) | {_PREFIX + k: v for k, v in self._module_params().items()}

    def set_params(self, **params: Any) -> Any:
        """Set arguments, also module__name and, for an optimizer object, optimizer__name."""
        super().set_params(**{k: v for k, v in params.items() if not k.startswith(_PREFIX)})
        for name, value in params.items():
            if name.startswith(_PREFIX):
                setattr(self, name, value)
        return self

    def _check_params(self) -> None:
        for name in ("batch_size", "max_epochs", "n_iter_no_change"):
            _check.integer(name, getattr(self, name), low=1)
        _check.number("validation_fraction", self.validation_fraction, above=0.0, below=1.0)
        if self.max_grad_norm is not None:
            _check.number("max_grad_norm", self.max_grad_norm, above=0.0)
        if self.ema_decay is not None:
            _check.number("ema_decay", self.ema_decay, above=0.0, below=1.0)
        _check.one_of("warm_start", self.warm_start, (False, True))
        _check.one_of("progress", self.progress, (None, False, True))
        if not isinstance(self.callbacks, (list, tuple)) or not all(map(callable, self.callbacks)):
            raise TypeError(f"callbacks must be a list or tuple of callables; got {self.callbacks!r}")
        stop = self._early_stopping()
        pair = isinstance(stop, (tuple, list)) and len(stop) == 2
        if not (isinstance(stop, bool) or pair or hasattr(stop, "split")) or isinstance(stop, str):
            raise ValueError(f"early_stopping must be False, True, a splitter or a pair (X_val, y_val); got {stop!r}")

    def _early_stopping(self) -> Any:
        stop = self.early_stopping
        return bool(stop) if isinstance(stop, np.bool_) else stop  # of a grid that is an array

    # -- data ------------------------------------------------------------------------------------------------------

    def _check_data(self, X: Any, y: Any = None, *, reset: bool, target: dict[str, Any] | None = None) -> Any:
        """X checked, as an array or a list of sequences; with `target` (how to check it) also y."""
        X, y = as_array(X), as_array(y)
        expected = not reset and self.takes_sequences_
        sequences = as_sequences(X, expected)
        if expected and sequences is None:
            raise ValueError(f"this {type(self).__name__} was fitted on a list of sequences; got {type(X).__name__}")
        if sequences is None and isinstance(X, (list, tuple)):
            X = [as_array(x) for x in X]
        if sequences is None and (X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim) < 3:
            if target is None:
                return validate_data(self, X, reset=reset)
            X, y = validate_data(self, X, y, reset=reset, **target)
            self.takes_sequences_ = False
            return X, y
        if sequences is None:
            X = check_array(X, allow_nd=True, input_name="X")
            n_features = X.shape[1] if X.ndim == 4 else X.shape[-1]
        else:
            X = sequences
            n_features = 1 if X[0].ndim == 1 else X[0].shape[1]
        if not reset and n_features != self.n_features_in_:
            name = type(self).__name__
            raise ValueError(f"X has {n_features} features, but {name} is expecting {self.n_features_in_} features")
        if target is None:
            return X
        _, y = check_X_y(np.zeros((len(X), 1)), y, estimator=self, **target)
        if reset:
            self.n_features_in_, self.takes_sequences_ = n_features, sequences is not None
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        return X, y

    def _check_lengths(self, X: Any, net: nn.Module) -> None:
        takes = inspect.signature(net.forward).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in takes.values())
        if isinstance(X, list) and "lengths" not in takes and not takes_any:
            raise ValueError(
                f"X holds sequences of different lengths, but {type(net).__name__}.forward takes no `lengths`: use "
                "lt.RNN, or add the argument forward(x, lengths)"
            )

    def _check_weights(self, sample_weight: Any, n: int) -> np.ndarray | None:
        if sample_weight is None:
            return None
        weights = check_array(as_array(sample_weight), ensure_2d=False, dtype=np.float64, input_name="sample_weight")
        if weights.shape != (n,):
            raise ValueError(f"sample_weight must have the shape ({n},), one weight per sample; got {weights.shape}")
        if weights.min() < 0 or not weights.sum() > 0:
            raise ValueError("sample_weight must not be negative, and not all zero")
        return weights

    def _training_weights(self, y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
        """Weights of the samples, those of their classes included."""
        return sample_weight

    # -- fit -------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train the module.

        Parameters
        ----------
        X : array, DataFrame or tensor (n, …), or list of n sequences
            A sequence is (steps,) or (steps, features); a batch of sequences is padded to its longest, and the module
            is called with their lengths, `forward(x, lengths=…)`. Numbers get the dtype of the module's parameters;
            integers stay integers where its first layer is an `nn.Embedding`.
        y : array of shape (n,), for a regressor also (n, targets)
        sample_weight : array of shape (n,), optional
            The loss is the mean of weight × loss per sample, with the weights scaled to a mean of 1.

        Returns
        -------
        self

        Notes
        -----
        After an error the estimator is not fitted, except with `warm_start`, where the earlier model stays. Training
        that is interrupted from the keyboard leaves the model that it has reached, with the `history_` of the epochs
        that it has completed: the averaged weights with `ema_decay`, those of the best epoch with `early_stopping`.
        Before training begins an interrupt leaves what an error leaves.
        """
        self._check_params()
        fresh = not (self.warm_start and hasattr(self, "module_"))
        if fresh:
            self._forget()  # what describes the data changes first, and would not fit the earlier model
        try:
            with serial_in_forked_child():
                return self._fit(X, y, sample_weight, fresh)
        except Exception:
            if fresh:
                self._forget()
            raise

    def _forget(self) -> None:
        for name in ("module_", "history_", "n_iter_", "best_epoch_"):
            self.__dict__.pop(name, None)

    def _fit(self, X: Any, y: Any, sample_weight: Any, fresh: bool) -> Any:
        X, y = self._check_data(X, y, reset=fresh, target=self._target_checks)
        weights = self._check_weights(sample_weight, len(X))
        self._fit_targets(y, fresh)
        device = torch.device(self.device)
        seed = int(_check.random_state(self.random_state).randint(2**31 - 1))
        with seeded(seed, device), torch.enable_grad():
            if fresh:
                shape = X.shape[1:] if isinstance(X, np.ndarray) else X[0].shape[1:]
                net = build(self.module, self._module_params(), shape, self._n_out())
            else:
                net = self.module_
                if holds_quantized(net):
                    raise ValueError(
                        "warm_start cannot go on with int8 layers, which have no gradient: fit the model that was "
                        "quantized, and quantize it again"
                    )
            self._check_lengths(X, net)
            net = net.to(device)
            samples, validation = self._split_validation(net, X, y, weights, seed)
            config = self._training_config(net, samples)
            if fresh:  # at once: an interrupt may come at any time
                self.__dict__.update(history_=[], n_iter_=0, module_=net.eval())
            self._train(net, samples, validation, config)
        return self

    def _train(self, net: nn.Module, samples: Samples, validation: Samples | None, config: TrainingConfig) -> None:
        epochs_before, best = len(self.history_), BestEpoch()
        with progress_bar(config.max_epochs, type(self).__name__, self.progress) as bar:

            def on_epoch(record: dict[str, Any]) -> None:
                self.history_.append({"epoch": len(self.history_) + 1, **record})
                self.n_iter_ = len(self.history_)
                bar.set_postfix(loss=f"{record.get('valid_loss', record['train_loss']):.4g}", refresh=False)
                bar.update()

            def stops() -> bool:
                # every callback is called, also after one that stops
                stops = [callback(self, dict(self.history_[-1])) for callback in self.callbacks]
                return any(isinstance(stop, (bool, np.bool_)) and bool(stop) for stop in stops)

            n_steps = config.max_epochs * -(-len(samples.rows) // config.batch_size)
            pruning = [callback for callback in self.callbacks if isinstance(callback, GradualPruning)]
            try:
                for callback in pruning:
                    callback.attach(net, config.optimizer, n_steps)
                train(net, samples, validation, config, on_epoch, stops, best)
                for callback in pruning:
                    callback.finish()
            finally:
                for callback in pruning:
                    callback.detach()
                self.__dict__.pop("best_epoch_", None)
                if best.epoch is not None:
                    self.best_epoch_ = epochs_before + best.epoch

    def _split_validation(
        self, net: nn.Module, X: Any, y: np.ndarray, weights: np.ndarray | None, seed: int
    ) -> tuple[Samples, Samples | None]:
        """The samples to train on, and those to validate on."""
        samples = self._samples(net, X, y, self._training_weights(y, weights))
        stop = self._early_stopping()
        if stop is False:
            return samples, None
        if isinstance(stop, (tuple, list)):
            X_val, y_val = self._check_data(*stop, reset=False, target=self._target_checks)
            self._check_lengths(X_val, net)
            return samples, self._samples(net, X_val, y_val, self._training_weights(y_val, None))
        splitter = self._splitter(seed) if stop is True else stop
        try:
            train_rows, valid_rows = next(iter(splitter.split(np.zeros((len(y), 1)), y)))
        except ValueError as error:
            raise ValueError(f"early_stopping={stop!r} cannot hold rows out: {error}") from None
        if not len(train_rows) or not len(valid_rows):
            raise ValueError(f"early_stopping={stop!r} leaves no rows to train or to validate on")
        return samples.subset(train_rows), samples.subset(valid_rows)

    def _samples(self, net: nn.Module, X: Any, y: np.ndarray, weights: np.ndarray | None) -> Samples:
        dtype, device = input_dtype_and_device(net)
        targets = torch.from_numpy(self._encode_targets(y)).to(device)
        if targets.is_floating_point():
            targets = targets.to(dtype)
        # scaled, so that no weight is too large for the dtype
        w = None if weights is None else torch.from_numpy(weights / (weights.max() or 1.0)).to(device, dtype)
        return Samples(to_batches(X, net), targets, w, torch.arange(len(y), device=device))

    def _training_config(self, net: nn.Module, samples: Samples) -> TrainingConfig:
        params = [p for p in net.parameters() if p.requires_grad]
        if not params:
            raise ValueError(f"the module {type(net).__name__} has no parameters to train")
        optimizer = optimizers.resolve(self.optimizer, params, lr=self.lr, weight_decay=self.weight_decay)
        return TrainingConfig(
            optimizer,
            _scheduler(self.lr_scheduler, optimizer, self.max_epochs),
            self._make_loss(samples.weights is not None, samples.y.device),
            self._check_output,
            self._inspect_first_output,
            self._score,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            patience=self.n_iter_no_change,
            max_grad_norm=self.max_grad_norm,
            ema_decay=self.ema_decay,
        )

    def _inspect_first_output(self, out: torch.Tensor) -> None:
        """Check more of the output of the first batch, which has a gradient."""

    def _check_output(self, out: Any) -> torch.Tensor:
        """The module's output, checked, as (n, outputs)."""
        columns = self._n_columns()
        if isinstance(out, torch.Tensor):
            if out.ndim == 1 and 1 in columns:
                return out[:, None]
            if out.ndim == 2 and out.shape[1] in columns:
                return out
        got = f"shape {tuple(out.shape)}" if isinstance(out, torch.Tensor) else type(out).__name__
        wanted = " or ".join(f"(n, {k})" for k in columns)
        raise ValueError(f"the module must return a tensor {wanted} for n samples; it returned {got}")

    # -- after fit -------------------------------------------------------------------------------------------------

    @serial_in_forked_child()
    def _forward(self, X: Any) -> torch.Tensor:
        """Outputs for X in double precision on the CPU, computed batch by batch."""
        check_is_fitted(self, "module_")
        X = self._check_data(X, reset=False)
        self._check_lengths(X, self.module_)
        data = to_batches(X, self.module_)
        rows = torch.arange(len(data), device=input_dtype_and_device(self.module_)[1])
        arguments = self.module_, data, rows, self.batch_size
        with prediction_threads(*arguments):
            return torch.cat([self._check_output(out).double().cpu() for _, out in predict_batches(*arguments)])

    def plot_history(self, ax: Any = None) -> Any:
        """Training and validation loss per epoch.

        Parameters
        ----------
        ax : matplotlib axes, optional

        Returns
        -------
        matplotlib axes
        """
        check_is_fitted(self, "history_")
        ax = axes_or_new(ax, "plot_history", layout=None)
        for name, label in (("train_loss", "training"), ("valid_loss", "validation")):
            points = [(h["epoch"], h[name]) for h in self.history_ if name in h]
            if points:
                ax.plot(*zip(*points, strict=True), label=label)
        if hasattr(self, "best_epoch_"):
            ax.axvline(self.best_epoch_, linestyle=":", color="grey", label="best epoch")
        ax.set(xlabel="epoch", ylabel="loss")
        ax.legend()
        return ax


def _scheduler(chosen: Any, optimizer: torch.optim.Optimizer, max_epochs: int) -> Any:
    if chosen is None:
        return None
    if isinstance(chosen, str):
        _check.one_of("lr_scheduler", chosen, ("cosine", "plateau"))
        if chosen == "cosine":
            return schedulers.CosineAnnealingLR(optimizer, T_max=max_epochs)
        return schedulers.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
    made = chosen(optimizer) if callable(chosen) else None
    if not hasattr(made, "step"):
        raise TypeError(
            "lr_scheduler must be None, 'cosine', 'plateau' or a callable from an optimizer to a scheduler; "
            f"got {chosen!r}"
        )
    return made
