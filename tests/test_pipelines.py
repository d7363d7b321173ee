"""scikit-learn pipelines around our estimators: compressed, stored and loaded like the estimators themselves."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import IncrementalPCA
from sklearn.impute import SimpleImputer
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

import lifecycle as lc
from lifecycle.store.adapters.sklearn import steps

from .forged_files import forged


@pytest.fixture(scope="module")
def table():
    """Numbers and words with holes in both, and a target that depends on both."""
    rng = np.random.RandomState(0)
    n = 240
    X = pd.DataFrame(
        {
            "age": rng.randint(18, 90, n).astype(float),
            "work": rng.choice(["baker", "miller", "nurse"], n).astype(object),
            "height": rng.normal(170, 9, n),
            "smokes": rng.choice(["no", "yes"], n).astype(object),
            "code": rng.choice([3, 7, 11], n),
        }
    )
    y = (X.age / 30 + (X.work == "nurse") * 2 - (X.smokes == "yes") + rng.normal(0, 0.3, n)).to_numpy()
    X.loc[::7, "age"] = np.nan
    X.loc[3::11, "work"] = np.nan
    return X, y


def columns():
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["age", "height"]),
            (
                "words",
                make_pipeline(
                    SimpleImputer(strategy="constant", fill_value="?"),
                    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                ),
                ["work", "smokes"],
            ),
            ("codes", OneHotEncoder(drop="if_binary", sparse_output=False), ["code"]),
        ]
    )


def fitted(model, table):
    X, y = table
    return Pipeline([("columns", columns()), ("model", model)]).fit(X, y if "Regressor" in repr(model) else y > 1.5)


def predictions(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def torch_estimators():
    lt = pytest.importorskip("lifecycle.torch")
    short = {"max_epochs": 3, "random_state": 0}
    return [
        lt.TorchClassifier(**short),
        TransformedTargetRegressor(lt.TorchRegressor(**short), transformer=StandardScaler()),
    ]


@pytest.mark.parametrize("k", range(4))
def test_a_pipeline_comes_back_with_every_bit(table, tmp_path, k):
    X, _ = table
    linear = [lc.LinearClassifier(random_state=0), lc.LinearRegressor(optimizer="exact")]
    model = fitted((linear[k] if k < 2 else torch_estimators()[k - 2]), table)
    for change in (lambda m: m, lambda m: lc.prune(m, 0.5), lc.quantize):
        changed = change(model)
        lc.save(changed, tmp_path / "a")
        again = lc.load(tmp_path / "a")
        np.testing.assert_array_equal(predictions(again, X), predictions(changed, X))
        lc.save(again, tmp_path / "b")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
        assert lc.inspect(tmp_path / "a").complete
        assert list(again.feature_names_in_) == list(X.columns)
    np.testing.assert_array_equal(again[0].transform(X), model[0].transform(X))  # unknown words, holes and all
    strange = X.head(3).assign(work=np.array(["king", np.nan, "nurse"], dtype=object), age=[np.nan, 1e6, -1.0])
    np.testing.assert_array_equal(predictions(again, strange), predictions(changed, strange))
    assert lc.size_of(lc.quantize(model)) < lc.size_of(model)


def test_the_original_is_left_alone_and_a_loaded_one_can_be_fitted_again(table, tmp_path):
    X, y = table
    model = fitted(lc.LinearClassifier(random_state=0), table)
    before = predictions(model, X)
    lc.quantize(lc.prune(model, 0.8))
    np.testing.assert_array_equal(predictions(model, X), before)
    lc.save(model, tmp_path / "a")
    again = clone(lc.load(tmp_path / "a")).fit(X, y > 1.5)
    np.testing.assert_array_equal(predictions(again, X), before)


def test_arrays_and_column_numbers(tmp_path):
    X, y = load_iris(return_X_y=True)
    chosen = ColumnTransformer([("a", StandardScaler(), [2, 0]), ("b", "passthrough", [1])], remainder="drop")
    for first in (StandardScaler(with_mean=False), chosen, "passthrough", SimpleImputer()):
        model = make_pipeline(first, lc.LinearClassifier(random_state=0)).fit(X, y)
        lc.save(model, tmp_path / "a")
        np.testing.assert_array_equal(predictions(lc.load(tmp_path / "a"), X), predictions(model, X))


def test_sparse_output_stays_sparse(table, tmp_path):
    X, _ = table
    inner = ColumnTransformer([("words", OneHotEncoder(), ["smokes", "code"])], remainder="drop", sparse_threshold=1.0)
    scaled = make_pipeline(inner, StandardScaler(with_mean=False)).fit(X)
    arrays = {}
    config = json.loads(json.dumps(steps.serialize_step(scaled, "", arrays)))
    again = steps.deserialize_step(config, "", arrays, None)
    assert arrays == {}
    left, right = again.transform(X), scaled.transform(X)
    assert type(left) is type(right)
    np.testing.assert_array_equal(left.toarray(), right.toarray())


def test_in_a_new_process(table, tmp_path):
    X, _ = table
    model = fitted(lc.LinearClassifier(random_state=0), table)
    lc.save(model, tmp_path / "model")
    X.to_csv(tmp_path / "rows.csv", index=False)
    code = "import sys, pandas, lifecycle as lc; X = pandas.read_csv('rows.csv'); X['work'] = X.work.astype(object)\n"
    code += "print(lc.load('model').predict_proba(X).tolist())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    np.testing.assert_array_equal(np.array(json.loads(done.stdout)), predictions(model, X))


class Squares(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X**2


def test_unsupported_steps_are_named(tmp_path):
    X, y = load_iris(return_X_y=True)
    ours = lc.LinearClassifier(random_state=0)
    cases = [
        (make_pipeline(StandardScaler(), GaussianNB()), "a GaussianNB is not supported.*KNeighborsClassifier"),
        (make_pipeline(IncrementalPCA(), ours), "a IncrementalPCA cannot be stored; what can, .*FeatureUnion.*PCA"),
        (make_pipeline(Squares(), ours), "a Squares"),
        (make_pipeline(SimpleImputer(add_indicator=True), ours), "add_indicator=True cannot be stored"),
        (make_pipeline(OneHotEncoder(min_frequency=3, handle_unknown="ignore"), ours), "min_frequency=3"),
        (make_pipeline(StandardScaler(), ours, memory=str(tmp_path / "cache")), "a Pipeline with memory"),
        (make_pipeline(StandardScaler().set_output(transform="pandas"), ours), "set_output"),
        (
            make_pipeline(ColumnTransformer([("a", StandardScaler(), slice(0, 2))]), ours),
            "columns slice.* cannot be stored",
        ),
        (make_pipeline(ColumnTransformer([("a", StandardScaler(), [0])], remainder=MinMaxScaler()), ours), "remainder"),
    ]
    for model, sentence in cases:
        if "OneHot" in repr(model):
            model.steps[-1] = ("linear", lc.LinearClassifier(random_state=0))
            Z = np.round(X)
            model.steps[0][1].sparse_output = False
        else:
            Z = X
        with pytest.raises(lc.UnsupportedModel, match=sentence):
            lc.save(model.fit(Z, y), tmp_path / "a")
    with pytest.raises(lc.UnsupportedModel, match="not fitted"):
        lc.save(make_pipeline(StandardScaler(), ours), tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


def test_a_pipeline_whose_estimator_needs_its_arguments_is_filled(table, tmp_path):
    lt = pytest.importorskip("lifecycle.torch")
    from torch import nn

    X, y = table
    net = nn.Sequential(nn.Linear(11, 4), nn.ReLU(), nn.Linear(4, 2))
    made = lambda: Pipeline([("columns", columns()), ("model", lt.TorchClassifier(net, max_epochs=2, random_state=0))])  # noqa: E731
    model = made().fit(X, y > 1.5)
    lc.save(model, tmp_path / "a")
    assert not lc.inspect(tmp_path / "a").complete
    with pytest.raises(lc.UnsupportedModel, match="into"):
        lc.load(tmp_path / "a")
    with pytest.raises(ValueError, match="the file holds a Pipeline"):
        lc.load(tmp_path / "a", into=nn.Linear(1, 1))
    into = made()
    again = lc.load(tmp_path / "a", into=into)
    assert again is into
    np.testing.assert_array_equal(predictions(again, X), predictions(model, X))


def _edits():
    """Ways to forge the manifest of a pipeline."""

    def at(*path):
        def change(value):
            def edit(manifest):
                node = manifest["config"]["root"]
                for key in path[:-1]:
                    node = node[key]
                node[path[-1]] = value

            return edit

        return change

    ct = ("steps", 0, 1)
    yield at("class")("os.system")
    yield at("steps")([])
    yield at(*ct, "class")("FunctionTransformer")
    yield at(*ct, "n_features")(10**9)
    yield at(*ct, "names")(["a"])
    yield at(*ct, "names")(None)
    yield at(*ct, "parts")([["x", {"word": "exec"}, ["age"]]])
    yield at(*ct, "params")({"remainder": {"$tuple": []}})
    scaler = (*ct, "parts", 0, 1, "steps", 1, 1)
    yield at(*scaler, "fitted")({"n_features_in_": 10**12})
    yield at(*scaler, "fitted")({"__class__": "x"})
    yield at(*scaler, "fitted")({"transform": 1, "n_features_in_": 2})
    yield at(*scaler, "params")({"nonsense": 1})
    yield at(*scaler, "params")({"copy": True, "with_mean": True, "n_jobs": 2})
    yield at(*ct, "params")({"remainder": "drop", "n_jobs": 2})
    yield at(*ct, "params")({"remainder": "drop", "transformer_weights": None})
    encoder = (*ct, "parts", 2, 1)
    yield at(*encoder, "params")({"min_frequency": 1})
    yield at(*encoder, "fitted")({"categories_": [], "n_features_in_": 1})
    yield at(*encoder, "fitted")({"n_features_in_": 1})
    yield at("steps", 1, 1)({"model": {"kind": "pickle"}})
    yield at("steps", 1, 1)({"word": "drop"})


@pytest.mark.parametrize("k", range(len(list(_edits()))))
def test_forged_pipelines_are_corrupt(table, tmp_path, k):
    lc.save(fitted(lc.LinearClassifier(random_state=0), table), tmp_path / "a")
    (tmp_path / "b").write_bytes(forged((tmp_path / "a").read_bytes(), list(_edits())[k]))
    with pytest.raises(lc.CorruptBundle):
        lc.load(tmp_path / "b")


def test_a_target_of_two_columns(tmp_path):
    lt = pytest.importorskip("lifecycle.torch")
    X, y = load_diabetes(return_X_y=True)
    Y = np.stack([y, -y], axis=1)
    model = TransformedTargetRegressor(lt.TorchRegressor(max_epochs=2, random_state=0), transformer=StandardScaler())
    lc.save(model.fit(X, Y), tmp_path / "a")
    again = lc.load(tmp_path / "a")
    assert again.predict(X).shape == Y.shape
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.check_inverse is True
