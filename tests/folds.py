"""Folds of a splitter, the warnings of a split, and what any two splits must satisfy."""

import warnings

import numpy as np


def folds(splitter, X, y=None, groups=None, **more):
    return list(splitter.split(X, y, groups, **more))


def assert_same(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        for got_rows, expected_rows in zip(a, b, strict=True):
            np.testing.assert_array_equal(got_rows, expected_rows)


def assert_disjoint_and_ascending(got):
    for train, test in got:
        assert train.dtype == test.dtype == np.int64
        assert np.intersect1d(train, test).size == 0
        assert all((np.diff(part) > 0).all() and len(part) for part in (train, test))


def warned(splitter, *data, **more):
    """Sentences of the warnings of a split; all of them point at this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        folds(splitter, *data, **more)
    assert all(w.filename == __file__ and w.category is UserWarning for w in caught)
    return [str(w.message) for w in caught]
