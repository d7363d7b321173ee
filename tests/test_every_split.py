"""Every splitter: the laws of a split, and the indices of its scikit-learn twin."""

import numpy as np
import pytest
import sklearn.model_selection as theirs
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lifecycle as lc
from lifecycle import splits

ARGUMENTS = {
    "KFold": st.fixed_dictionaries({"shuffle": st.booleans()}),
    "StratifiedKFold": st.fixed_dictionaries({"shuffle": st.booleans()}),
    "GroupKFold": st.fixed_dictionaries({"shuffle": st.booleans()}),
    "TimeSeriesSplit": st.fixed_dictionaries(
        {
            "max_train_size": st.none() | st.integers(1, 20),
            "test_size": st.none() | st.integers(1, 5),
            "gap": st.integers(0, 4),
        }
    ),
}


def folds(splitter, X, y, groups):
    return list(splitter.split(X, y, groups))


@pytest.mark.filterwarnings("ignore:.*(populated class|smallest class)")
@pytest.mark.parametrize("name", splits.__all__)
@settings(max_examples=80, deadline=None)
@given(data=st.data(), n=st.integers(2, 60), k=st.integers(2, 6), seed=st.integers(0, 99))
def test_same_indices_as_its_twin_and_the_laws_of_a_split(name, data, n, k, seed):
    arguments = data.draw(ARGUMENTS[name])
    if arguments.get("shuffle"):
        arguments["random_state"] = seed
    rng = np.random.default_rng(seed)
    X, y, groups = rng.random((n, 2)), np.array(list("cabd"))[rng.integers(4, size=n)], rng.integers(12, size=n)
    groups = groups if name == "GroupKFold" else None
    twin = getattr(theirs, name)(k, **arguments)
    splitter = getattr(lc, name)(k, **arguments)
    try:
        expected = folds(twin, X, y, groups)
    except ValueError:
        with pytest.raises(ValueError, match="n_splits"):
            folds(splitter, X, y, groups)
        assume(False)
    got = folds(splitter, X, y, groups)
    assert len(got) == len(expected) == splitter.get_n_splits(X, y, groups)
    for a, b in zip(got, expected, strict=True):
        for mine, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(mine, other)
    assert all(np.intersect1d(train, test).size == 0 for train, test in got)
    if name == "TimeSeriesSplit":
        assert all(train.max() + arguments["gap"] < test.min() for train, test in got)
    else:
        np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in got])), np.arange(n))


@pytest.mark.parametrize("name", splits.__all__)
def test_works_in_scikit_learn(name):
    from sklearn.dummy import DummyClassifier

    X, y, groups = np.zeros((30, 1)), np.arange(30) % 3, np.arange(30) % 7
    splitter, twin = getattr(lc, name)(3), getattr(theirs, name)(3)
    arguments = {"groups": groups} if name == "GroupKFold" else {}
    mine, other = (theirs.cross_val_score(DummyClassifier(), X, y, cv=cv, **arguments) for cv in (splitter, twin))
    np.testing.assert_array_equal(mine, other)
    assert repr(splitter).startswith(f"{name}(n_splits=3")


def test_generators_and_global_state_are_random_states():
    first = [folds(lc.KFold(3, shuffle=True, random_state=np.random.default_rng(0)), range(9), None, None)[0][1]]
    again = [folds(lc.KFold(3, shuffle=True, random_state=np.random.default_rng(0)), range(9), None, None)[0][1]]
    np.testing.assert_array_equal(first, again)


def test_named_failures():
    with pytest.raises(ValueError, match="n_splits must be >= 2"):
        lc.KFold(1)
    with pytest.raises(TypeError, match="n_splits must be an integer"):
        lc.KFold(2.5)
    with pytest.raises(ValueError, match="no effect without shuffle"):
        lc.KFold(3, random_state=0)
    with pytest.raises(ValueError, match="shuffle must be one of"):
        lc.KFold(3, shuffle="yes")
    with pytest.raises(ValueError, match="needs y"):
        next(lc.StratifiedKFold(2).split(range(4)))
    with pytest.raises(ValueError, match="use KFold"):
        next(lc.StratifiedKFold(2).split(range(4), [0.1, 0.2, 0.3, 0.4]))
    with pytest.raises(ValueError, match="needs groups"):
        next(lc.GroupKFold(2).split(range(4)))
    with pytest.raises(ValueError, match="y has 3"):
        next(lc.KFold(2).split(range(4), range(3)))
    with pytest.raises(TypeError, match="X must be"):
        next(lc.KFold(2).split(3))
    with pytest.warns(UserWarning, match="the smallest class has 1 rows"):
        next(lc.StratifiedKFold(2).split(range(4), [0, 0, 0, 1]))
