"""k-nearest-neighbors models are stored with their rows: the same after loading, and checked in crafted files."""

import random
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array, csr_matrix
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import KDTree, KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

import lifecycle as lc
from lifecycle.store import bundle, limits
from lifecycle.store.adapters.sklearn import neighbors

from . import scikit_learn_models as models
from .scikit_learn_models import answers, check_equal, check_round_trip, quiet_fit


@pytest.fixture(scope="module")
def flowers():
    return models.flowers()


CLASSIFIERS = [
    KNeighborsClassifier(),
    KNeighborsClassifier(3, weights="distance", algorithm="ball_tree", leaf_size=5),
    KNeighborsClassifier(7, algorithm="brute", metric="cosine"),
    KNeighborsClassifier(4, p=1, algorithm="kd_tree"),
    KNeighborsClassifier(metric="minkowski", p=3, metric_params={"w": np.array([1.0, 0.5, 2.0, 1.0])}),
    KNeighborsClassifier(metric="seuclidean", metric_params={"V": np.array([1.0, 0.5, 2.0, 1.0])}, n_jobs=2),
    KNeighborsClassifier(n_neighbors=1, metric="chebyshev"),
]
REGRESSORS = [
    KNeighborsRegressor(),
    KNeighborsRegressor(3, weights="distance", metric="manhattan"),
    KNeighborsRegressor(8, algorithm="brute"),
]


@pytest.mark.parametrize("model", CLASSIFIERS, ids=repr)
def test_classifiers(model, flowers, tmp_path):
    X, y = flowers
    for rows in (X, X.astype(np.float32), np.round(4 * X).astype(int)):
        for labels in (y, np.array(["c", "a", "b"])[y], y == 1, np.array(["x", "yy", "z"], dtype=object)[y]):
            again = check_round_trip(clone(model).fit(rows[::2], labels[::2]), rows, tmp_path)
            refitted = quiet_fit(clone(again), rows[::2], labels[::2])
            check_equal(answers(refitted, rows), answers(again, rows))
            for found, expected in zip(again.kneighbors(rows), again.kneighbors(rows), strict=True):
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("model", REGRESSORS, ids=repr)
def test_regressors(model, flowers, tmp_path):
    X, y = flowers
    for targets in (X[:, 0], y, np.column_stack([y, X[:, 1]]), X[:, 0].astype(np.float32)):
        check_round_trip(clone(model).fit(X[::2], targets[::2]), X, tmp_path)


def test_several_targets_with_classes(flowers, tmp_path):
    X, y = flowers
    for Y in (
        np.column_stack([y, y % 2]),
        np.column_stack([y == 0, y == 1]).astype(int),
        np.array([["a", "bb"]])[[0] * 75],
    ):
        labels = Y[::2] if len(Y) == 150 else Y
        model = KNeighborsClassifier(3).fit(X[::2], labels)
        lc.save(model, tmp_path / "a")
        again = lc.load(tmp_path / "a")
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        for found, expected in zip(again.predict_proba(X), model.predict_proba(X), strict=True):
            np.testing.assert_array_equal(found, expected)
        lc.save(again, tmp_path / "b")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("cls", [csr_array, csr_matrix])
def test_sparse_rows(cls, flowers, tmp_path):
    X, y = flowers
    rows = cls(np.where(X > 0, X, 0.0))
    for metric in ("minkowski", "cosine", "l1"):
        check_round_trip(KNeighborsClassifier(3, metric=metric).fit(rows, y), rows, tmp_path)
    check_round_trip(KNeighborsRegressor(3).fit(rows.astype(np.float32), y), rows, tmp_path)


def test_missing_values(flowers, tmp_path):
    X, y = flowers
    X = np.where(X > 1.5, np.nan, X)
    check_round_trip(KNeighborsClassifier(metric="nan_euclidean").fit(X, y), X, tmp_path)


