"""TorchClassifier and TorchRegressor: a torch module as a scikit-learn estimator."""

import warnings
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils.multiclass import check_classification_targets
from torch.nn import functional

from lifecycle._class_weight import class_weights
from lifecycle.torch.base_estimator import TorchEstimator
from lifecycle.torch.training import Loss

__all__ = ["TorchClassifier", "TorchRegressor"]


class TorchClassifier(ClassifierMixin, TorchEstimator):
    """Classifier around a torch module.

    Parameters
    ----------
    module : None, callable or torch.nn.Module, default=None
        None: an `MLP`. A callable, e.g. a module class, gets `module__name=value` as `name=value`; `n_in`, `n_out`
        and `image_size` come from the data where it takes them. A module is copied. It gives an output (a logit) per
        class; with two classes one logit will do. Outputs that are probabilities warn.
    loss : None, torch loss (object or class) or callable (outputs, targets) -> loss, default=None
        None: cross entropy. Targets are the numbers of the classes (n,), or 0.0 and 1.0 (n, 1) for a single logit.
    optimizer : str, optimizer object or callable, default="adamw"
        Name of a rule, such as "adamw"; an object such as `lc.Adam(lr=1e-3)`; or what makes a torch optimizer from
        parameters, such as `torch.optim.RMSprop`.
    lr, weight_decay : float, default=None
        None: the optimizer's own.
    lr_scheduler : None, "cosine", "plateau" or callable, default=None
        A callable makes a scheduler from an optimizer; it moves once an epoch.
    batch_size : int, default=128
        Rows of a step. A last batch of a single row joins the one before it.
    max_epochs : int, default=50
    early_stopping : bool, splitter or (X_val, y_val), default=False
        True: `validation_fraction` of the training rows is held out, stratified. A splitter: its first fold.
        Training stops after `n_iter_no_change` epochs without a smaller validation loss, and the weights of the best
        epoch are kept.
    n_iter_no_change : int, default=5
    validation_fraction : float, default=0.1
    max_grad_norm : float, default=None
        Gradients of a larger norm, over all parameters, are scaled down to it.
    ema_decay : float, default=None
        The model's weights are an exponential moving average of those that are trained. An optimizer of this library
        may have it instead.
    class_weight : None, "balanced" or dict from label to weight, default=None
        A sample's weight is multiplied by its class's.
    warm_start : bool, default=False
        `fit` goes on from the last `fit`'s weights and history, with a new optimizer.
    callbacks : list of callables (estimator, record) -> bool or None, default=()
        Called after each epoch with the estimator and the record in `history_`; True stops.
    progress : bool, default=None
        A bar; None: in a terminal or notebook only.
    device : str, default="cpu"
    random_state : int, RandomState, Generator or None, default=None
        Decides the first weights, the order of the rows, dropout and the held-out rows; torch's global generator is
        left as it was.
    **module__params
        Arguments of `module`, each as `module__name`.

    Attributes
    ----------
    module_ : torch.nn.Module
        Trained, in eval mode.
    history_ : list of dict
        Of each epoch: epoch, train_loss, lr, seconds; with early stopping also valid_loss and valid_score.
    n_iter_ : int
        Epochs.
    best_epoch_ : int
        With early stopping.
    classes_ : array of labels
    n_features_in_ : int
        Columns of X, channels of images, or features of a step.
    feature_names_in_ : array of str
        Of a DataFrame.
    """

    _target_checks: ClassVar[dict[str, Any]] = {}

    def __init__(self, module=None, *, loss=None, optimizer="adamw", lr=None, weight_decay=None, lr_scheduler=None,
                 batch_size=128, max_epochs=50, early_stopping=False, n_iter_no_change=5, validation_fraction=0.1,
                 max_grad_norm=None, ema_decay=None, class_weight=None, warm_start=False, callbacks=(), progress=None,
                 device="cpu", random_state=None, **module__params):  # fmt: skip
        self._set_arguments(locals())

    def _fit_targets(self, y: np.ndarray, fresh: bool) -> None:
        check_classification_targets(y)
        classes = np.unique(y)
        if not fresh:
            self._encode_targets(y)
            return
        if len(classes) < 2:
            raise ValueError(f"y has one class only, {classes.tolist()[0]!r}: a classifier needs at least two classes")
        self.classes_ = classes

    def _encode_targets(self, y: np.ndarray) -> np.ndarray:
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"y has the class {unknown.tolist()[0]!r}; this model knows {self.classes_.tolist()}")
        return np.searchsorted(self.classes_, y).astype(np.int64)

    def _n_out(self) -> int:
        return len(self.classes_)

    def _n_columns(self) -> tuple[int, ...]:
        k = len(self.classes_)
        return (2, 1) if k == 2 else (k,)

    def _make_loss(self, weighted: bool, device: torch.device) -> Loss:
        return Loss(self.loss, _cross_entropy, _class_targets, weighted, device)

    def _inspect_first_output(self, out: torch.Tensor) -> None:
        if _are_probabilities(out):
            warnings.warn(
                f"the outputs of {type(self.module_).__name__} are probabilities, and are taken as logits, by the "
                "default loss, predict and predict_proba: leave out the softmax or sigmoid at the end of the module",
                stacklevel=2,
            )

    def _score(self, out: torch.Tensor, y: torch.Tensor, weights: torch.Tensor | None) -> float:
        hits = (_logits(out).argmax(dim=1) == y).double()
        return float(hits.mean() if weights is None else (hits * weights).sum() / weights.sum())

    def _training_weights(self, y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
        if self.class_weight is None:
            return sample_weight
        codes = self._encode_targets(y)
        weights = np.ones(len(y)) if sample_weight is None else sample_weight
        return weights * class_weights(self.class_weight, self.classes_, codes, weights)[codes]

    def _splitter(self, seed: int) -> Any:
        return StratifiedShuffleSplit(1, test_size=self.validation_fraction, random_state=seed)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, the softmax of the outputs (of a single logit: its logistic function), shape (n, classes)."""
        return torch.softmax(_logits(self._forward(X)), dim=1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Labels, shape (n,)."""
        best = _logits(self._forward(X)).argmax(dim=1)
        return self.classes_[best.numpy()]


class TorchRegressor(RegressorMixin, TorchEstimator):
    """Regressor around a torch module.

    Parameters
    ----------
    module : None, callable or torch.nn.Module, default=None
        None: an `MLP`. A callable, e.g. a module class, gets `module__name=value` as `name=value`; `n_in`, `n_out`
        and `image_size` come from the data where it takes them. A module is copied. It gives an output per target.
    loss : None, torch loss (object or class) or callable (outputs, targets) -> loss, default=None
        None: the mean squared error. Outputs and targets are (n, targets).
    optimizer : str, optimizer object or callable, default="adamw"
        Name of a rule, such as "adamw"; an object such as `lc.Adam(lr=1e-3)`; or what makes a torch optimizer from
        parameters, such as `torch.optim.RMSprop`.
    lr, weight_decay : float, default=None
        None: the optimizer's own.
    lr_scheduler : None, "cosine", "plateau" or callable, default=None
        A callable makes a scheduler from an optimizer; it moves once an epoch.
    batch_size : int, default=128
        Rows of a step. A last batch of a single row joins the one before it.
    max_epochs : int, default=50
    early_stopping : bool, splitter or (X_val, y_val), default=False
        True: `validation_fraction` of the training rows is held out. A splitter: its first fold. Training
        stops after `n_iter_no_change` epochs without a smaller validation loss, and the weights of the best epoch are
        kept.
    n_iter_no_change : int, default=5
    validation_fraction : float, default=0.1
    max_grad_norm : float, default=None
        Gradients of a larger norm, over all parameters, are scaled down to it.
    ema_decay : float, default=None
        The model's weights are an exponential moving average of those that are trained. An optimizer of this library
        may have it instead.
    warm_start : bool, default=False
        `fit` goes on from the last `fit`'s weights and history, with a new optimizer.
    callbacks : list of callables (estimator, record) -> bool or None, default=()
        Called after each epoch with the estimator and the record in `history_`; True stops.
    progress : bool, default=None
        A bar; None: in a terminal or notebook only.
    device : str, default="cpu"
    random_state : int, RandomState, Generator or None, default=None
        Decides the first weights, the order of the rows, dropout and the held-out rows; torch's global generator is
        left as it was.
    **module__params
        Arguments of `module`, each as `module__name`.

    Attributes
    ----------
    module_ : torch.nn.Module
        Trained, in eval mode.
    history_ : list of dict
        Of each epoch: epoch, train_loss, lr, seconds; with early stopping also valid_loss and valid_score.
    n_iter_ : int
        Epochs.
    best_epoch_ : int
        With early stopping.
    n_features_in_ : int
        Columns of X, channels of images, or features of a step.
    feature_names_in_ : array of str
        Of a DataFrame.
    """

    _target_checks: ClassVar[dict[str, Any]] = {"multi_output": True, "y_numeric": True}

    def __init__(self, module=None, *, loss=None, optimizer="adamw", lr=None, weight_decay=None, lr_scheduler=None,
                 batch_size=128, max_epochs=50, early_stopping=False, n_iter_no_change=5, validation_fraction=0.1,
                 max_grad_norm=None, ema_decay=None, warm_start=False, callbacks=(), progress=None, device="cpu",
                 random_state=None, **module__params):  # fmt: skip
        self._set_arguments(locals())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _fit_targets(self, y: np.ndarray, fresh: bool) -> None:
        if fresh:
            self._y_shape = y.shape[1:]
        self._encode_targets(y)

    def _encode_targets(self, y: np.ndarray) -> np.ndarray:
        if y.shape[1:] != self._y_shape:
            wanted = ("n", *map(str, self._y_shape))
            raise ValueError(f"y has the shape {y.shape}; this model was fitted on ({', '.join(wanted)})")
        return y.reshape(len(y), -1).astype(np.float64)

    def _n_out(self) -> int:
        return self._y_shape[0] if self._y_shape else 1

    def _n_columns(self) -> tuple[int, ...]:
        return (self._n_out(),)

    def _make_loss(self, weighted: bool, device: torch.device) -> Loss:
        return Loss(self.loss, functional.mse_loss, lambda out, y: y, weighted, device)

    def _score(self, out: torch.Tensor, y: torch.Tensor, weights: torch.Tensor | None) -> float:
        """R², the mean over targets; of a constant target 1 or 0, as in scikit-learn."""
        out, y = out.double(), y.double()
        w = torch.ones_like(y[:, :1]) if weights is None else weights.double()[:, None]
        spread = (w * (y - (w * y).sum(dim=0) / w.sum()) ** 2).sum(dim=0)
        left = (w * (y - out) ** 2).sum(dim=0)
        return float(torch.where(spread > 0, 1.0 - left / spread, (left == 0).double()).mean())

    def _splitter(self, seed: int) -> Any:
        return ShuffleSplit(1, test_size=self.validation_fraction, random_state=seed)

    def predict(self, X: Any) -> np.ndarray:
        """Predictions, shape (n,) or (n, targets) as y had."""
        outputs = self._forward(X).numpy()
        return outputs if self._y_shape else outputs[:, 0]


def _are_probabilities(out: torch.Tensor) -> bool:
    """Whether outputs with a gradient are those of a sigmoid or a softmax, or rows of numbers >= 0 with the sum 1."""
    function: Any = out.grad_fn
    while function is not None and function.name().startswith(_RESHAPING):
        function = function.next_functions[0][0]
    if function is not None and function.name().startswith(("SigmoidBackward", "SoftmaxBackward")):
        return True
    sums = out.detach().double().sum(dim=1)
    return out.shape[1] > 1 and bool((out >= 0).all()) and bool((sums - 1.0).abs().max() < 1e-3)


# of the names of operations in torch's graph; a single logit by chance between 0 and 1 is no probability
_RESHAPING = ("View", "UnsafeView", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Select", "ToCopy", "Clone")


def _logits(out: torch.Tensor) -> torch.Tensor:
    """A column per class; of a single logit those of 0 and of it."""
    return out if out.shape[1] > 1 else torch.cat((torch.zeros_like(out), out), dim=1)


def _class_targets(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return y if out.shape[1] > 1 else y[:, None].to(out.dtype)


def _cross_entropy(out: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
    loss = functional.cross_entropy if out.shape[1] > 1 else functional.binary_cross_entropy_with_logits
    return loss(out, y, reduction=reduction)
