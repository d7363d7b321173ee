"""PurgedKFold against an oracle; its times of every kind."""

import datetime

import numpy as np
import pytest
import sklearn.model_selection as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

import lifecycle as lc

from . import naive
from .folds import assert_disjoint_and_ascending, assert_same, folds


@settings(max_examples=150, deadline=None)
@given(data=st.data(), n=st.integers(2, 40), k=st.integers(2, 6), embargo=st.integers(0, 6), dates=st.booleans())
def test_purged_kfold_is_its_oracle_and_no_training_row_meets_the_test_rows(data, n, k, embargo, dates):
    start = np.array(data.draw(st.lists(st.integers(0, 60), min_size=n, max_size=n)))
    end = start + np.array(data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)))
    splitter, times = lc.PurgedKFold(k, embargo=embargo), (start, end)
    if dates:
        times = tuple(np.datetime64("2020-01-01") + t.astype("timedelta64[D]") for t in times)
        splitter = lc.PurgedKFold(k, embargo=datetime.timedelta(days=embargo))
    if n < k:
        with pytest.raises(ValueError, match="greater than the number of rows"):
            splitter.split(range(n), times=times)
        return
    expected = naive.purged_kfold(start, end, k, embargo)
    if any(not train for train, _ in expected):
        with pytest.raises(ValueError, match="purging leaves no training row"):
            folds(splitter, range(n), times=times)
        return
    got = folds(splitter, range(n), times=times)
    assert_same(got, expected)
    assert_disjoint_and_ascending(got)
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in got])), np.arange(n))
    for train, test in got:
        assert not ((start[train] <= end[test].max()) & (end[train] >= start[test].min())).any()
    assert lc.check_folds(got, np.arange(n), times=times) == []


def test_purged_kfold_without_times_counts_rows():
    assert_same(folds(lc.PurgedKFold(3), range(9)), folds(theirs.KFold(3), range(9)))
    train, test = folds(lc.PurgedKFold(3, embargo=2), range(9))[1]
    assert (train.tolist(), test.tolist()) == ([0, 1, 2, 8], [3, 4, 5])


def test_purged_kfold_takes_dates_of_every_kind():
    pandas = pytest.importorskip("pandas")
    # the clocks change on the 29th: the 30th begins 47 hours after the 28th
    days = pandas.date_range("2026-03-26", periods=12, tz="Europe/Berlin")
    plain = days.tz_convert("UTC").tz_localize(None).to_numpy()
    splitter = lc.PurgedKFold(4, embargo=pandas.Timedelta("47h"))
    expected = folds(splitter, range(12), times=(plain, plain))
    assert len(expected[0][0]) == 7
    for given_ in (days, pandas.Series(days), list(days), [d.to_pydatetime() for d in days], plain.tolist()):
        start = plain if isinstance(given_[0], int) else given_
        assert_same(folds(splitter, range(12), times=(start, start)), expected)
    dates = [datetime.date(2026, 3, 1 + i) for i in range(12)]
    assert_same(folds(splitter, range(12), times=(dates, dates)), folds(lc.PurgedKFold(4, embargo=1), range(12)))


@pytest.mark.parametrize("missing", ["NaT", None])
@pytest.mark.parametrize("row", [0, 3])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_a_list_of_timestamps_in_which_one_is_missing(missing, row, zone):
    pandas = pytest.importorskip("pandas")
    times = list(pandas.date_range("2020-01-01", periods=10, tz=zone))
    complete = list(lc.PurgedKFold(2).split(np.zeros(10), times=(times, times)))
    assert [test.tolist() for _, test in complete] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    times[row] = pandas.NaT if missing == "NaT" else None
    with pytest.raises(ValueError, match=rf"the start of row {row} is missing \(1 are\)"):
        lc.PurgedKFold(2).split(np.zeros(10), times=(times, times))
    numbers = [float(i) for i in range(10)]
    numbers[row] = None
    with pytest.raises(ValueError, match=rf"the start of row {row} is missing \(1 are\)"):
        lc.PurgedKFold(2).split(np.zeros(10), times=(numbers, numbers))