def test_pipelines_and_tables(flowers, tmp_path):
    X, y = flowers
    table = pd.DataFrame(X, columns=list("abcd")).assign(word=np.array(["x", "y", "z"], dtype=object)[y])
    plain = KNeighborsClassifier().fit(table[list("abcd")], y)
    again = check_round_trip(plain, table[list("abcd")], tmp_path)
    assert list(again.feature_names_in_) == list("abcd")
    columns = ColumnTransformer([("n", StandardScaler(), ["a", "b"]), ("w", OrdinalEncoder(), ["word"])])
    texts = make_pipeline(TfidfVectorizer(analyzer="char"), KNeighborsClassifier(4, metric="cosine"))
    for model, rows, targets in (
        (make_pipeline(columns, KNeighborsClassifier()), table, y),
        (
            TransformedTargetRegressor(make_pipeline(columns, KNeighborsRegressor()), func=np.exp, inverse_func=np.log),
            table,
            y / 3,
        ),
        (texts, [f"{w} {v:.3f}" for w, v in zip(table.word, table.a, strict=True)], y),
    ):
        model.fit(rows, targets)
        lc.save(model, tmp_path / "a")
        check_equal(answers(lc.load(tmp_path / "a"), rows), answers(model, rows))
        assert lc.size_of(model) > 0


def test_compression_says_what_it_cannot_do(flowers):
    X, y = flowers
    for model in (KNeighborsClassifier().fit(X, y), make_pipeline(StandardScaler(), KNeighborsClassifier()).fit(X, y)):
        name = type(model).__name__
        for verb in (
            lambda m: lc.prune(m, 0.5),
            lc.quantize,
            lambda m: lc.compress(m, X, y, max_drop=0.3, progress=False),
        ):
            with pytest.raises(lc.UnsupportedModel, match=f"this {name} has no weight that can be compressed"):
                verb(model)
        changes = lc.audit(model, model, X, y)
        assert changes.drop.value == 0
    with pytest.raises(lc.UnsupportedModel, match="has training rows and no weights"):
        neighbors.read_weight(KNeighborsClassifier(), "x")


def test_what_cannot_be_stored_is_named(flowers, tmp_path):
    X, y = flowers
    distances = np.abs(X[:, :1] - X[:, 0])
    on_tree = KNeighborsClassifier().fit(X, y)
    del on_tree.n_features_in_
    cases = [
        (KNeighborsClassifier(), "this KNeighborsClassifier is not fitted yet"),
        (KNeighborsClassifier(metric="precomputed").fit(distances, y), "metric='precomputed' is no distance of rows"),
        (KNeighborsRegressor(200).fit(X, y), "n_neighbors=200 is not between 1 and its number of rows, 150"),
        (KNeighborsRegressor(n_jobs=1000).fit(X, y), "n_jobs=1000"),
        (on_tree, "fitted to a tree or to another model"),
    ]
    for model, sentence in cases:
        with pytest.raises(lc.UnsupportedModel, match=sentence):
            lc.save(model, tmp_path / "a")
    assert KDTree(X).data.shape == X.shape  # what such a model may have been fitted to


def by_rank(distances):
    return 1.0 / (1.0 + np.arange(distances.shape[1])) * np.ones_like(distances)


def test_functions_are_needed_again(flowers, tmp_path):
    X, y = flowers
    model = KNeighborsClassifier(4, weights=by_rank).fit(X, y)
    lc.save(model, tmp_path / "a")
    assert not lc.inspect(tmp_path / "a").complete
    with pytest.raises(lc.UnsupportedModel, match="without its arguments weights"):
        lc.load(tmp_path / "a")
    again = lc.load(tmp_path / "a", into=KNeighborsClassifier(weights=by_rank))
    check_equal(answers(again, X), answers(model, X))


# -- crafted files -----------------------------------------------------------------------------------------------------


def crafted(model, folder, edit):
    """A file of the model with a right checksum, whose configuration or arrays were edited."""
    config, arrays = neighbors.serialize(model)
    edit(config, arrays)
    bundle.write(folder / "crafted", config, arrays, None, small=False)
    return folder / "crafted"


def config(name, value):
    return lambda config, arrays: config.update({name: value})


