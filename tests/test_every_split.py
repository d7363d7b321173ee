"""Every splitter: the laws of a split, the indices of its scikit-learn twin, metadata routing, named errors."""

import copy
import datetime
import inspect
import warnings

import numpy as np
import pytest
import sklearn.model_selection as theirs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier

import lifecycle as lc
from lifecycle import splits

from .folds import assert_disjoint_and_ascending, assert_same, folds

SHUFFLED = st.fixed_dictionaries({"shuffle": st.booleans()})


ARGUMENTS = {
    "KFold": SHUFFLED,
    "StratifiedKFold": SHUFFLED,
    "GroupKFold": SHUFFLED,
    "StratifiedGroupKFold": SHUFFLED,
    "TimeSeriesSplit": st.fixed_dictionaries(
        {
            "max_train_size": st.none() | st.integers(1, 20),
            "test_size": st.none() | st.integers(1, 5),
            "gap": st.integers(0, 4),
        }
    ),
}


SPLITTERS = [name for name in splits.__all__ if inspect.isclass(getattr(splits, name))]


TWINS = [name for name in SPLITTERS if hasattr(theirs, name)]


GROUPED = ["GroupKFold", "StratifiedGroupKFold", "GroupTimeSeriesSplit"]


@pytest.mark.filterwarnings("ignore:(The least populated class|class .* has no row)")
@pytest.mark.parametrize("name", TWINS)
@settings(max_examples=80, deadline=None)
@given(data=st.data(), n=st.integers(2, 60), k=st.integers(2, 6), n_groups=st.integers(2, 30), seed=st.integers(0, 99))
def test_same_indices_as_its_twin_and_the_laws_of_a_split(name, data, n, k, n_groups, seed):
    arguments = data.draw(ARGUMENTS[name])
    if arguments.get("shuffle"):
        arguments["random_state"] = seed
    rng = np.random.default_rng(seed)
    X, y = rng.random((n, 2)), np.array(list("cabd"))[rng.integers(data.draw(st.integers(1, 4)), size=n)]
    groups = rng.integers(n_groups, size=n) if name in GROUPED else None
    twin = getattr(theirs, name)(k, **arguments)
    splitter = getattr(lc, name)(k, **arguments)
    try:
        expected = folds(twin, X, y, groups)
    except ValueError:
        with pytest.raises(ValueError, match=r"n_splits|splits=|folds="):
            folds(splitter, X, y, groups)
        assume(False)
    got = folds(splitter, X, y, groups)
    if all(len(test) for _, test in expected):
        assert_same(got, expected)
    assert all(len(test) for _, test in got)
    assert len(got) == splitter.get_n_splits(X, y, groups)
    assert_disjoint_and_ascending(got)
    if name == "TimeSeriesSplit":
        assert all(train.max() + arguments["gap"] < test.min() for train, test in got)
    else:
        np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in got])), np.arange(n))
    if groups is not None:
        assert all(np.intersect1d(groups[train], groups[test]).size == 0 for train, test in got)


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("n_splits", [2, 9, 300])  # 300: fold numbers of two bytes
def test_same_indices_as_its_twin_on_many_rows(name, n_splits):
    rng = np.random.default_rng(0)
    X = np.zeros((40_000, 1))
    labels = {
        "few": rng.integers(3, size=40_000),
        "many": rng.integers(12, size=40_000) * 10**15 - 5,
        "words": np.array(["versicolor", "setosa", "virginica"])[rng.integers(3, size=40_000)],
    }
    arguments = {"shuffle": True, "random_state": 0} if name != "TimeSeriesSplit" else {}
    groups = np.array([f"group {i}" for i in range(400)])[rng.integers(400, size=40_000)] if name in GROUPED else None
    for y in labels.values() if n_splits < 300 or name != "StratifiedGroupKFold" else ():
        assert_same(
            folds(getattr(lc, name)(n_splits, **arguments), X, y, groups),
            folds(getattr(theirs, name)(n_splits, **arguments), X, y, groups),
        )


def test_same_indices_as_its_twin_where_ties_and_many_classes_decide():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        groups, k = np.sort(rng.integers(60, size=100)), int(rng.integers(3, 10))
        y = rng.integers(2 + seed % 3, size=100)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mine, other = (folds(m.StratifiedGroupKFold(k), y, y, groups) for m in (lc, theirs))
        assert_same(mine, other)
    y = np.random.default_rng(0).integers(300, size=9000)
    for shuffle in ({}, {"shuffle": True, "random_state": 0}):
        assert_same(*(folds(m.StratifiedKFold(3, **shuffle), y, y) for m in (lc, theirs)))


@pytest.mark.parametrize("name", TWINS)
def test_signature_and_repr_of_its_twin(name):
    splitter, twin = getattr(lc, name)(3), getattr(theirs, name)(3)
    mine, other = (inspect.signature(type(s)).parameters for s in (splitter, twin))
    assert [p for p in mine if p != "strata"] == list(other)
    assert all(mine[p].default == other[p].default and mine[p].kind == other[p].kind for p in other)
    assert repr(splitter) == repr(twin)


