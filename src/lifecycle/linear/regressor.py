"""LinearRegressor."""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if

from lifecycle.linear.base_estimator import LinearEstimator, common_weights, has_steps, row_counts
from lifecycle.linear.training import TrainingSet

__all__ = ["LinearRegressor"]


class LinearRegressor(RegressorMixin, LinearEstimator):
    """Linear regression, trained by any update rule, by Newton's method or in closed form.

    Parameters
    ----------
    loss : {"squared_error", "huber", "epsilon_insensitive"}, default="squared_error"
        With r = z - y: r²/2; the same up to |r| = epsilon and linear beyond; max(0, |r| - epsilon).
    penalty : {"l2", "l1", "elasticnet"} or None, default="l2"
        ‖w‖²/2, ‖w‖₁, or l1_ratio of the second and the rest of the first. The intercept is not penalized.
        Where steps take batches, l1 brings coefficients near zero; with "gd" they become zero.
    alpha : float, default=1e-4
        Weight of the penalty; see Notes.
    l1_ratio : float, default=0.15
        Share of "l1" in "elasticnet"; the other penalties do not use it.
    epsilon : float, default=0.1
        Error from which "huber" is linear, and up to which "epsilon_insensitive" sees no error, in units of y.
    optimizer : str or optimizer, default="auto"
        "auto": "exact" where it can be and the table is of moderate size, else "newton", "coordinate_descent" for
        "l1" and "elasticnet", else "sgd"; `solver_` names the choice. Arguments that only steps have, such as
        early_stopping, ask for steps.
        "gd", "sgd", "adam" or another of `lc.list_rules()`: epochs of that rule. "newton": a smooth loss (not
        "epsilon_insensitive") with penalty "l2" or None; a few steps. "exact": "squared_error"
        with penalty "l2" or None, in closed form; the solution of least norm where there are many.
        "coordinate_descent": a smooth loss with any penalty, for coefficients that are exactly zero.
        An object such as `lc.Adam(lr=0.01)` brings its own hyperparameters; its weight_decay comes on top of the
        penalty, where that of a name is 0.
    lr : float, optional
        Constant step size, for a rule given by name. None: found from the data, as Notes says.
    batch_size : int or "auto", default="auto"
        Rows in a step. "auto": all for "gd", 1 for "sgd", 64 for other rules.
    max_iter : int, default=100
        Largest number of epochs, or of Newton's steps.
    tol : float or None, default=1e-4
        In units of the loss of the mean of y. With lr=None, batches end where an epoch (or 1,000 rows, if there are
        fewer) is predicted to lower the objective (with early_stopping the validation loss) by at most 10 tol, and
        "gd" where the objective is at most tol above its minimum, by a bound or an estimate. Otherwise training
        stalls when n_iter_no_change epochs in a row do not fall by more than tol below the least so far; then it
        ends, or goes on with smaller steps (Notes). None: exactly max_iter epochs. Newton's method ends where a
        step is predicted to lower the objective by at most a tenth of tol.
    fit_intercept : bool, default=True
    shuffle : bool, default=True
        Take the rows in a new order in each epoch.
    early_stopping : bool, default=False
        Hold out rows and keep the coefficients of the epoch with the smallest loss on them.
    validation_fraction : float, default=0.1
        Share of the rows held out by early_stopping.
    n_iter_no_change : int, default=5
        Epochs over which progress is judged; where batches are taken, the second stage ends after nearly twice as many.
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
    solver_ : str
        The optimizer that trained the model.
    n_iter_ : int
        Epochs, or Newton's steps.
    history_ : list of dicts
        epoch and train_loss, the objective: before the step where an epoch is one step, over the rows as they came
        where it takes batches, at the end of the step for "newton" and "exact". With early_stopping also
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

    1/L is kept. Steps for a part of the rows decay to zero, so that the noise of single rows fades (Defazio et al.,
    2023): epoch e of a stage of n takes (1 - (e - 1) / n)² of that (not squared for "squared_error"). For
    n_iter_no_change=5 the stages end after 3, 9, 27, … epochs ("squared_error": 5, 15, 45, …) and with max_iter, and
    training ends with one of them; with tol=None all epochs are one stage. Other steps on all rows shrink to a fifth
    whenever training stalls, and the fifth stall is the end.

    On a dense X whose features have standard deviations that differ by more than ten, steps of "sgd" have a factor
    for each feature, as if each were divided by its scale; the penalty is that of the coefficients as they are.
    """

    _task = "regression"

    def __init__(self, loss="squared_error", *, penalty="l2", alpha=1e-4, l1_ratio=0.15, epsilon=0.1, optimizer="auto",
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
        features are centred by the means of the first part. Not for "newton", "exact" and early_stopping.

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
