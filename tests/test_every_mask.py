"""Every pruning criterion of the registry, and the two ways of choosing by score, against laws and a slow oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lifecycle.masks import lamp, list_masks, lowest, n_of_m

weights = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=7),
    elements=st.floats(-4, 4, width=16),  # width 16: many ties
)


@pytest.mark.parametrize("name", list_masks())
@settings(deadline=None, max_examples=50)
@given(weight=weights)
def test_scores_have_the_weight_s_shape_and_leave_it_alone(name, weight):
    before, criterion = weight.copy(), list_masks()[name]
    statistic = None if criterion.STATISTIC is None else np.linspace(0, 1, weight.size).reshape(weight.shape)
    scores = criterion.scores(weight, statistic)
    assert scores.shape == weight.shape
    assert np.array_equal(weight, before)
    if weight.size:
        weight.flat[0] = np.nan
        assert np.isnan(criterion.scores(weight, statistic).flat[0])


def test_the_scores_are_their_definitions():
    weight, statistic = np.array([-2.0, 0.5, -0.0]), np.array([3.0, 1.0, 2.0])
    scores = {name: criterion.scores(weight, statistic).tolist() for name, criterion in list_masks().items()}
    assert scores == {
        "magnitude": [2.0, 0.5, 0.0],
        "random": [3.0, 1.0, 2.0],
        "taylor": [6.0, 0.5, 0.0],
        "wanda": [6.0, 0.5, 0.0],
    }


def test_wanda_prunes_a_share_of_every_output():
    import lifecycle as lc

    X = np.random.default_rng(0).standard_normal((200, 8)) * np.arange(1, 9)
    model = lc.LinearClassifier(progress=False).fit(X, np.arange(200) % 4)
    pruned = lc.prune(model, 0.5, method="wanda", scope="layer", calibration=X)
    assert (pruned.coef_ == 0).sum(axis=1).tolist() == [4, 4, 4, 4]
    scores = np.abs(model.coef_) * np.sqrt((X**2).mean(axis=0))
    for row, kept in zip(scores, pruned.coef_ != 0, strict=True):
        assert row[kept].min() >= row[~kept].max()
    regressor = lc.LinearRegressor(progress=False).fit(X, X @ np.arange(8))
    pruned = lc.prune(regressor, 0.5, method="wanda", scope="layer", calibration=X)
    assert np.flatnonzero(pruned.coef_).tolist() == [4, 5, 6, 7]


def test_lamp_is_its_definition():
    np.testing.assert_allclose(lamp(np.array([[3.0, 1.0], [0.0, 2.0]])), [[1.0, 1 / 14], [0.0, 4 / 13]], rtol=1e-15)
    assert np.isnan(lamp(np.array([1.0, np.nan]))).any()
    assert lamp(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    assert lamp(np.float32([1e30, 2e30])).tolist() == pytest.approx([0.2, 1.0])


@settings(deadline=None, max_examples=100)
@given(scores=st.lists(weights, min_size=1, max_size=3), amount=st.floats(0, 1))
def test_lowest_drops_the_exact_count_of_the_lowest(scores, amount):
    keep = lowest(scores, amount)
    assert [k.shape for k in keep] == [s.shape for s in scores]
    flat, kept = np.concatenate([s.ravel() for s in scores]), np.concatenate([k.ravel() for k in keep])
    drop = round(amount * flat.size)
    slow = sorted(range(flat.size), key=lambda i: (flat[i], i))[:drop]
    assert np.flatnonzero(~kept).tolist() == sorted(slow)


@settings(deadline=None, max_examples=100)
@given(scores=weights, m=st.sampled_from([2, 3, 4, 5, 6, 999_999]), data=st.data())
def test_n_of_m_keeps_the_n_highest_of_every_group(scores, m, data):
    n, axis = data.draw(st.integers(1, m - 1)), data.draw(st.integers(0, scores.ndim - 1))
    keep = n_of_m(scores, n, m, axis)
    assert keep.shape == scores.shape
    lines, kept = np.moveaxis(scores, axis, -1), np.moveaxis(keep, axis, -1)
    for index in np.ndindex(lines.shape[:-1]):
        for start in range(0, lines.shape[-1], m):
            group, mask = lines[index][start : start + m], kept[index][start : start + m]
            slow = sorted(range(len(group)), key=lambda i: (-group[i], i))[:n]
            assert np.flatnonzero(mask).tolist() == sorted(slow)


@pytest.mark.parametrize("choose", [lambda s: lowest([s], 0.5), lambda s: n_of_m(s, 1, 2, 0)])
def test_nan_cannot_be_ranked(choose):
    with pytest.raises(ValueError, match="NaN"):
        choose(np.array([1.0, np.nan]))
