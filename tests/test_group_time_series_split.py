"""GroupTimeSeriesSplit against an oracle and against TimeSeriesSplit."""

import numpy as np
import pytest
import sklearn.model_selection as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

import lifecycle as lc

from . import naive
from .folds import assert_disjoint_and_ascending, assert_same, folds


@settings(max_examples=150, deadline=None)
@given(groups=st.lists(st.integers(0, 15), min_size=1, max_size=60), k=st.integers(2, 5), gap=st.integers(0, 4))
def test_group_time_series_split_is_its_oracle(groups, k, gap):
    splitter = lc.GroupTimeSeriesSplit(k, gap=gap)
    expected = naive.group_time_series_split(groups, k, gap)
    for named in (np.array(groups), [f"g{g}" for g in groups]):
        if expected is None:
            with pytest.raises(ValueError, match="leave no group to train on"):
                splitter.split(groups, None, named)
            continue
        got = folds(splitter, groups, None, named)
        assert_same(got, expected)
        assert_disjoint_and_ascending(got)
    if expected is not None and groups == sorted(groups):
        assert all(train.max() < test.min() for train, test in got)


def test_groups_of_one_row_make_it_time_series_split():
    rows = np.arange(23)
    for gap in (0, 2):
        assert_same(
            folds(lc.GroupTimeSeriesSplit(4, gap=gap), rows, None, rows),
            folds(theirs.TimeSeriesSplit(4, gap=gap), rows),
        )
