"""Intervals and p-values against data sets whose true score is known: do they hold what they say?"""

import numpy as np
import pytest
from benchmarks import coverage
from scipy.stats import norm, t
from sklearn import metrics

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


HARD = [
    # what the percentile bootstrap covered 0.00 to 0.3 of the time, and few rows of a rare class
    (coverage.Classes((0.5, 0.5), 6.0), 20),
    (coverage.Classes((0.95, 0.05), 2.0), 100),
    (coverage.Classes((0.98, 0.02), 4.0), 1000),
    (coverage.Classes((0.5, 0.5), 1.0), 10),
    (coverage.Classes((0.5, 0.3, 0.2), 4.0), 50),
    (coverage.Targets(0.5, "normal"), 5),
    (coverage.Targets(0.9, "laplace"), 20),
    (coverage.Targets(0.1, "laplace"), 300),
]


@pytest.mark.parametrize(("population", "n"), HARD, ids=lambda one: getattr(one, "name", one))
def test_intervals_of_evaluate_cover_the_true_value(population, n):
    """A part of `python -m benchmarks coverage`; 300 data sets: the bound lies three standard errors below 0.93."""
    truth, rng, sets = coverage.true_values(population, 500_000), np.random.default_rng(7), 300
    covered = {name: [] for name in truth}
    for _ in range(sets):
        for name, (_, low, high, _) in population.measure(*population.draw(rng, n)).items():
            if np.isfinite(low):
                covered[name].append(low <= truth[name] <= high)
    for name, seen in covered.items():
        assert len(seen) > 0.2 * sets, name
        assert np.mean(seen) >= 0.93 - 3 * np.sqrt(0.93 * 0.07 / len(seen)), (name, np.mean(seen))


@pytest.mark.parametrize(("population", "n"), [HARD[0], HARD[5]], ids=["classes", "targets"])
def test_the_bootstrap_did_not_cover_it(population, n):
    found = coverage.simulate(population, n, 500, coverage.true_values(population, 500_000), seed=1)
    for name in (
        ("balanced_accuracy", "f1_macro", "roc_auc", "log_loss") if "shares" in population.name else ("r2", "rmse")
    ):
        assert found[name]["bootstrap"]["coverage"] < 0.85 < found[name]["coverage"]


def test_the_metrics_of_resampled_rows_are_scikit_learns():
    """Of the values that are taken for the truth."""
    rng = np.random.default_rng(0)
    for shares in ((0.7, 0.3), (0.5, 0.3, 0.2)):
        population = coverage.Classes(shares, 2.0)
        X, y = population.draw(rng, 300)
        counts = np.bincount(rng.integers(300, size=300), minlength=300)
        rows = np.repeat(np.arange(300), counts)
        found = population.values(X, y, counts[None].astype(float))
        p, predicted = population.predict_proba(X[rows]), population.predict(X[rows])
        expected = {
            "accuracy": metrics.accuracy_score(y[rows], predicted),
            "recall": metrics.recall_score(y[rows], predicted, average=None)[-1],
            "balanced_accuracy": metrics.balanced_accuracy_score(y[rows], predicted),
            "f1_macro": metrics.f1_score(y[rows], predicted, average="macro"),
            "log_loss": metrics.log_loss(y[rows], p),
        }
        for name, value in expected.items():
            assert found[name][0] == pytest.approx(value), name
        area = population.values(X, y, np.ones((1, 300)))["roc_auc"][0]
        scores = population.predict_proba(X)
        assert area == pytest.approx(
            metrics.roc_auc_score(y, scores[:, 1] if len(shares) == 2 else scores, multi_class="ovr")
        )
