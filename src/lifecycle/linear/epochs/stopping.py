"""When models have converged: the rules that decide after an epoch, and the estimate of what is left to gain."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from lifecycle.linear.epochs.accelerated_gradient import AcceleratedGradient

_EPOCH_TOLERANCE = 10.0  # times tol: what an epoch of mini-batches must be predicted to gain
_ROWS_OF_EPOCH = 1_000  # so many rows, where the training set has fewer


def estimate_gap(fall: np.ndarray, before: np.ndarray | float, after: np.ndarray | float, order: int) -> np.ndarray:
    """What is left above the minimum, if the objective fell by `fall` from epoch `before` to epoch `after`.

    The gap of epoch t is taken to be C / t**order: first order for steps whose size decays to zero (Lacoste-Julien,
    Schmidt and Bach, 2012), second order for accelerated gradient descent (Nesterov, 1983).
    """
    return np.maximum(fall, 0.0) / ((np.asarray(after) / before) ** order - 1.0)


class StoppingRule(ABC):
    """Decides after each epoch; `gap` (n_models,) is what each model had left when last judged, NaN: unknown.

    Parameters
    ----------
    tolerance : (n_models,)
        tol times the loss of zero coefficients.
    n_iter_no_change : int
    """

    def __init__(self, tolerance: np.ndarray, n_iter_no_change: int):
        self.tolerance, self.n_iter_no_change = tolerance, n_iter_no_change
        self.gap = np.full(len(tolerance), np.nan)

    @abstractmethod
    def has_converged(self, models: np.ndarray, epoch: int, objectives: np.ndarray) -> np.ndarray:
        """(len(models),) bool; epochs are counted from 1."""


class Plateau(StoppingRule):
    """No epoch of n_iter_no_change in a row falls below the smallest objective so far by more than the tolerance.

    `on_plateau` (model): whether there is something left to try, such as smaller steps.
    """

    def __init__(self, tolerance: np.ndarray, n_iter_no_change: int, on_plateau: Callable[[int], bool]):
        super().__init__(tolerance, n_iter_no_change)
        self.on_plateau, self.best = on_plateau, np.full(len(tolerance), np.inf)
        self.n_stalled = np.zeros(len(tolerance), int)  # epochs in a row without progress

    def has_converged(self, models: np.ndarray, epoch: int, objectives: np.ndarray) -> np.ndarray:
        has_progress = objectives < self.best[models] - self.tolerance[models]
        self.n_stalled[models] = np.where(has_progress, 0, self.n_stalled[models] + 1)
        self.best[models] = np.minimum(self.best[models], objectives)
        is_on_plateau = self.n_stalled[models] >= self.n_iter_no_change
        self.n_stalled[models[is_on_plateau]] = 0
        return np.array([p and not self.on_plateau(m) for m, p in zip(models, is_on_plateau, strict=True)], bool)


class DecayToZero(StoppingRule):
    """At the ends of stages, where step sizes have decayed to zero: another epoch is predicted to gain too little.

    Where the training set has few rows, that is as many epochs as make 1,000 rows. The gap of t epochs, of which the
    last stage were the last t - s, is estimated from the fall in that stage.
    """

    def __init__(self, tolerance: np.ndarray, n_iter_no_change: int, stage_ends: list[int], n_rows: np.ndarray):
        super().__init__(tolerance, n_iter_no_change)
        self.least_gain = _EPOCH_TOLERANCE * tolerance * np.minimum(1.0, n_rows / _ROWS_OF_EPOCH)
        self.stage_ends, self.at_end = stage_ends, np.full(len(tolerance), np.nan)

    def has_converged(self, models: np.ndarray, epoch: int, objectives: np.ndarray) -> np.ndarray:
        if epoch not in self.stage_ends:
            return np.zeros(len(models), bool)
        if epoch > self.stage_ends[0]:
            before = self.stage_ends[self.stage_ends.index(epoch) - 1]
            self.gap[models] = estimate_gap(self.at_end[models] - objectives, before, epoch, order=1)
        self.at_end[models] = objectives
        return self.gap[models] <= self.least_gain[models] * epoch


class Accelerated(StoppingRule):
    """The gap of accelerated gradient descent is at most the tolerance, by a bound or else by an estimate.

    The bound needs a strongly convex objective. The estimate is made from the fall in n_iter_no_change epochs, and of
    the epochs between two restarts; it must hold once more after the momentum was dropped.
    """

    def __init__(self, tolerance: np.ndarray, n_iter_no_change: int, solver: AcceleratedGradient):
        super().__init__(tolerance, n_iter_no_change)
        self.solver, self.curve = solver, [np.full(len(tolerance), np.inf)]
        self.wait = np.full(len(tolerance), n_iter_no_change)  # the epoch after which a model is judged

    def has_converged(self, models: np.ndarray, epoch: int, objectives: np.ndarray) -> np.ndarray:
        n, tolerance = self.n_iter_no_change, self.tolerance[models]
        now = self.curve[-1].copy()
        now[models] = objectives
        self.curve = [*self.curve[-n:], now]
        bound = self.solver.gap_bound[models]
        if epoch <= n:
            self.gap[models] = np.where(np.isfinite(bound), bound, np.nan)
            return bound <= tolerance
        fall, age = self.curve[0][models] - objectives, np.maximum(self.solver.longest_run[models], 2 * n)
        estimate = estimate_gap(fall, age - n, age, order=2)
        self.gap[models] = np.minimum(estimate, bound)
        self.solver.note_progress(models[estimate > tolerance])
        has_converged = bound <= tolerance
        for i, m in enumerate(models):
            if not has_converged[i] and estimate[i] <= tolerance[i] and epoch > self.wait[m]:
                has_converged[i] = not self.solver.restart(m)
                self.wait[m] = epoch + n
        return has_converged
