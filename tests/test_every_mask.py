"""Every pruning criterion of the registry, and the two ways of choosing by score, against laws and a slow oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lifecycle.masks import list_masks, lowest, n_of_m

weights = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=7),
    elements=st.floats(-4, 4, width=16),  # width 16: many ties
)


@pytest.mark.parametrize("name", list_masks())
@settings(deadline=None, max_examples=50)
@given(weight=weights)
def test_scores_have_the_weight_s_shape_and_leave_it_alone(name, weight):
    before = weight.copy()
    scores = list_masks()[name].scores(weight)
    assert scores.shape == weight.shape
    assert np.array_equal(weight, before)


def test_magnitude_is_the_absolute_value():
    assert list_masks()["magnitude"].scores(np.array([-2.0, 0.5, -0.0])).tolist() == [2.0, 0.5, 0.0]


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
