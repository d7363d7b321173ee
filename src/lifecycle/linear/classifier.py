"""LinearClassifier."""

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from lifecycle._class_weight import class_weights
from lifecycle.linear.base_estimator import LinearEstimator, has_steps, row_counts
from lifecycle.linear.training import TrainingSet

__all__ = ["LinearClassifier"]


class LinearClassifier(ClassifierMixin, LinearEstimator):
    """Linear classifier, trained by any update rule, by Newton's method or by coordinate descent.

    Parameters
    ----------
    loss : {"log_loss", "hinge", "squared_hinge", "modified_huber", "perceptron"}, default="log_loss"
        With more than two classes log_loss is the cross-entropy of the softmax, the others are one versus rest.
    penalty : {"l2", "l1", "elasticnet"} or None, default="l2"
        ‖w‖²/2, ‖w‖₁, or l1_ratio of the second and the rest of the first. The intercept is not penalized.
        Where steps take batches, l1 brings coefficients near zero; with "coordinate_descent" and "gd" they become
        zero.
    alpha : float, default=1e-4
        Weight of the penalty; see Notes.
    l1_ratio : float, default=0.15
        Share of "l1" in "elasticnet"; the other penalties do not use it.
    epsilon : float, default=0.1
        Not used by these losses.
    optimizer : str or optimizer, default="sgd"
        "gd", "sgd", "adam" or another of `lc.list_rules()`: epochs of that rule. "newton": a smooth loss (not "hinge",
        "perceptron") with penalty "l2" or None; a few steps. "coordinate_descent": a smooth loss with any
        penalty, above all "l1" and "elasticnet"; it copies the training rows in float64.
        An object such as `lc.Adam(lr=0.01)` brings its own hyperparameters; its weight_decay comes on top of the
        penalty, where that of a name is 0.
    lr : float, optional
        Constant step size, for a rule given by name. None: found from the data, as Notes says.
    batch_size : int or "auto", default="auto"
        Rows in a step. "auto": all for "gd", 1 for "sgd", 64 for other rules.
    max_iter : int, default=100
        Largest number of epochs, or of (proximal) Newton steps.
    tol : float or None, default=1e-4
        Training stalls when in n_iter_no_change epochs in a row the objective (with early_stopping the validation
        loss) does not fall by more than tol times the loss of zero coefficients; then it ends, or goes on with
        smaller steps (Notes); None: exactly max_iter epochs. Newton's method ends with a
        step that is predicted to lower the objective by less, and changes no coefficient by more than 1e-8 (float32:
        1e-5) of the largest. Coordinate descent ends where the duality gap, which bounds how far the objective is
        above its minimum, is at most tol times the same loss; without a penalty the gap is estimated.
    fit_intercept : bool, default=True
    shuffle : bool, default=True
        Take the rows in a new order in each epoch.
    early_stopping : bool, default=False
        Hold out rows, each class in proportion, and keep the coefficients of the epoch with the smallest loss on them.
    validation_fraction : float, default=0.1
        Share of the rows held out by early_stopping.
    n_iter_no_change : int, default=5
    average : bool or int, default=False
        True: the coefficients are the mean over all steps; a number: over the steps after that many rows.
    class_weight : None, "balanced" or a dict from label to weight, default=None
        Factor of the sample weights; "balanced" gives each class the same sum.
    warm_start : bool, default=False
        `fit` starts from the coefficients of the last `fit`.
    random_state : int, RandomState, Generator or None, default=None
        Of the order of the rows and of those held out; the same number gives the same bits.
    progress : bool or None, default=None
        Show a bar; None: in a terminal or notebook only.

    Attributes
    ----------
    coef_ : array, shape (1, n_features) with two classes, else (n_classes, n_features)
    intercept_ : array, shape (1,) with two classes, else (n_classes,)
    classes_ : array, shape (n_classes,)
        Labels, sorted.
    n_iter_ : int
        Epochs, or (proximal) Newton steps.
    history_ : list of dicts
        epoch and train_loss, the objective: before the step where an epoch is one step, over the rows as they came
        where it takes batches, at the end of the step for "newton" and "coordinate_descent".
        With early_stopping also
        valid_loss, the mean loss on the held-out rows after the epoch.
    n_features_in_ : int
    feature_names_in_ : array of str, shape (n_features,)
        Only if X has names that are all strings.

    Notes
    -----
    The objective is Σ wᵢ loss(yᵢ, zᵢ) / Σ wᵢ + alpha penalty(coef) for every optimizer, that of scikit-learn's
    SGDClassifier; of the sample weights wᵢ only the ratios count.
    With penalty="l2", loss="log_loss" is LogisticRegression with C = 1 / (n alpha), n being Σ wᵢ.

    The step size of lr=None, with c for the largest curvature of the loss (1 if it has none) and x for a row of the
    centred features with a 1 for the intercept, is

    * "gd" on all rows, with a smooth loss: 1/L, L being the largest eigenvalue of the Hessian of the mean loss or a
      bound of it, for the coefficients and for the intercept;
    * "gd" and "sgd" otherwise: 1 / (c max ‖x‖²) for "squared_hinge", whose slope has no bound, else 1 / (c mean ‖x‖²);
    * another rule: 0.1 over the root mean square of the elements of the x.

    1/L is kept. The others shrink to a fifth whenever training stalls, and the fifth stall is the end. Of steps for a
    part of the rows, epoch e takes (1 - (e - 1) / max_iter)² of that (not squared for "squared_hinge"), so that the
    noise of single rows fades however many epochs there are (Defazio et al., 2023).
    """

    _task = "classification"
    classes_: np.ndarray

    def __init__(self, loss="log_loss", *, penalty="l2", alpha=1e-4, l1_ratio=0.15, epsilon=0.1, optimizer="sgd",
                 lr=None, batch_size="auto", max_iter=100, tol=1e-4, fit_intercept=True, shuffle=True,
                 early_stopping=False, validation_fraction=0.1, n_iter_no_change=5, average=False, class_weight=None,
                 warm_start=False, random_state=None, progress=None):  # fmt: skip
        self._set_arguments(locals())

    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like or CSR matrix, shape (n_samples, n_features)
        y : array-like, shape (n_samples,)
            Class labels.
        sample_weight : array-like, shape (n_samples,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If arguments are unknown or do not fit together, there is NaN, one class only or no weight above zero,
            or the coefficients grow without bound. A ConvergenceWarning says that max_iter or lr did not suffice.
        """
        return self._fit(X, y, sample_weight)

    @available_if(has_steps)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One epoch over some of the rows, from where the last call ended; the optimizer's state is kept.

        With lr=None the step size is found in the first part and shrinks with the root of the number of parts; the
        features are centred by the means of the first part. Not for "newton", "coordinate_descent" and early_stopping.

        Parameters
        ----------
        X : array-like or CSR matrix, shape (n_samples, n_features)
        y : array-like, shape (n_samples,)
        classes : array-like, shape (n_classes,)
            All labels that will come; needed in the first call only.
        sample_weight : array-like, shape (n_samples,), optional
            As they are: a weight of 2 makes a step twice as long.

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, sample_weight, classes)

    def _check_targets(self, y):
        check_classification_targets(y)
        return y

    def _encode_targets(self, y):
        classes, codes = np.unique(y, return_inverse=True)
        return classes, codes.astype(np.min_scalar_type(len(classes)))

    def _make_training_set(self, encoded, weights, rows):
        classes, codes = encoded
        counts = row_counts(weights, rows, len(codes))
        is_present = np.bincount(codes[rows], minlength=len(classes)) > 0
        if not is_present.all():  # classes that these rows lack do not exist for the model
            codes = np.maximum(np.cumsum(is_present) - 1, 0)[codes]
            classes = classes[is_present]
        if len(classes) < 2:
            raise ValueError(f"y has one class only, {classes.tolist()[0]!r}: a classifier needs at least two classes")
        if self._is_warm_start() and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start: y has the classes {classes.tolist()}, the last fit had {self.classes_.tolist()}; "
                "fit a clone for other classes"
            )
        if self.class_weight is not None:
            counts = counts * class_weights(self.class_weight, classes, codes, counts)[codes]
        _check_weighted(classes[np.bincount(codes[counts != 0], minlength=len(classes)) > 0])
        return TrainingSet(counts, None, codes, classes)

    def _make_partial_training_set(self, y, weights, classes):
        known = getattr(self, "classes_", None)
        if known is None and classes is None:
            raise ValueError("the first call of partial_fit needs classes=, all labels that will come")
        given: np.ndarray = known if classes is None else np.unique(classes)  # type: ignore[assignment]
        if known is not None and not np.array_equal(given, known):
            raise ValueError(f"classes={given.tolist()} are not those of the first call, {known.tolist()}")
        if len(given) < 2:
            raise ValueError(f"there is one class only, {given.tolist()[0]!r}: a classifier needs at least two classes")
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all rows: give partial_fit a dict, e.g. of compute_class_weight"
            )
        strange = np.setdiff1d(y, given)
        if len(strange):
            raise ValueError(f"y has the labels {strange.tolist()}, which are not among the classes {given.tolist()}")
        codes = np.asarray(np.searchsorted(given, y))
        per_class = class_weights(self.class_weight, given, codes, weights)
        _check_weighted(given[per_class > 0])
        weights = weights * per_class[codes]
        return TrainingSet(weights, weights, codes, given)

    def _set_coefficients(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        self.coef_, self.intercept_ = coef, intercept

    def decision_function(self, X):
        """Scores: shape (n_samples,) with two classes (positive: the second), else (n_samples, n_classes)."""
        scores = self._decision_scores(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X):
        """Class labels, shape (n_samples,)."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]

    def _has_probabilities(self) -> bool:
        if self.loss not in ("log_loss", "modified_huber"):
            raise AttributeError(
                f"predict_proba exists for loss='log_loss' and 'modified_huber'; this is {self.loss!r}"
            )
        return True

    @available_if(_has_probabilities)
    def predict_proba(self, X):
        """Probabilities, shape (n_samples, n_classes); only for log_loss and modified_huber (Zadrozny, Elkan, 2002)."""
        scores = self._decision_scores(X)
        if self.loss == "log_loss":
            if scores.shape[1] > 1:
                return softmax(scores, axis=1)
            return np.hstack([expit(-scores), expit(scores)])
        p = (np.clip(scores, -1.0, 1.0) + 1.0) / 2.0
        if p.shape[1] == 1:
            return np.hstack([1.0 - p, p])
        p[p.sum(axis=1) == 0.0] = 1.0  # no class has a positive score: equal probabilities
        return p / p.sum(axis=1, keepdims=True)

    @available_if(_has_probabilities)
    def predict_log_proba(self, X):
        """Logarithms of the probabilities."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


def _check_weighted(classes: np.ndarray) -> None:
    """Refuse weights that leave fewer than two classes."""
    if len(classes) == 1:
        raise ValueError(f"only the class {classes.tolist()[0]!r} has a weight above zero: a classifier needs two")
    if not len(classes):
        raise ValueError("all sample weights are zero: there is nothing to fit")
