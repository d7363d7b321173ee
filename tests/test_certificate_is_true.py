"""How often a certificate is false, over many draws of the rows from a population whose truth is known."""

import numpy as np
import pytest
from scipy.stats import binom

from lifecycle.compression.certificate import certify_in_order
from lifecycle.compression.row_losses import RowLoss

from . import data

LOSS = RowLoss("accuracy", lambda y, p: (y != p).astype(float), 1.0, is_zero_one=True)
MAX_DROP, LEVEL = 0.01, 0.95


def chosen(before, candidates, search, certify, loss=LOSS):
    """The candidate that compress would return for this split of the rows (−1: the original), and the point estimate's.

    The point estimate takes the strongest candidate whose drop on all rows, search and certify, is allowed.
    """
    promising = []
    for k, after in enumerate(candidates):
        promising.append(k)
        if (after - before)[search].mean() > MAX_DROP:
            break
    losses = (candidates[k][certify] for k in promising)
    proofs = list(certify_in_order(before[certify], losses, loss, MAX_DROP, LEVEL, None, ""))
    n_held = sum(proof.holds for proof in proofs)
    drops = [(after - before)[np.concatenate([search, certify])].mean() for after in candidates]
    allowed = [k for k, drop in enumerate(drops) if drop <= MAX_DROP]
    return (promising[n_held - 1] if n_held else -1), max(allowed, default=-1)


def false_certificates(before, candidates, n, repeats, seed=0):
    """How often the certified candidate, and the one of the point estimate, drops by more than is allowed in truth."""
    truth = [(after - before).mean() for after in candidates] + [0.0]
    rng = np.random.default_rng(seed)
    wrong = np.zeros(2, int)
    for _ in range(repeats):
        rows = rng.choice(len(before), 2 * n, replace=False)
        for k, choice in enumerate(chosen(before, candidates, rows[:n], rows[n:])):
            wrong[k] += truth[choice] >= MAX_DROP
    return wrong, truth


def population(drops, flips=0.02, n=50_000, seed=0):
    """Losses of the original and of candidates whose accuracy drops by exactly so much, with flips both ways."""
    rng = np.random.default_rng(seed)
    before = (rng.random(n) < 0.1).astype(float)
    candidates = []
    for drop in drops:
        after = before.copy()
        n_better = round(flips * n)
        right, wrong = np.flatnonzero(before == 0), np.flatnonzero(before == 1)
        after[rng.choice(wrong, n_better, replace=False)] = 0
        after[rng.choice(right, n_better + round(drop * n), replace=False)] = 1
        candidates.append(after)
    return before, candidates


@pytest.mark.slow
@pytest.mark.parametrize("drops", [(0.01,), (0.002, 0.006, 0.01, 0.014), (0.0, 0.0101, 0.0102, 0.0103, 0.0104)])
def test_a_certificate_is_false_at_most_as_often_as_it_says(drops):
    before, candidates = population(drops)
    wrong, _ = false_certificates(before, candidates, 2500, repeats := 400)
    assert wrong[0] <= binom.isf(0.01, repeats, 1 - LEVEL)


@pytest.mark.slow
def test_the_point_estimate_is_wrong_far_more_often():
    before, candidates = population((0.002, 0.006, 0.0101, 0.0105, 0.011))
    wrong, _ = false_certificates(before, candidates, 2500, 400)
    assert wrong[1] > 5 * max(wrong[0], 1)


@pytest.mark.slow
def test_certificates_of_a_network_on_fashion_mnist_are_true():
    """Trained once on 20,000 images; the other 50,000 are the population, from which rows are drawn 400 times."""
    pytest.importorskip("torch")
    import lifecycle as lc
    import lifecycle.torch as lt

    X, y = data.fashion_mnist()
    shape = {"module__channels": (16, 32), "module__hidden": ()}
    model = lt.TorchClassifier(lt.CNN, **shape, max_epochs=4, lr=2e-3, random_state=0, progress=False)
    model.fit(X[:20_000], y[:20_000])
    X, y = X[20_000:], y[20_000:]
    before = LOSS(y, model.predict(X))
    ways = [lambda m: lc.quantize(m, bits=8, activations=None)]
    ways += [
        lambda m, a=a: lc.quantize(lc.prune(m, a, scope="layer"), bits=4, group_size=64, activations=None)
        for a in (0.0, 0.2, 0.3, 0.4, 0.5)
    ]
    candidates = [LOSS(y, way(model).predict(X)) for way in ways]
    wrong, truth = false_certificates(before, candidates, 3000, repeats := 400)
    assert max(truth) > MAX_DROP > min(truth), truth
    assert wrong[0] <= binom.isf(0.01, repeats, 1 - LEVEL)
