"""The exact bound of a drop of accuracy: against enumeration, and the numbers of rows that it needs."""

import numpy as np
import pytest
from scipy.stats import binomtest

from lifecycle.evaluation.empirical_bernstein import fewest_values, mean_upper_bound
from lifecycle.evaluation.paired_proportions import (
    _score,
    drop_upper_bound,
    is_non_inferior,
    non_inferiority_p_value,
    rows_needed,
)

from . import naive


@pytest.mark.parametrize(("worse", "better", "n", "max_drop"), [(0, 0, 30, 0.1), (2, 1, 40, 0.15), (1, 6, 25, 0.05)])
def test_the_p_value_is_the_largest_tail_of_the_trinomial(worse, better, n, max_drop):
    threshold = float(_score(worse, better, n, max_drop)) + 1e-9

    def tail(share):
        worse_rows, better_rows = (share + max_drop) / 2, (share - max_drop) / 2
        return naive.trinomial_tail(
            n, worse_rows, better_rows, lambda b, c: float(_score(b, c, n, max_drop)) <= threshold
        )

    # the share of different rows that are looked at (Berger & Boos, 1994)
    low, high = binomtest(worse + better, n).proportion_ci(1 - 1e-6, method="exact")
    largest = max(tail(share) for share in np.linspace(max(low, max_drop), high, 25))
    assert non_inferiority_p_value(worse, better, n, max_drop) == pytest.approx(largest, rel=0.02, abs=1e-5)


@pytest.mark.parametrize(("n", "max_drop"), [(30, 0.1), (45, 0.05), (25, 0.3)])
def test_a_drop_that_is_too_large_is_certified_at_most_as_often_as_allowed(n, max_drop):
    """By enumeration of all counts, for shares of different rows that the computation did not try."""
    rejected = {
        (b, c) for b in range(n + 1) for c in range(n + 1 - b)
        if non_inferiority_p_value(b, c, n, max_drop) <= 0.05
    }  # fmt: skip
    assert rejected
    for share in np.linspace(max_drop, 1.0, 23):
        for drop in (max_drop, min(2 * max_drop, share)):
            p_worse, p_better = (share + drop) / 2, (share - drop) / 2
            if p_better >= 0:
                assert naive.trinomial_tail(n, p_worse, p_better, lambda b, c: (b, c) in rejected) <= 0.05 + 1e-9


def test_rows_that_are_needed():
    assert rows_needed(0.01, 0.95) == 299
    assert rows_needed(0.01, 0.95, worse=2) == 628
    assert non_inferiority_p_value(0, 0, 298, 0.01) > 0.05 >= non_inferiority_p_value(0, 0, 299, 0.01)


def test_flips_both_ways_certify_from_3000_rows_in_half_of_the_runs():
    rng = np.random.default_rng(0)
    counts = rng.multinomial(3000, [0.03, 0.03, 0.94], size=200)
    certified = [non_inferiority_p_value(int(b), int(c), 3000, 0.01) <= 0.05 for b, c, _ in counts]
    assert np.mean(certified) > 0.55


def test_the_bound_is_where_the_test_changes_its_mind():
    for worse, better, n in ((0, 0, 299), (5, 3, 400), (40, 41, 3000), (10, 0, 20), (20, 0, 20)):
        bound = drop_upper_bound(worse, better, n, 0.95)
        assert bound >= (worse - better) / n
        if bound < 1:
            assert non_inferiority_p_value(worse, better, n, bound) <= 0.05
            assert non_inferiority_p_value(worse, better, n, bound - 2e-6) > 0.05
    assert drop_upper_bound(0, 0, 299, 0.95) == pytest.approx(1 - 0.05 ** (1 / 299), abs=2e-6)


def test_more_worse_rows_raise_the_p_value_and_more_better_ones_lower_it():
    p = [[non_inferiority_p_value(b, c, 500, 0.03) for c in range(0, 40, 4)] for b in range(0, 40, 4)]
    # up to 1e-6, the probability that the share of different rows lies where it is not looked for
    assert (np.diff(p, axis=0) >= -1e-6).all()
    assert (np.diff(p, axis=1) <= 1e-6).all()


def test_edges():
    assert non_inferiority_p_value(0, 5, 5, 0.09) < 0.05
    assert non_inferiority_p_value(0, 0, 100, 0.0) == 1.0
    assert non_inferiority_p_value(5, 0, 5, 0.09) > 0.5
    assert np.log(1e-7) / np.log(0.99) <= rows_needed(0.01, 0.9999999) < 2000
    assert np.isfinite(drop_upper_bound(0, 3, 3, 0.999999))


def test_a_bound_lies_below_a_drop_exactly_if_that_is_rejected():
    rng = np.random.default_rng(0)
    for worse, better, n in rng.integers((0, 0, 60), (8, 8, 300), size=(40, 3)).tolist():
        for max_drop in (0.02, 0.05):
            bound = drop_upper_bound(worse, better, n, 0.95, max_drop)
            assert (bound <= max_drop) == is_non_inferior(worse, better, n, max_drop, 0.95)


def test_a_bound_below_zero_proves_a_rise():
    """Ten rows of a hundred get better and none worse: the accuracy rises, if by less than by the share of ten."""
    bound = drop_upper_bound(0, 10, 100, 0.95)
    exact = -binomtest(10, 100).proportion_ci(0.9, method="exact").low
    assert exact - 1e-3 <= bound < 0.6 * exact
    assert drop_upper_bound(0, 100, 100, 0.95) < -0.9
    assert non_inferiority_p_value(0, 10, 100, -0.9) == 1.0


def test_without_better_rows_the_bound_is_not_below_that_of_clopper_and_pearson():
    for worse, n in ((0, 100), (3, 250), (7, 1000)):
        exact = binomtest(worse, n).proportion_ci(0.9, method="exact").high  # two-sided 0.9: one-sided 0.95
        assert exact - 2e-6 <= drop_upper_bound(worse, 0, n, 0.95) < 1.3 * exact


def test_the_empirical_bernstein_bound_holds_and_shrinks():
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(300):
        values = rng.choice([-1.0, 0.0, 1.0], p=[0.05, 0.9, 0.05], size=500)
        missed += mean_upper_bound(values, 2.0, 0.95) < 0.0
    assert missed <= 15
    values = rng.normal(size=10_000).clip(-1, 1)
    assert mean_upper_bound(values, 2.0, 0.95) < mean_upper_bound(values[:1000], 2.0, 0.95) + 0.1
    assert mean_upper_bound(np.zeros(1000), 2.0, 0.95) == pytest.approx(7 * 2 * np.log(40) / (3 * 999))
    for bound in (0.01, 0.03, 0.2):
        n = fewest_values(bound, 2.0, 0.95)
        assert mean_upper_bound(np.zeros(n), 2.0, 0.95) < bound <= mean_upper_bound(np.zeros(n - 1), 2.0, 0.95)
