"""LinearRegressor."""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if

from lifecycle.linear.base_estimator import LinearEstimator, common_weights, has_steps, row_counts
from lifecycle.linear.training import TrainingSet

__all__ = ["LinearRegressor"]


class LinearRegressor(RegressorMixin, LinearEstimator):
    """Linear regression, trained by any update rule, Newton's method, coordinate descent or in closed form.

    Parameters
    ----------
    loss : {"squared_error", "huber", "epsilon_insensitive"}, default="squared_error"
        With r = z - y: r²/2; the same up to |r| = epsilon and linear beyond; max(0, |r| - epsilon).
    penalty : {"l2", "l1", "elasticnet"} or None, default="l2"
        ‖w‖²/2, ‖w‖₁, or l1_ratio of the second and the rest of the first. The intercept is not penalized.
        Where steps take batches, l1 brings coefficients near zero; with "coordinate_descent" and "gd" they become
        zero.
    alpha : float, default=1e-4
        Weight of the penalty; see Notes.
    l1_ratio : float, default=0.15
        Share of "l1" in "elasticnet"; the other penalties do not use it.
    epsilon : float, default=0.1
        Error from which "huber" is linear, and up to which "epsilon_insensitive" sees no error, in units of y.
    optimizer : str or optimizer, default="sgd"
        "gd", "sgd", "adam" or another of `lc.list_rules()`: epochs of that rule. "newton": a smooth loss (not
        "epsilon_insensitive") with penalty "l2" or None; a few steps. "exact": "squared_error"
        with penalty "l2" or None, in closed form; the solution of least norm where there are many.
        "coordinate_descent": a smooth loss with any penalty, above all "l1" and "elasticnet"; unless the loss is
        squared_error with at most 2,000 features and no more features than rows, it copies training rows in float64.
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
        loss) does not fall by more than tol times the loss of the mean of y; then it ends, or goes on with
        smaller steps (Notes); None: exactly max_iter epochs. Newton's method ends with a
        step that is predicted to lower the objective by less, and changes no coefficient by more than 1e-8 (float32:
        1e-5) of the largest. Coordinate descent ends where the duality gap, which bounds how far the objective is
        above its minimum, is at most tol times the same loss; without a penalty the gap is estimated.
    fit_intercept : bool, default=True
    shuffle : bool, default=True
        Take the rows in a new order in each epoch.
    early_stopping : bool, default=False
        Hold out rows and keep the coefficients of the epoch with the smallest loss on them.
    validation_fraction : float, default=0.1
        Share of the rows held out by early_stopping.
    n_iter_no_change : int, default=5
    average : bool or int, default=False
        True: the coefficients are the mean over all steps; a number: over the steps after that many rows.
    warm_start : bool, default=False
        `fit` starts from the coefficients of the last `fit`.
    random_state : int, RandomState, Generator or None, default=None
        Of the order of the rows and of those held out; the same number gives the same bits.
    progress : bool or None, default=None
        Show a bar; None: in a terminal or notebook only.

    Attributes
    ----------
    coef_ : array, shape (n_features,)
    intercept_ : float
    n_iter_ : int
        Epochs, or (proximal) Newton steps.
    history_ : list of dicts
        epoch and train_loss, the objective: before the step where an epoch is one step, over the rows as they came
        where it takes batches, at the end of the step for "newton", "exact" and
        "coordinate_descent". With early_stopping also
        valid_loss, the mean loss on the held-out rows after the epoch.
    n_features_in_ : int
    feature_names_in_ : array of str, shape (n_features,)
        Only if X has names that are all strings.

    Notes
    -----
    The objective is Σ wᵢ loss(yᵢ, zᵢ) / Σ wᵢ + alpha penalty(coef) for every optimizer, that of scikit-learn's
    SGDRegressor; of the sample weights wᵢ only the ratios count.
    With loss="squared_error" and penalty="l2" it is Ridge with alpha_ridge = n alpha, n being Σ wᵢ; with "l1" it is
    Lasso and with "elasticnet" ElasticNet with the same alpha and l1_ratio.

    The step size of lr=None, with c for the largest curvature of the loss (1 if it has none), x for a row of the
    centred features with a 1 for the intercept, and d for the standard deviation of y, is

    * "gd" on all rows, with a smooth loss: 1/L, L being the largest eigenvalue of the Hessian of the mean loss or a
      bound of it, for the coefficients and for the intercept;
    * "gd" and "sgd" otherwise: 1 / (c max ‖x‖²) for "squared_error", whose slope has no bound, else
      1 / (c mean ‖x‖²), times d over the bound of the slope where that is more than 1;
    * another rule: 0.1 d over the root mean square of the elements of the x.

    1/L is kept. The others shrink to a fifth whenever training stalls, and the fifth stall is the end. Of steps for a
    part of the rows, epoch e takes (1 - (e - 1) / max_iter)² of that (not squared for "squared_error"), so that the
    noise of single rows fades however many epochs there are (Defazio et al., 2023).
    """

    _task = "regression"

    def __init__(self, loss="squared_error", *, penalty="l2", alpha=1e-4, l1_ratio=0.15, epsilon=0.1, optimizer="sgd",
                 lr=None, batch_size="auto", max_iter=100, tol=1e-4, fit_intercept=True, shuffle=True,
                 early_stopping=False, validation_fraction=0.1, n_iter_no_change=5, average=False, warm_start=False,
                 random_state=None, progress=None):  # fmt: skip
        self._set_arguments(locals())

    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like or CSR matrix, shape (n_samples, n_features)
        y : array-like, shape (n_samples,)
        sample_weight : array-like, shape (n_samples,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If arguments are unknown or do not fit together, there is NaN or no weight above zero, or the
            coefficients grow without bound. A ConvergenceWarning says that max_iter or lr did not suffice.
        """
        return self._fit(X, y, sample_weight)

    @available_if(has_steps)
    def partial_fit(self, X, y, sample_weight=None):
        """One epoch over some of the rows, from where the last call ended; the optimizer's state is kept.

        With lr=None the step size is found in the first part and shrinks with the root of the number of parts; the
        features are centred by the means of the first part. Not for "newton", "exact",
        "coordinate_descent" and early_stopping.

        Parameters
        ----------
        X : array-like or CSR matrix, shape (n_samples, n_features)
        y : array-like, shape (n_samples,)
        sample_weight : array-like, shape (n_samples,), optional
            As they are: a weight of 2 makes a step twice as long.

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, sample_weight)

    def _check_targets(self, y):
        return np.asarray(y, dtype=np.float64)

    def _encode_targets(self, y):
        return y

    def _make_training_set(self, encoded, weights, rows):
        return TrainingSet(row_counts(weights, rows, len(encoded)), common_weights(weights), encoded)

    def _make_partial_training_set(self, y, weights, classes):
        return TrainingSet(weights, weights, y)

    def _set_coefficients(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        self.coef_, self.intercept_ = coef[0], intercept[0]

    def predict(self, X):
        """Predicted values, shape (n_samples,)."""
        return self._decision_scores(X)[:, 0]
