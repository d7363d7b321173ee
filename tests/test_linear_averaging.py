"""average: the mean of the coefficients over the steps."""

import numpy as np
import pytest

import lifecycle as lc

from .data import cancer, diabetes


@pytest.mark.parametrize("batch_size", [1, 16, 442])
def test_average_is_the_mean_of_the_coefficients_over_the_steps(batch_size):
    X, y = diabetes()
    arguments = {"optimizer": lc.SGD(lr=0.001), "shuffle": False, "batch_size": batch_size, "tol": None}
    path = [lc.LinearRegressor(max_iter=k, **arguments).fit(X, y).coef_ for k in (1, 2, 3)]
    steps_an_epoch = -(-len(X) // batch_size)
    if steps_an_epoch == 1:
        mean = lc.LinearRegressor(max_iter=3, average=True, **arguments).fit(X, y).coef_
        np.testing.assert_allclose(mean, np.mean(path, axis=0), rtol=1e-10)
    # from a row of the last step on, the mean is of that step alone
    from_row = (3 * steps_an_epoch - 1) * batch_size + 1
    last = lc.LinearRegressor(max_iter=3, average=from_row, **arguments).fit(X, y).coef_
    np.testing.assert_allclose(last, path[2], rtol=1e-12)
    never = lc.LinearRegressor(max_iter=3, average=10**9, **arguments).fit(X, y).coef_
    np.testing.assert_array_equal(never, path[2])


def test_averaging_reduces_the_noise_of_a_constant_step_size():
    X, y = cancer()
    arguments = {"alpha": 0.01, "optimizer": lc.SGD(lr=0.05), "max_iter": 30, "tol": None, "random_state": 0}
    best = lc.LinearClassifier(alpha=0.01, optimizer="newton").fit(X, y)
    models = [lc.LinearClassifier(average=average, **arguments).fit(X, y) for average in (False, 569)]
    distances = [np.linalg.norm(model.coef_ - best.coef_) for model in models]
    assert distances[1] < 0.5 * distances[0]
