"""Many linear models of one kind over the same rows.

They minimize Σ_i w_i ℓ(y_i, x_i·w + b) / n + alpha · penalty(w), and differ in numbers and in the weights w_i.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lifecycle.linear.data.design_matrix import DesignMatrix
from lifecycle.linear.data.sample_weights import SampleWeights
from lifecycle.linear.data.statistics import FeatureStatistics, TargetStatistics
from lifecycle.loops.linear_update import sample_loss
from lifecycle.losses import Loss
from lifecycle.penalties import Penalty


@dataclass
class Problem:
    """Models that share loss, penalty, classes and whether there is an intercept.

    Coefficients are (n_models, n_outputs, n_features), intercepts (n_models, n_outputs), both of centred features.

    Parameters
    ----------
    design : X
    y : (n_samples,)
        Numbers, or codes of the classes.
    n_outputs : int
        Scores of a model: 1, or the number of classes if there are more than two.
    weights : rows of weight zero are not in a training set
    train_set : (n_models,)
        Which training set, a column of `weights`, each model trains on.
    alpha, l1_ratio, epsilon : (n_models,)
    sample_weight : (n_samples,) or None
        Weights of which those of a training set are a multiple where they are not zero; None: ones.
    features, targets : statistics of the training sets
    """

    design: DesignMatrix
    y: np.ndarray
    n_outputs: int
    weights: SampleWeights
    loss: Loss
    penalty: Penalty
    fit_intercept: bool
    train_set: np.ndarray
    alpha: np.ndarray
    l1_ratio: np.ndarray
    epsilon: np.ndarray
    sample_weight: np.ndarray | None
    features: FeatureStatistics
    targets: TargetStatistics

    def __post_init__(self) -> None:
        self.n_models = len(self.train_set)
        # one score per class, which the loss sees together: only log_loss with more than two classes
        self.multinomial = self.loss.multinomial_exp is not None and self.n_outputs > 1
        self.class_codes = np.arange(self.n_outputs) if self.n_outputs > 1 else np.ones(1, int)

    @property
    def max_curvature(self) -> float:
        """The largest second derivative of the loss by a score; 1 if it has none."""
        bound = self.loss.multinomial_max_curvature if self.multinomial else self.loss.max_curvature
        return 1.0 if bound is None else bound

    @property
    def n_joint_variables(self) -> int:
        """Coefficients and intercepts of a model that one loss depends on."""
        return (self.design.n_features + 1) * (self.n_outputs if self.multinomial else 1)

    def subset(self, models: np.ndarray) -> "Problem":
        """The problem of these models only, with the training sets and statistics of all."""
        per_model = ("train_set", "alpha", "l1_ratio", "epsilon")
        subset = replace(self, **{name: getattr(self, name)[models] for name in per_model})
        if "null_loss" in self.__dict__:  # a pass over all rows
            subset.__dict__["null_loss"] = self.null_loss[models]
        return subset

    def isolate(self, models: np.ndarray) -> "Problem":
        """The problem of these models only, in which nothing of the rows of other training sets is left."""
        sets, train_set = np.unique(self.train_set[models], return_inverse=True)
        weights = SampleWeights(self.weights.counts[:, sets], self.weights.dtype)
        features = FeatureStatistics(self.design, weights, self.fit_intercept, self.features.center[sets])
        targets = TargetStatistics(self.y, weights)
        return replace(self.subset(models), weights=weights, train_set=train_set, features=features, targets=targets)

    def encode_targets(self, y: np.ndarray) -> np.ndarray:
        """(n_outputs, rows): numbers, ±1, or one-hot for a multinomial loss."""
        if self.loss.task == "regression":
            return y[None]
        return np.where(y == self.class_codes[:, None], 1.0, 0.0 if self.multinomial else -1.0)

    def initial_coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """Zero coefficients, and as intercepts zero, or for regression the mean of y."""
        intercept = np.zeros((self.n_models, self.n_outputs))
        if self.fit_intercept and self.loss.task == "regression":
            intercept[:, 0] = self.targets.mean[self.train_set]
        # np.zeros would leave the memory for later, in small pages
        return np.full((self.n_models, self.n_outputs, self.design.n_features), 0.0), intercept

    @cached_property
    def null_loss(self) -> np.ndarray:
        """(n_models,): the loss of the model without features (scores of 0, or the mean of y); the unit of tol."""
        pairs = list(zip(self.train_set.tolist(), self.epsilon.tolist(), strict=True))
        sums = dict.fromkeys(pairs, 0.0)
        for begin, end in self.design.chunks():
            targets = self.encode_targets(self.y[begin:end].astype(np.float64))
            for k, epsilon in sums:
                score = np.full(targets.shape, self.targets.mean[k] if self.loss.task == "regression" else 0.0)
                weights = self.weights.of_set(k, slice(begin, end))
                sums[k, epsilon] += float(self._sample_losses(targets, score, epsilon) @ weights)
        return np.array([sums[pair] / self.design.n_samples or 1.0 for pair in pairs])

    def _sample_losses(self, targets: np.ndarray, scores: np.ndarray, epsilon: float) -> np.ndarray:
        """(rows,): losses of targets and scores (n_outputs, rows)."""
        if self.multinomial:
            return sample_loss(self.loss.functions(True))(targets, scores, epsilon, np.empty_like(scores))
        return self.loss.value(targets, scores, epsilon).sum(axis=0)

    def penalty_value(self, coef: np.ndarray) -> np.ndarray:
        """(n_models,): alpha times the penalty of coefficients (n_models, n_outputs, n_features)."""
        ratio = self.l1_ratio[:, None, None]
        return self.alpha * self.penalty.value(coef.astype(np.float64), ratio).sum(axis=(1, 2))

    @cached_property
    def l2_weight(self) -> np.ndarray:
        """(n_models,): alpha times the weight of ‖w‖²/2 in the penalty."""
        return self.alpha * np.array([self.penalty.gradient(1.0, ratio) for ratio in self.l1_ratio])

    @cached_property
    def l1_weight(self) -> np.ndarray:
        """(n_models,): alpha times the weight of |w| in the penalty."""
        return self.alpha * np.array([self.penalty.l1_weight(ratio) for ratio in self.l1_ratio])