@pytest.mark.parametrize("name", SPLITTERS)
def test_works_in_scikit_learn(name):
    X, y, groups = np.zeros((30, 1)), np.arange(30) % 3, np.arange(30) % 7
    splitter = getattr(lc, name)(3)
    arguments = {"groups": groups} if name in GROUPED else {}
    scores = theirs.cross_val_score(DummyClassifier(), X, y, cv=splitter, **arguments)
    if name in TWINS:
        twin = getattr(theirs, name)(3)
        np.testing.assert_array_equal(scores, theirs.cross_val_score(DummyClassifier(), X, y, cv=twin, **arguments))
    assert np.isfinite(scores).all()
    assert repr(splitter).startswith(f"{name}(")
    assert repr(copy.deepcopy(splitter)) == repr(splitter)


@pytest.mark.parametrize("name", SPLITTERS)
def test_metadata_routing(name):
    import sklearn

    splitter = getattr(lc, name)(3)
    wanted = {"PurgedKFold": "times", **dict.fromkeys(GROUPED, "groups")}.get(name)
    requests = splitter.get_metadata_routing().split.requests
    assert requests == ({} if wanted is None else {wanted: True})
    assert hasattr(splitter, "set_split_request") == (wanted is not None)
    if wanted is None:
        return
    X, y, groups = np.zeros((30, 1)), np.arange(30) % 3, np.arange(30) // 3
    value = groups if wanted == "groups" else (np.arange(30), np.arange(30) + 4)
    expected = [test for _, test in folds(splitter, X, y, **{wanted: value})]
    with sklearn.config_context(enable_metadata_routing=True):
        for named, cv in ((wanted, splitter), ("other", copy.copy(splitter).set_split_request(**{wanted: "other"}))):
            options = {"cv": cv, "params": {named: value}, "return_indices": True}
            for cross_validate in (theirs.cross_validate, lc.cross_validate):
                found = cross_validate(DummyClassifier(), X, y, **options)["indices"]
                assert_same([found["test"]], [expected])
    assert splitter.get_metadata_routing().split.requests == {wanted: True}
    with pytest.raises(TypeError, match=f"can request {wanted}"):
        splitter.set_split_request(sample_weight=True)


def test_generators_and_global_state_are_random_states():
    first = [folds(lc.KFold(3, shuffle=True, random_state=np.random.default_rng(0)), range(9))[0][1]]
    again = [folds(lc.KFold(3, shuffle=True, random_state=np.random.default_rng(0)), range(9))[0][1]]
    np.testing.assert_array_equal(first, again)


IRIS = load_iris(return_X_y=True)


FOUR = range(4)


DAYS = np.arange(4).astype("M8[D]")


GROUPS_OF_ONE_CLASS = np.repeat(range(5), [5, 11, 9, 1, 11])


ALMOST = np.array([0, 0, 1, 0, 0, *[1] * 11, *[2] * 9, 3, 4, 4, 4, 4, 0, 4, 0, 4, 0, 0, 4])


