import os
import tempfile

# numba's cache key ignores compile options: every run compiles again, into a new folder
os.environ.setdefault("NUMBA_CACHE_DIR", tempfile.mkdtemp(prefix="lifecycle-numba-"))
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("MPLBACKEND", "agg")

import numpy as np
import pytest


@pytest.fixture(scope="session")
def digits():
    """500 of scikit-learn's digits, float32 between 0 and 1."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return (X[:500] / 16).astype(np.float32), y[:500]


@pytest.fixture(scope="session")
def diabetes():
    """scikit-learn's diabetes data, float32, features and target standardized."""
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    return X, ((y - y.mean()) / y.std()).astype(np.float32)