def param(name, value):
    return lambda config, arrays: config["params"].update({name: value})


def array(name, change):
    return lambda config, arrays: arrays.update({name: change(arrays[name])})


def at(index, value):
    def change(array):
        array = array.copy()
        array[index] = value
        return array

    return change


DENSE = [
    (config("n_features", 10**12), "number of columns"),
    (config("n_features", 5), "the rows have the shape"),
    (config("class", "RadiusNeighborsClassifier"), "class must be one of"),
    (param("n_neighbors", 10**12), "n_neighbors=1000000000000 is not between"),
    (param("n_neighbors", "many"), "n_neighbors='many'"),
    (param("n_neighbors", True), "n_neighbors=True"),
    (param("n_jobs", 10**6), "n_jobs=1000000"),
    (param("n_jobs", True), "n_jobs=True"),
    (param("metric", "os.system"), "metric"),
    (param("metric", "pyfunc"), "is no distance of rows"),
    (param("metric", "precomputed"), "is no distance of rows"),
    (param("metric_params", {"$dict": [["func", "os.system"]]}), "metric_params are not numbers"),
    (param("metric_params", {"$dict": [["w", {"$array": "<f8", "value": [1.0]}]]}), ""),
    (param("leaf_size", -1), "leaf_size"),
    (param("leaf_size", 10**30), "leaf_size=1000000000000000000000000000000 is not between"),
    (param("p", 10**400), "p=1000.* is not a number above 0"),
    (param("p", "x"), "p='x' is not a number above 0"),
    (param("weights", "x"), "weights"),
    (array("rows", lambda rows: rows[:-1]), "rows, and targets of the shape"),
    (array("rows", lambda rows: rows[:, :3]), "the rows have the shape"),
    (array("rows", lambda rows: rows[None]), "the rows have the shape"),
    (array("rows", lambda rows: rows[:0]), "there are 0 rows"),
    (array("rows", at((3, 1), np.nan)), "contains NaN"),
    (array("rows", at((3, 1), np.inf)), "contains infinity"),
    (array("targets", lambda y: y[:-1]), "rows, and targets of the shape"),
    (array("targets", lambda y: y[:, None, None]), "targets of the shape"),
    (array("targets", lambda y: y[:, None]), "not numbers of the classes|column-vector"),
    (array("targets", lambda y: np.column_stack([y, y])), "not numbers of the classes"),
    (array("targets", at(5, 3)), "not numbers of the classes"),
    (array("targets", lambda y: y.astype(np.int8) - 1), "not numbers of the classes"),
    (array("targets", lambda y: y.astype(float)), "not numbers of the classes"),
    (lambda config, arrays: arrays.pop("targets"), "missing"),
    (lambda config, arrays: arrays.pop("fitted.classes_"), "not numbers of the classes"),
    (array("fitted.classes_", lambda c: np.append(c, 9)), "not numbers of the classes"),
    (array("fitted.classes_", lambda c: c[::-1]), "sorted labels"),
    (lambda config, arrays: arrays.update({"x": np.zeros(3)}), "arrays that the estimator does not have"),
]
NARROW = 2_000_000  # rows of bytes


def narrow(config, arrays):
    """Rows of few distinct bytes, which take a bit each in the file, and 8 bytes each in a search tree."""
    arrays["rows"] = np.zeros((NARROW, 4), np.uint8)
    arrays["rows"][:2] = 1
    arrays["targets"] = np.resize(np.arange(3, dtype=np.uint8), NARROW)


def leaves_of_one_row(config, arrays):
    config["params"]["leaf_size"], config["n_features"] = 1, 1
    arrays["rows"] = np.zeros((2 * NARROW, 1))
    arrays["targets"] = np.resize(np.arange(3, dtype=np.uint8), 2 * NARROW)