FAILURES = {
    "n_splits": (ValueError, "n_splits must be >= 2", lambda: lc.KFold(1)),
    "n_splits type": (TypeError, "n_splits must be an integer", lambda: lc.KFold(2.5)),
    "random_state": (ValueError, "no effect since shuffle is False", lambda: lc.KFold(3, random_state=0)),
    "shuffle": (ValueError, "shuffle must be one of", lambda: lc.KFold(3, shuffle="yes")),
    "no y": (ValueError, "StratifiedKFold needs y", lambda: lc.StratifiedKFold(2).split(FOUR)),
    "floats": (ValueError, "use KFold", lambda: lc.StratifiedKFold(2).split(FOUR, [0.1, 0.2, 0.3, 0.4])),
    "two targets": (ValueError, "use KFold", lambda: lc.StratifiedKFold(2).split(FOUR, np.zeros((4, 2)))),
    "rare": (ValueError, "more than any class in y has", lambda: lc.StratifiedKFold(3).split(FOUR, list("aabb"))),
    "NaN in y": (ValueError, "y has missing", lambda: lc.StratifiedKFold(2).split(FOUR, [0.0, np.nan, 1, 1])),
    "None in y": (ValueError, "y has missing", lambda: lc.StratifiedKFold(2).split(FOUR, ["a", None, "b", "b"])),
    "unhashable y": (
        TypeError,
        "y must hold hashable labels",
        lambda: lc.StratifiedKFold(2).split(FOUR, np.array([{}] * 4, dtype=object)),
    ),
    "NaN in strata": (
        ValueError,
        "strata has missing",
        lambda: lc.StratifiedKFold(2).split(FOUR, strata=[[0, np.nan]] * 4),
    ),
    "NaN in groups": (ValueError, "groups has missing", lambda: lc.GroupKFold(2).split(FOUR, None, [0, np.nan, 1, 2])),
    "two groups a row": (ValueError, "groups must be one-dim", lambda: lc.GroupKFold(2).split(FOUR, None, np.eye(4))),
    "no groups": (ValueError, "GroupKFold needs groups", lambda: lc.GroupKFold(2).split(FOUR)),
    "no groups in time": (ValueError, "needs groups", lambda: lc.GroupTimeSeriesSplit(2).split(FOUR)),
    "few groups": (
        ValueError,
        "n_splits=3 greater than the number of groups: 2",
        lambda: lc.GroupKFold(3).split(FOUR, None, [0, 0, 1, 1]),
    ),
    "few groups, strata": (
        ValueError,
        "n_splits=2 greater than the number of groups: 1",
        lambda: lc.StratifiedGroupKFold(2).split(FOUR, [0, 1, 0, 1], [7] * 4),
    ),
    "few groups in time": (
        ValueError,
        "2 groups: use fewer folds",
        lambda: lc.GroupTimeSeriesSplit(2).split(FOUR, None, [0, 0, 1, 1]),
    ),
    "few rows": (ValueError, "n_splits=5 greater than the number of rows: 4", lambda: lc.KFold(5).split(FOUR)),
    "few rows in time": (
        ValueError,
        "folds=5 greater than the number of rows: 4",
        lambda: lc.TimeSeriesSplit(4).split(FOUR),
    ),
    "gap": (ValueError, "no row is left to train on", lambda: lc.TimeSeriesSplit(3, gap=1).split(FOUR)),
    "length of y": (ValueError, "X has 4 rows, y has 3", lambda: lc.KFold(2).split(FOUR, range(3))),
    "length of groups": (ValueError, "groups has 5", lambda: lc.TimeSeriesSplit(2).split(FOUR, None, range(5))),
    "no rows": (TypeError, "X must be", lambda: lc.KFold(2).split(3)),
    "empty": (ValueError, "X is empty", lambda: lc.PurgedKFold(2).split([])),
    "times": (ValueError, r"must be a pair \(start, end\)", lambda: lc.PurgedKFold(2).split(FOUR, times=FOUR)),
    "length of times": (
        ValueError,
        "the end of times has 3",
        lambda: lc.PurgedKFold(2).split(FOUR, times=(FOUR, range(3))),
    ),
    "ends before it starts": (
        ValueError,
        r"row 2 starts at 2 after it ends at 0 \(1 rows do\)",
        lambda: lc.PurgedKFold(2).split(FOUR, times=(FOUR, [0, 1, 0, 3])),
    ),
    "NaN in times": (
        ValueError,
        "the start of row 1 is missing",
        lambda: lc.PurgedKFold(2).split(FOUR, times=([0, np.nan, 1, 2], FOUR)),
    ),
    "times of two kinds": (
        TypeError,
        "numbers or dates in both",
        lambda: lc.PurgedKFold(2).split(FOUR, times=(FOUR, DAYS)),
    ),
    "times as text": (
        TypeError,
        "times must be numbers or datetime64",
        lambda: lc.PurgedKFold(2).split(FOUR, times=(list("abcd"), FOUR)),
    ),
    "embargo": (ValueError, "embargo must be a finite number >= 0", lambda: lc.PurgedKFold(2, embargo=-1)),
    "negative timedelta": (
        ValueError,
        "embargo must be >= 0",
        lambda: lc.PurgedKFold(2, embargo=np.timedelta64(-1, "D")),
    ),
    "embargo of another kind": (
        TypeError,
        "embargo=1 does not fit times that are dates; give a timedelta",
        lambda: lc.PurgedKFold(2, embargo=1).split(FOUR, times=[DAYS] * 2),
    ),
    "embargo of dates": (
        TypeError,
        "does not fit times that are numbers; give a number",
        lambda: lc.PurgedKFold(2, embargo=datetime.timedelta(1)).split(FOUR),
    ),
    "all purged": (
        ValueError,
        "purging leaves no training row in fold 0",
        lambda: lc.PurgedKFold(2).split(FOUR, times=([0] * 4, [9] * 4)),
    ),
    "folds": (TypeError, "must be a splitter or pairs", lambda: lc.check_folds(5, FOUR)),
    "rows of a fold": (ValueError, "row numbers below 4", lambda: lc.check_folds([([0, 1], [2, 4])], FOUR)),
    "length of checked y": (ValueError, "y has 3", lambda: lc.check_folds([([0], [1])], FOUR, range(3))),
}


@pytest.mark.parametrize("name", FAILURES)
def test_named_failures(name):
    error, sentence, call = FAILURES[name]
    with pytest.raises(error, match=sentence):
        call()
