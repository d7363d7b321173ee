"""Strata and the least populated class, for both stratified splitters."""

import numpy as np
import pytest
import sklearn.model_selection as theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier

import lifecycle as lc

from .folds import assert_same, folds, warned


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


def test_the_least_populated_class():
    sentence = "The least populated class in y has only 1 rows, fewer than n_splits=2"
    for splitter, groups in ((lc.StratifiedKFold(2), None), (lc.StratifiedGroupKFold(2), range(4))):
        found = warned(splitter, range(4), [0, 0, 0, 1], groups)
        assert found[0].startswith(sentence)
    assert warned(lc.StratifiedKFold(2), range(4), strata=[0, 0, 0, 1])[0].startswith("The least populated stratum has")


def test_as_many_groups_as_folds():
    """scikit-learn leaves a fold empty here."""
    y, groups = [1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0], [0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 3]
    with pytest.warns(UserWarning, match="least populated class"):
        folds = list(lc.StratifiedGroupKFold(4).split(np.zeros(12), y, groups))
    assert sorted(np.unique(np.take(groups, test)).tolist() for _, test in folds) == [[0], [1], [2], [3]]


@settings(max_examples=60, deadline=None)
@given(k=st.integers(2, 6), more=st.integers(0, 3), seed=st.integers(0, 9999), shuffle=st.booleans())
@pytest.mark.filterwarnings("ignore:The least populated", "ignore:class . of y has no row in the training part")
def test_every_fold_gets_a_group_where_there_are_enough(k, more, seed, shuffle):
    rng = np.random.default_rng(seed)
    groups = np.r_[np.arange(k + more), rng.integers(1 + more, size=3 * k)]  # a few large ones, and single rows
    y = np.r_[np.arange(2).repeat(k), rng.random(len(groups)) < 0.3][: len(groups)].astype(int)
    splitter = lc.StratifiedGroupKFold(k, shuffle=shuffle, random_state=seed if shuffle else None)
    folds = list(splitter.split(groups, y, groups))
    assert all(len(test) for _, test in folds)
    assert sum(len(np.unique(groups[test])) for _, test in folds) == k + more
