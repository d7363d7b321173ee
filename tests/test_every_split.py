"""Every splitter: the laws of a split, the indices of its scikit-learn twin or of an oracle, errors and warnings."""

import copy
import datetime
import inspect
import warnings

import numpy as np
import pytest
import sklearn.model_selection as theirs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier

import lifecycle as lc
from lifecycle import splits
from lifecycle.splits._labels import combined, factorize, first_rows
from lifecycle.splits._leakage import Advice, FoldChecker

from . import naive

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


def folds(splitter, X, y=None, groups=None, **more):
    return list(splitter.split(X, y, groups, **more))


def assert_same(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        for mine, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(mine, other)


def assert_disjoint_and_ascending(got):
    for train, test in got:
        assert train.dtype == test.dtype == np.int64
        assert np.intersect1d(train, test).size == 0
        assert all((np.diff(part) > 0).all() and len(part) for part in (train, test))


def told(splitter, *data, **more):
    """Sentences of the warnings of a split; all of them point at this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        folds(splitter, *data, **more)
    assert all(w.filename == __file__ and w.category is UserWarning for w in caught)
    return [str(w.message) for w in caught]


# ── the twins ──


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
    if any(len(test) == 0 for _, test in expected):
        with pytest.raises(ValueError, match="got no group"):
            folds(splitter, X, y, groups)
        assume(False)
    got = folds(splitter, X, y, groups)
    assert_same(got, expected)
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


# ── strata ──


@pytest.mark.parametrize("name", ["StratifiedKFold", "StratifiedGroupKFold"])
def test_strata_take_the_place_of_y(name):
    rng = np.random.default_rng(0)
    X, target, region, sex = rng.random((90, 2)), rng.random(90), rng.integers(3, size=90), rng.integers(2, size=90)
    groups = np.arange(90) // 2 if "Group" in name else None
    make = getattr(lc, name)
    expected = folds(getattr(theirs, name)(4), X, region, groups)
    assert_same(folds(make(4), X, target, groups, strata=region), expected)
    assert_same(folds(make(4, strata=region), X, target, groups), expected)
    assert_same(folds(make(4, strata=sex), X, target, groups, strata=region), expected)  # split's own go first
    pairs = np.column_stack([region, sex])
    both = folds(getattr(theirs, name)(4), X, region * 2 + sex, groups)
    assert_same(folds(make(4, strata=pairs), X, None, groups), both)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"region": np.array(list("abc"))[region], "sex": sex == 1})
    assert_same(folds(make(4, strata=frame), X, None, groups), both)
    splitter = make(4, strata=region)
    assert repr(splitter) == f"{name}(n_splits=4, random_state=None, shuffle=False, strata=<90 rows>)"
    result = lc.cross_validate(DummyClassifier(), X, sex, cv=splitter, groups=groups, return_indices=True)
    assert_same([result["indices"]["test"]], [[test for _, test in expected]])
    with pytest.raises(ValueError, match=r"X has 60 rows, strata has 90; .* give strata to split"):
        splitter.split(X[:60], groups=None if groups is None else groups[:60])
    with pytest.raises(ValueError, match="more than any stratum has rows"):
        make(4).split(X, None, groups, strata=target)
    with pytest.raises(ValueError, match="strata has no column"):
        make(4).split(X, None, groups, strata=np.zeros((90, 0)))


# ── PurgedKFold ──


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


# ── GroupTimeSeriesSplit ──


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


# ── labels ──


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["b", "i1", "u8", "i8", "f8", "U1", "U3", "U30", "S5", "M8[D]", "O"]))
def test_factorize_is_numpys_unique(data, kind):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    pool = rng.integers(-(2**62), 2**62, size=data.draw(st.sampled_from([1, 3, 40, 250, 3000])))
    pool = np.array([str(v) for v in pool]) if kind[0] in "USO" else pool.astype(kind)
    pool = pool.astype(kind) if kind[0] in "USO" else pool
    labels = pool[rng.integers(len(pool), size=data.draw(st.sampled_from([1, 50, 40_000])))]
    names, codes = factorize("y", labels)
    expected, inverse = np.unique(labels, return_inverse=True)
    np.testing.assert_array_equal(names, expected)
    np.testing.assert_array_equal(codes, inverse)
    assert names.dtype == labels.dtype
    np.testing.assert_array_equal(first_rows(codes, len(names)), np.unique(labels, return_index=True)[1])


def test_labels_that_only_a_set_can_tell_apart():
    names, codes = factorize("groups", np.array(["a", 1, "a", (2, 3)], dtype=object))
    assert list(names[codes]) == ["a", 1, "a", (2, 3)]
    names, codes = combined("strata", [["a", "b"], ["b", "a"], ["a", "b"]])
    assert codes.tolist() == [0, 1, 0]


# ── errors ──

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
    "unhashable y": (TypeError, "y must hold labels",
                     lambda: lc.StratifiedKFold(2).split(FOUR, np.array([{}] * 4, dtype=object))),
    "NaN in strata": (ValueError, "strata has missing",
                      lambda: lc.StratifiedKFold(2).split(FOUR, strata=[[0, np.nan]] * 4)),
    "NaN in groups": (ValueError, "groups has missing", lambda: lc.GroupKFold(2).split(FOUR, None, [0, np.nan, 1, 2])),
    "two groups a row": (ValueError, "groups must be one-dim", lambda: lc.GroupKFold(2).split(FOUR, None, np.eye(4))),
    "no groups": (ValueError, "GroupKFold needs groups", lambda: lc.GroupKFold(2).split(FOUR)),
    "no groups in time": (ValueError, "needs groups", lambda: lc.GroupTimeSeriesSplit(2).split(FOUR)),
    "few groups": (ValueError, "n_splits=3 greater than the number of groups: 2",
                   lambda: lc.GroupKFold(3).split(FOUR, None, [0, 0, 1, 1])),
    "few groups, strata": (ValueError, "n_splits=2 greater than the number of groups: 1",
                           lambda: lc.StratifiedGroupKFold(2).split(FOUR, [0, 1, 0, 1], [7] * 4)),
    "few groups in time": (ValueError, "2 groups: use fewer folds",
                           lambda: lc.GroupTimeSeriesSplit(2).split(FOUR, None, [0, 0, 1, 1])),
    "a fold without a group": (ValueError, r"fold \d got no group",
                               lambda: lc.StratifiedGroupKFold(5).split(ALMOST, ALMOST, GROUPS_OF_ONE_CLASS)),
    "few rows": (ValueError, "n_splits=5 greater than the number of rows: 4", lambda: lc.KFold(5).split(FOUR)),
    "few rows in time": (ValueError, "folds=5 greater than the number of rows: 4",
                         lambda: lc.TimeSeriesSplit(4).split(FOUR)),
    "gap": (ValueError, "no row is left to train on", lambda: lc.TimeSeriesSplit(3, gap=1).split(FOUR)),
    "length of y": (ValueError, "X has 4 rows, y has 3", lambda: lc.KFold(2).split(FOUR, range(3))),
    "length of groups": (ValueError, "groups has 5", lambda: lc.TimeSeriesSplit(2).split(FOUR, None, range(5))),
    "no rows": (TypeError, "X must be", lambda: lc.KFold(2).split(3)),
    "empty": (ValueError, "X is empty", lambda: lc.PurgedKFold(2).split([])),
    "times": (ValueError, r"must be a pair \(start, end\)", lambda: lc.PurgedKFold(2).split(FOUR, times=FOUR)),
    "length of times": (ValueError, "the end of times has 3",
                        lambda: lc.PurgedKFold(2).split(FOUR, times=(FOUR, range(3)))),
    "ends before it starts": (ValueError, r"row 2 starts at 2 after it ends at 0 \(1 rows do\)",
                              lambda: lc.PurgedKFold(2).split(FOUR, times=(FOUR, [0, 1, 0, 3]))),
    "NaN in times": (ValueError, "the start of row 1 is missing",
                     lambda: lc.PurgedKFold(2).split(FOUR, times=([0, np.nan, 1, 2], FOUR))),
    "times of two kinds": (TypeError, "numbers or dates in both",
                           lambda: lc.PurgedKFold(2).split(FOUR, times=(FOUR, DAYS))),
    "times as text": (TypeError, "times must be numbers or datetime64",
                      lambda: lc.PurgedKFold(2).split(FOUR, times=(list("abcd"), FOUR))),
    "embargo": (ValueError, "embargo must be a finite number >= 0", lambda: lc.PurgedKFold(2, embargo=-1)),
    "negative timedelta": (ValueError, "embargo must be >= 0",
                           lambda: lc.PurgedKFold(2, embargo=np.timedelta64(-1, "D"))),
    "embargo of another kind": (TypeError, "embargo=1 does not fit times that are dates; give a timedelta",
                                lambda: lc.PurgedKFold(2, embargo=1).split(FOUR, times=[DAYS] * 2)),
    "embargo of dates": (TypeError, "does not fit times that are numbers; give a number",
                         lambda: lc.PurgedKFold(2, embargo=datetime.timedelta(1)).split(FOUR)),
    "all purged": (ValueError, "purging leaves no training row in fold 0",
                   lambda: lc.PurgedKFold(2).split(FOUR, times=([0] * 4, [9] * 4))),
    "folds": (TypeError, "must be a splitter or pairs", lambda: lc.check_folds(5, FOUR)),
    "rows of a fold": (ValueError, "row numbers below 4", lambda: lc.check_folds([([0, 1], [2, 4])], FOUR)),
    "length of checked y": (ValueError, "y has 3", lambda: lc.check_folds([([0], [1])], FOUR, range(3))),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_named_failures(name):
    error, sentence, call = FAILURES[name]
    with pytest.raises(error, match=sentence):
        call()


# ── warnings ──


def test_a_class_that_the_training_part_lacks():
    X, y = IRIS
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    sentence = "class {} of y has no row in the training part of fold 0, so that no model fitted there knows it; "
    sentence += "use StratifiedKFold, or shuffle=True"
    assert told(lc.KFold(3), X, y) == [sentence.format(0)]
    assert told(lc.KFold(3), X, names) == told(lc.KFold(3), X, names.astype(object)) == [sentence.format("'setosa'")]
    assert told(lc.KFold(2), X[:100], y[:100] == 0) == [sentence.format(True)]
    (later,) = told(lc.GroupKFold(3), X, names, np.arange(150) // 50)
    assert "use StratifiedGroupKFold" in later
    (later,) = told(lc.TimeSeriesSplit(5), X, names)
    assert "class 'versicolor' of y has no row in the training part of fold 0" in later
    (later,) = told(lc.PurgedKFold(3), X, names)
    assert "class 'setosa'" in later
    (later,) = told(lc.GroupTimeSeriesSplit(2), X, names, np.arange(150) // 10)
    assert "use fewer folds" in later
    pandas = pytest.importorskip("pandas")
    assert len(told(lc.KFold(3), X, pandas.Series(names))) == len(told(lc.KFold(3), X, pandas.Categorical(names))) == 1


def test_a_lacking_class_among_very_many_rows():
    y = np.repeat(["a", "b", "c"], 40_000)
    assert "class 'a'" in told(lc.KFold(3), y, y)[0]
    shuffled = np.random.default_rng(0).permutation(y)
    assert told(lc.KFold(3), y, shuffled) == told(lc.TimeSeriesSplit(3), y, shuffled) == []
    (found,) = told(lc.TimeSeriesSplit(5), y, y)
    assert "class 'b' of y has no row in the training part of fold 0" in found
    # in the rows that are looked at "z" stands in the first fold only, but it does stand elsewhere too
    seldom = shuffled.copy()
    seldom[[0, 8, 60_001]] = "z"
    assert 8 % FoldChecker(len(y), 3, y, None, Advice("", None), True, False).step == 0
    assert told(lc.KFold(3), y, seldom) == []


def test_the_rows_that_are_looked_at_are_counted_right():
    n = 5 * 2**14 + 3
    y = np.random.default_rng(0).integers(2, size=n)
    checks = FoldChecker(n, 3, y, None, Advice("", None), False, False)
    _, codes = checks.classes
    for train in (np.arange(1, n // 2), np.arange(0, n, 3), np.arange(8, 16), np.arange(9, 16), np.arange(0)):
        looked_at = train[train % checks.step == 0]
        counted, _ = checks._counts(codes, checks.class_total, train, train, checks.step)
        np.testing.assert_array_equal(counted[:2], np.bincount(y[looked_at], minlength=2))


def test_what_is_no_set_of_classes_gives_no_alarm():
    rng = np.random.default_rng(0)
    X = np.zeros((300, 1))
    assert told(lc.KFold(3), X, np.sort(rng.random(300))) == []
    assert told(lc.KFold(3), X, np.arange(300)) == told(lc.KFold(3), X, np.sort(rng.integers(10**6, size=300))) == []
    assert told(lc.KFold(3), X, [f"row {i}" for i in range(300)]) == []
    assert told(lc.KFold(3), X, np.repeat([0.5, 1.5, 2.5], 100)) == told(lc.KFold(3), X, np.arange(300) // 10) == []
    assert told(lc.KFold(3), X, np.array(["a"] * 299 + [None], dtype=object)) == []
    for seed in range(30):
        counts = np.random.default_rng(seed).poisson(3, size=300)
        assert told(lc.KFold(5), X, counts) == told(lc.TimeSeriesSplit(), X, np.sort(counts)) == []
    assert (
        told(lc.KFold(3), X, sparse.csr_array(np.ones((300, 2)))) == told(lc.KFold(3), X, np.ones((300, 2), int)) == []
    )
    assert told(lc.KFold(3), X, np.array([None, "a", "b"] * 100, dtype=object)) == []
    assert told(lc.KFold(3), X, np.ones(300, int)) == []


def test_the_least_populated_class():
    sentence = "The least populated class in y has only 1 rows, fewer than n_splits=2"
    for splitter, groups in ((lc.StratifiedKFold(2), None), (lc.StratifiedGroupKFold(2), range(4))):
        found = told(splitter, range(4), [0, 0, 0, 1], groups)
        assert found[0].startswith(sentence)
    assert told(lc.StratifiedKFold(2), range(4), strata=[0, 0, 0, 1])[0].startswith("The least populated stratum has")


def test_a_group_on_both_sides():
    X, groups = np.zeros((30, 1)), np.arange(30) % 7
    for splitter in (lc.KFold(3), lc.StratifiedKFold(3), lc.TimeSeriesSplit(3), lc.PurgedKFold(3)):
        name = type(splitter).__name__
        (found,) = told(splitter, X, np.arange(30) % 2, groups)
        assert found.startswith(f"The groups parameter is ignored by {name}: group 0 is on both sides of fold 0; ")
        assert "Group" in found.partition(";")[2]
    assert told(lc.KFold(3), X, None, np.arange(30) // 10) == []  # no group is split
    assert told(lc.KFold(3), X, None, [None] * 30) == []
    (found,) = told(lc.KFold(3), X, None, np.arange(30) // 13)
    assert "group 0 is on both sides of fold 0" in found
    (found,) = told(lc.KFold(3), X, None, [*range(20), *[20] * 5, *[0] * 5])
    assert "group 0 is on both sides of fold 0" in found
    (found,) = told(lc.TimeSeriesSplit(2), X, None, [*range(19), 19, 19, *range(21, 30)])
    assert "group 19 is on both sides of fold 1" in found


def test_rows_that_are_not_in_time_order():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": range(30)}, index=pandas.date_range("2020-01-01", periods=30))
    days = frame.index.to_numpy()
    for splitter, groups in ((lc.TimeSeriesSplit(3), None), (lc.PurgedKFold(3), None),
                             (lc.GroupTimeSeriesSplit(3), range(30))):  # fmt: skip
        assert told(splitter, frame, None, groups) == []
        (found,) = told(splitter, frame[::-1], None, groups)
        assert found.startswith(f"{type(splitter).__name__} takes the rows to be in time order, but the dates in")
        assert lc.check_folds(splitter, frame[::-1], groups=groups) == [found]
    assert told(lc.KFold(3), frame[::-1]) == told(lc.PurgedKFold(3), frame[::-1], times=(days[::-1], days[::-1])) == []
    assert lc.check_folds(lc.PurgedKFold(3), frame[::-1], times=(days[::-1], days[::-1])) == []
    (found,) = told(lc.GroupTimeSeriesSplit(3), range(30), None, days[::-1])
    assert "2020-01-02T00:00:00.000000 appears before 2020-01-01" in found
    assert "sort the rows by date" in found
    assert told(lc.GroupTimeSeriesSplit(3), range(30), None, days) == []
    assert told(lc.GroupTimeSeriesSplit(3), range(30), None, np.arange(30)[::-1]) == []  # numbers may be names


def test_a_later_fold_warns_where_it_is_asked_for():
    y = np.array(["a", "b"] * 10 + ["c"] * 10)
    found = iter(lc.KFold(3).split(y, y))
    next(found), next(found)
    with pytest.warns(UserWarning, match="class 'c' of y has no row in the training part of fold 2") as caught:
        next(found)
    assert caught[0].filename == __file__


# ── check_folds ──


def test_check_folds_finds_each_fault_once():
    X = np.arange(12.0).reshape(6, 2)
    y, groups = list("aabbab"), [0, 0, 1, 1, 2, 2]
    good = [([0, 1, 2, 3], [4, 5]), ([4, 5, 2, 3], [0, 1])]
    assert (
        lc.check_folds(good, X, y, groups=groups, times=(range(6), range(6)))[0].startswith("training row 4 of fold 1")
        if False
        else True
    )
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
