"""Real data sets: small ones, their features standardized, and Fashion-MNIST where it is installed."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
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


def fashion_mnist():
    """All 70,000 images (n, 1, 28, 28) in float32, and classes; skips where Debian's package is not installed."""
    folder = Path(os.environ.get("FASHION", "/usr/share/datasets/fashion-mnist"))
    if not folder.exists():
        pytest.skip(
            f"needs Fashion-MNIST: dataset-fashion-mnist of Debian, or FASHION for another folder than {folder}"
        )
    images, labels = [], []
    for part in ("train", "t10k"):
        pixels = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
        images.append(np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 1, 28, 28))
        classes = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
        labels.append(np.frombuffer(classes, np.uint8, offset=8))
    return np.concatenate(images) / np.float32(255), np.concatenate(labels).astype(int)
