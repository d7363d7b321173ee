"""What the tests of scikit-learn's own models share: data, fitting and comparing."""

import warnings

import numpy as np
from sklearn.datasets import load_digits, load_iris
from sklearn.preprocessing import StandardScaler

import lifecycle as lc


def flowers():
    """150 rows of 4 standardized features, and 3 classes."""
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def halves_of_digits():
    """900 rows to fit, 897 others."""
    X, y = load_digits(return_X_y=True)
    return X[:900] / 16, y[:900], X[900:] / 16, y[900:]


def quiet_fit(model, X, y):
    """Fit, however few the iterations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y)


def answers(model, X):
    names = ("predict", "predict_proba", "decision_function")
    return {name: getattr(model, name)(X) for name in names if hasattr(model, name)}


def check_equal(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def check_round_trip(model, X, folder):
    """Save, load, load into another and save again: the same class, arguments, answers and bytes."""
    expected = answers(model, X)
    lc.save(model, folder / "a")
    again = lc.load(folder / "a")
    assert type(again) is type(model)
    assert repr(again.get_params(deep=False)) == repr(model.get_params(deep=False))
    check_equal(answers(again, X), expected)
    lc.save(again, folder / "b")
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    into = type(model)()
    assert lc.load(folder / "a", into=into) is into
    check_equal(answers(into, X), expected)
    assert lc.inspect(folder / "a").complete
    return again


def check_largest_stay(weights, pruned, amount):
    """Of weights of the same layer those that are zero are the smallest, as many as asked for."""
    assert (pruned == 0).sum() == max(round(amount * weights.size), (weights == 0).sum())
    np.testing.assert_array_equal(pruned[pruned != 0], weights[pruned != 0])
    assert np.abs(weights[pruned == 0]).max() <= np.abs(weights[pruned != 0]).min(initial=np.inf)