SPARSE = [
    (array("rows.indices", at(0, 4)), "outside of their 4 columns"),
    (array("rows.indices", at(0, -1)), "outside of their 4 columns"),
    (array("rows.indices", lambda i: i[:-1]), "outside of their 4 columns"),
    (array("rows.indices", lambda i: i.astype(np.int16)), "are malformed"),
    (array("rows.indptr", at(0, 1)), "do not begin"),
    (array("rows.indptr", at(-1, 10**9)), "do not begin"),
    (array("rows.indptr", at(5, 10**6)), "do not begin"),
    (array("rows.indptr", at(5, -3)), "do not begin"),
    (array("rows.indptr", lambda i: i[:1]), "do not begin"),
    (array("rows.indptr", lambda i: i[None]), "are malformed"),
    (array("rows.data", lambda d: d[:-1]), "do not begin"),
    (array("rows.data", at(3, np.nan)), "contains NaN"),
    (config("n_features", 1), "outside of their 1 columns"),
]


@pytest.mark.parametrize("edit", [narrow, leaves_of_one_row])
def test_a_search_tree_takes_no_more_than_its_rows_allow(edit, flowers, tmp_path):
    from .mutated_files import Memory

    path = crafted(KNeighborsClassifier().fit(*flowers), tmp_path, edit)
    memory = Memory()
    with pytest.raises(lc.CorruptBundle, match=r"the search tree is, .* too large: all of that may take 100,000,000"):
        lc.load(path)
    assert memory.growth() < 80e6
    brute = lambda config, arrays: (edit(config, arrays), config["params"].update(algorithm="brute"))  # noqa: E731
    assert lc.load(crafted(KNeighborsClassifier().fit(*flowers), tmp_path, brute)).n_samples_fit_ >= NARROW


def test_rows_of_a_narrow_dtype_are_not_saved_where_they_are_not_loaded(flowers, tmp_path, monkeypatch):
    X, y = np.round(flowers[0]).astype(np.int8), flowers[1]
    monkeypatch.setattr(limits, "MAX_ARRAY_BYTES", 3_000)
    with pytest.raises(lc.UnsupportedModel, match="this KNeighborsClassifier cannot be stored: the search tree is"):
        lc.save(KNeighborsClassifier().fit(X, y), tmp_path / "a")
    lc.save(KNeighborsClassifier().fit(X.astype(float), y), tmp_path / "a")


@pytest.mark.parametrize("k", range(len(DENSE)))
def test_crafted_files_are_corrupt(k, flowers, tmp_path):
    edit, sentence = DENSE[k]
    path = crafted(KNeighborsClassifier().fit(*flowers), tmp_path, edit)
    with pytest.raises(lc.CorruptBundle, match=sentence or None):
        lc.load(path)


@pytest.mark.parametrize("k", range(len(SPARSE)))
def test_crafted_sparse_rows_are_corrupt(k, flowers, tmp_path):
    edit, sentence = SPARSE[k]
    X, y = flowers
    path = crafted(KNeighborsClassifier().fit(csr_array(np.where(X > 0, X, 0.0)), y), tmp_path, edit)
    with pytest.raises(lc.CorruptBundle, match=sentence):
        lc.load(path)


def test_mutated_files_that_are_loaded_predict(flowers, tmp_path):
    pytest.importorskip("torch")
    from .mutated_files import Memory, mutated

    X, y = flowers
    rng, predicted, memory = random.Random(0), 0, Memory()
    for rows in (X, csr_array(np.where(X > 0, X, 0.0))):
        lc.save(KNeighborsClassifier(metric_params={}).fit(rows, y), tmp_path / "original")
        for _ in range(300):
            try:
                data = mutated((tmp_path / "original").read_bytes(), rng)
            except (AttributeError, RecursionError, TypeError):
                continue  # an edit removed what the next one needs
            (tmp_path / "a").write_bytes(data)
            try:
                model = lc.load(tmp_path / "a")
            except (lc.CorruptBundle, lc.UnsupportedModel):
                continue
            if model.n_features_in_ != rows.shape[1]:
                continue  # empty columns of sparse rows, of which there may be any number
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of values that overflow
                answers(model, rows)
            predicted += 1
    assert predicted > 50
    assert memory.growth() < 250e6
