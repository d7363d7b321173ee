"""Intervals and p-values against data sets whose true score is known: do they hold what they say?"""

import numpy as np
import pytest
from scipy.stats import norm, t

import lifecycle as lc

N, P, SETS = 120, 4, 600
DISTANCE = 1.3  # between the class means


def drawn(rng):
    """Two Gaussian classes with unit variances, whose means lie apart along the first axis."""
    y = np.arange(N) % 2
    X = rng.standard_normal((N, P))
    X[:, 0] += DISTANCE * (y - 0.5)
    return X, y


def true_accuracy(model):
    """Of a linear classifier on such data, in closed form."""
    w, b = model.coef_[0], model.intercept_[0]
    shift = DISTANCE / 2 * w[0]
    return 0.5 * (norm.cdf((shift + b) / np.linalg.norm(w)) + norm.cdf((shift - b) / np.linalg.norm(w)))


def naive(scores, level):
    """The t interval of scores that are taken for independent ones."""
    half = t.ppf(0.5 + level / 2, len(scores) - 1) * scores.std(ddof=1) / np.sqrt(len(scores))
    return scores.mean() - half, scores.mean() + half


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [1, 10])
def test_intervals_cover_the_true_score(repeats, capsys):
    rng = np.random.default_rng(0)
    model = lc.LinearClassifier(optimizer="newton", alpha=0.01)
    intervals, naive_ones, truths = [], [], []
    for seed in range(SETS):
        X, y = drawn(rng)
        cv = lc.RepeatedStratifiedKFold(n_splits=10, n_repeats=repeats, random_state=seed)
        result = lc.cross_validate(model, X, y, cv=cv, return_estimator=True)
        truths.append(np.mean([true_accuracy(fitted) for fitted in result["estimator"]]))
        intervals.append(result.interval(0.95))
        naive_ones.append(naive(result["test_score"], 0.95))
    truth = np.mean(truths)  # what a model trained on so many rows reaches, on average over data sets
    ours, other = (np.mean([low <= truth <= high for low, high in each]) for each in (intervals, naive_ones))
    with capsys.disabled():
        print(
            f"\n10 folds × {repeats} repeats, {SETS} data sets, true accuracy {truth:.4f}: "
            f"the corrected interval covers {ours:.3f}, the naive one {other:.3f}"
        )
    assert ours >= 0.93
    if repeats > 1:
        assert other < 0.7


@pytest.mark.slow
def test_models_that_are_alike_seldom_differ(capsys):
    rng = np.random.default_rng(1)
    found = []
    for seed in range(SETS):
        X, y = drawn(rng)
        X = np.hstack([X, rng.standard_normal((N, P))])  # either model sees its own noise beside what matters
        cv = lc.RepeatedStratifiedKFold(n_splits=10, n_repeats=5, random_state=seed)
        model = lc.LinearClassifier(optimizer="newton", alpha=0.01)
        one = lc.cross_validate(model, X[:, [0, 1, 2, 3]], y, cv=cv)
        other = lc.cross_validate(model, X[:, [0, 4, 5, 6]], y, cv=cv)
        found.append(lc.compare({"one": one, "other": other})[0].p_value)
    share = np.mean(np.array(found) < 0.05)
    with capsys.disabled():
        print(f"\ntwo models that are equally good differ with p < 0.05 in {share:.3f} of {SETS} data sets")
    assert share <= 0.07
