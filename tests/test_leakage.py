"""Leak warnings: those of every split, and check_folds."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_iris

import lifecycle as lc
from lifecycle.splits._leakage import Advice, FoldChecker

from .folds import warned

IRIS = load_iris(return_X_y=True)


def test_a_class_that_the_training_part_lacks():
    X, y = IRIS
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    sentence = "class {} of y has no row in the training part of fold 0, so that no model fitted there knows it; "
    sentence += "use StratifiedKFold, or shuffle=True"
    assert warned(lc.KFold(3), X, y) == [sentence.format(0)]
    assert (
        warned(lc.KFold(3), X, names) == warned(lc.KFold(3), X, names.astype(object)) == [sentence.format("'setosa'")]
    )
    assert warned(lc.KFold(2), X[:100], y[:100] == 0) == [sentence.format(True)]
    (later,) = warned(lc.GroupKFold(3), X, names, np.arange(150) // 50)
    assert "use StratifiedGroupKFold" in later
    (later,) = warned(lc.TimeSeriesSplit(5), X, names)
    assert "class 'versicolor' of y has no row in the training part of fold 0" in later
    (later,) = warned(lc.PurgedKFold(3), X, names)
    assert "class 'setosa'" in later
    (later,) = warned(lc.GroupTimeSeriesSplit(2), X, names, np.arange(150) // 10)
    assert "use fewer folds" in later
    pandas = pytest.importorskip("pandas")
    assert (
        len(warned(lc.KFold(3), X, pandas.Series(names))) == len(warned(lc.KFold(3), X, pandas.Categorical(names))) == 1
    )


def test_a_lacking_class_among_very_many_rows():
    y = np.repeat(["a", "b", "c"], 40_000)
    assert "class 'a'" in warned(lc.KFold(3), y, y)[0]
    shuffled = np.random.default_rng(0).permutation(y)
    assert warned(lc.KFold(3), y, shuffled) == warned(lc.TimeSeriesSplit(3), y, shuffled) == []
    (found,) = warned(lc.TimeSeriesSplit(5), y, y)
    assert "class 'b' of y has no row in the training part of fold 0" in found
    # among the checked rows "z" is in the first fold only, but other rows have it too
    seldom = shuffled.copy()
    seldom[[0, 8, 60_001]] = "z"
    assert 8 % FoldChecker(len(y), 3, y, None, Advice("", None), True, False).step == 0
    assert warned(lc.KFold(3), y, seldom) == []


def test_the_checked_rows_are_counted_right():
    n = 5 * 2**14 + 3
    y = np.random.default_rng(0).integers(2, size=n)
    checks = FoldChecker(n, 3, y, None, Advice("", None), False, False)
    _, codes = checks.classes
    for train in (np.arange(1, n // 2), np.arange(0, n, 3), np.arange(8, 16), np.arange(9, 16), np.arange(0)):
        checked_rows = train[train % checks.step == 0]
        counted, _ = checks._counts(codes, checks.class_total, train, train, checks.step)
        np.testing.assert_array_equal(counted[:2], np.bincount(y[checked_rows], minlength=2))


def test_what_is_no_set_of_classes_gives_no_alarm():
    rng = np.random.default_rng(0)
    X = np.zeros((300, 1))
    assert warned(lc.KFold(3), X, np.sort(rng.random(300))) == []
    assert (
        warned(lc.KFold(3), X, np.arange(300)) == warned(lc.KFold(3), X, np.sort(rng.integers(10**6, size=300))) == []
    )
    assert warned(lc.KFold(3), X, [f"row {i}" for i in range(300)]) == []
    assert warned(lc.KFold(3), X, np.repeat([0.5, 1.5, 2.5], 100)) == warned(lc.KFold(3), X, np.arange(300) // 10) == []
    assert warned(lc.KFold(3), X, np.array(["a"] * 299 + [None], dtype=object)) == []
    for seed in range(30):
        counts = np.random.default_rng(seed).poisson(3, size=300)
        assert warned(lc.KFold(5), X, counts) == warned(lc.TimeSeriesSplit(), X, np.sort(counts)) == []
    assert (
        warned(lc.KFold(3), X, sparse.csr_array(np.ones((300, 2))))
        == warned(lc.KFold(3), X, np.ones((300, 2), int))
        == []
    )
    assert warned(lc.KFold(3), X, np.array([None, "a", "b"] * 100, dtype=object)) == []
    assert warned(lc.KFold(3), X, np.ones(300, int)) == []


def test_a_group_on_both_sides():
    X, groups = np.zeros((30, 1)), np.arange(30) % 7
    for splitter in (lc.KFold(3), lc.StratifiedKFold(3), lc.TimeSeriesSplit(3), lc.PurgedKFold(3)):
        name = type(splitter).__name__
        (found,) = warned(splitter, X, np.arange(30) % 2, groups)
        assert found.startswith(f"The groups parameter is ignored by {name}: group 0 is on both sides of fold 0; ")
        assert "Group" in found.partition(";")[2]
    assert warned(lc.KFold(3), X, None, np.arange(30) // 10) == []  # no group is split
    assert warned(lc.KFold(3), X, None, [None] * 30) == []
    (found,) = warned(lc.KFold(3), X, None, np.arange(30) // 13)
    assert "group 0 is on both sides of fold 0" in found
    (found,) = warned(lc.KFold(3), X, None, [*range(20), *[20] * 5, *[0] * 5])
    assert "group 0 is on both sides of fold 0" in found
    (found,) = warned(lc.TimeSeriesSplit(2), X, None, [*range(19), 19, 19, *range(21, 30)])
    assert "group 19 is on both sides of fold 1" in found


def test_rows_that_are_not_in_time_order():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": range(30)}, index=pandas.date_range("2020-01-01", periods=30))
    days = frame.index.to_numpy()
    for splitter, groups in (
        (lc.TimeSeriesSplit(3), None),
        (lc.PurgedKFold(3), None),
        (lc.GroupTimeSeriesSplit(3), range(30)),
    ):
        assert warned(splitter, frame, None, groups) == []
        (found,) = warned(splitter, frame[::-1], None, groups)
        assert found.startswith(f"{type(splitter).__name__} takes the rows to be in time order, but the dates in")
        assert lc.check_folds(splitter, frame[::-1], groups=groups) == [found]
    assert (
        warned(lc.KFold(3), frame[::-1]) == warned(lc.PurgedKFold(3), frame[::-1], times=(days[::-1], days[::-1])) == []
    )
    assert lc.check_folds(lc.PurgedKFold(3), frame[::-1], times=(days[::-1], days[::-1])) == []
    (found,) = warned(lc.GroupTimeSeriesSplit(3), range(30), None, days[::-1])
    assert "2020-01-02T00:00:00.000000 appears before 2020-01-01" in found
    assert "sort the rows by date" in found
    assert warned(lc.GroupTimeSeriesSplit(3), range(30), None, days) == []
    assert warned(lc.GroupTimeSeriesSplit(3), range(30), None, np.arange(30)[::-1]) == []  # numbers may be names


def test_a_later_fold_warns_where_it_is_asked_for():
    y = np.array(["a", "b"] * 10 + ["c"] * 10)
    found = iter(lc.KFold(3).split(y, y))
    next(found), next(found)
    with pytest.warns(UserWarning, match="class 'c' of y has no row in the training part of fold 2") as caught:
        next(found)
    assert caught[0].filename == __file__


def test_check_folds_finds_each_fault_once():
    X = np.arange(12.0).reshape(6, 2)
    y, groups = list("aabbab"), [0, 0, 1, 1, 2, 2]
    good = [([0, 1, 2, 3], [4, 5]), ([4, 5, 2, 3], [0, 1])]
    assert lc.check_folds(good, X, y, groups=groups) == []
    assert lc.check_folds(iter(good), X) == []
    assert "fold 0 has no test row" in lc.check_folds([([0], [])], X)[0]
    assert "fold 0 has no training row" in lc.check_folds([(np.zeros(6, bool), np.ones(6, bool))], X)[0]
    (found,) = lc.check_folds([([0, 1, -1], [5, 2]), ([0, 1], [1])], X)
    assert found.startswith("row 5 is on both sides of fold 0 (1 rows are)")
    (found,) = lc.check_folds([([0, 1], [2, 3])], X, y)
    assert found.startswith("class 'b' of y has no row in the training part of fold 0")
    (found,) = lc.check_folds([([0, 2, 4], [1, 3]), ([1], [0])], X, groups=groups)
    assert found.startswith("group 0 is on both sides of fold 0; use a splitter that keeps groups whole")
    (found,) = lc.check_folds([([0, 4], [1, 3]), ([4], [1, 3])], X, times=([0, 3, 1, 5, 4, 9], [0, 3, 1, 5, 4, 9]))
    assert found.startswith("training row 4 of fold 0 lies in the time of its test rows (1 rows do); use PurgedKFold")
    assert len(lc.check_folds([([0], [1])], X, times=([5, 2, 0, 0, 0, 0], [6, 5, 0, 0, 0, 0]))) == 1  # they touch
    assert len(lc.check_folds([([0], [1])], X, times=([2, 5, 0, 0, 0, 0], [5, 6, 0, 0, 0, 0]))) == 1
    shuffled = lc.KFold(3, shuffle=True, random_state=0)
    assert "on both sides" in lc.check_folds(shuffled, X, y, groups=groups)[-1]
    with pytest.raises(ValueError, match="groups has missing"):
        lc.check_folds(shuffled, X, groups=[None] * 6)


def twins_of(X):
    """Whether rows 0 and 3 are found to be twins, and no others."""
    found = [lc.check_folds([([0, 1, 2], [test])], X) for test in (3, 4)]
    assert found[1] == []
    return found[0] != [] and found[0][0].startswith("test row 3 of fold 0 equals training row 0 (1 test rows")


def test_equal_rows_in_every_kind_of_table():
    X = np.array([[1.0, 0.0, 2], [1, 2, 0], [0, np.nan, 3], [1, -0.0, 2], [2, 0, 1]])
    assert twins_of(X)
    assert twins_of(X.astype(np.float32))
    assert twins_of([np.nan, 1.0, 2.0, -np.nan, 3.0])
    assert twins_of(np.array([float("nan"), "b", "c", float("nan"), "d"], dtype=object))
    assert twins_of(np.nan_to_num(X).astype(int))
    assert twins_of(X.reshape(5, 3, 1))
    assert twins_of(np.array([2**62, 1, 2, 2**62, 2**62 + 1]))
    assert twins_of(["a text", "b", "c", "a text", "A text"])
    assert twins_of(np.array([[None, [1]], ["b", 1], [2, "b"], [None, [1]], [None, 1]], dtype=object))
    assert twins_of(np.array(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-01", "NaT"], dtype="M8[D]"))
    for kind in (sparse.csr_array, sparse.csc_array, sparse.coo_array, sparse.csr_matrix):
        assert twins_of(kind(np.nan_to_num(X)))
    explicit_zero = sparse.csr_array(([1.0, 0, 2, 3, 4, 1, 2, 5], [0, 1, 2, 0, 1, 0, 2, 0], [0, 3, 4, 5, 7, 8]))
    assert twins_of(explicit_zero)
    assert twins_of(sparse.csr_array(([1.0, 1, 3, 4, 2, 5], [0, 0, 1, 0, 0, 1], [0, 2, 3, 4, 5, 6])))  # 1 + 1 is 2
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abc"))
    frame["name"] = pandas.Series(["x", "y", "z", "x", "x"])
    frame["kind"] = frame["name"].astype("category")
    frame["day"] = pandas.to_datetime(["2020", "2021", None, "2020", "2020"])
    assert twins_of(frame)
    frame.loc[3, "name"] = "y"
    assert not twins_of(frame)
    assert not twins_of(np.array([[0, 1], [2, 3], [4, 5], [1, 0], [7, 7]]))  # the order of columns counts
    assert not twins_of(sparse.csr_array(np.array([[0, 1], [2, 3], [4, 5], [1, 0], [7, 7]])))


def test_real_data_has_a_twin_across_folds():
    X, y = IRIS
    found = lc.check_folds(lc.StratifiedKFold(5, shuffle=True, random_state=0), X, y)
    assert len(found) <= 1
    again = lc.check_folds(lc.KFold(150), X, np.repeat(0.5, 150))
    assert again[0].startswith("test row 101 of fold 101 equals training row 142 (1 test rows have a twin)")
