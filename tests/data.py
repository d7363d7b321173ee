"""Small real data sets, their features standardized."""

from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.preprocessing import scale


def _scaled(load):
    X, y = load(return_X_y=True)
    return scale(X), y


def cancer():
    """569 rows, 30 features, two classes."""
    return _scaled(load_breast_cancer)


def wine():
    """178 rows, 13 features, three classes."""
    return _scaled(load_wine)


def diabetes():
    """442 rows, 10 features, a number to predict."""
    return _scaled(load_diabetes)


def digits():
    """1,797 rows, 64 features, ten classes."""
    return _scaled(load_digits)
