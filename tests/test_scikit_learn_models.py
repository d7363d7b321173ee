"""scikit-learn's own models in pipelines, in compress and audit, and what is refused: models, arguments, files."""

import random
import warnings

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.neural_network
import sklearn.svm
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.linear_model import (
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import lifecycle as lc
from lifecycle.store.adapters.sklearn import linear_models, mlp

from . import scikit_learn_models as models
from .forged_files import forged
from .scikit_learn_models import answers, check_equal, quiet_fit


@pytest.fixture(scope="module")
def flowers():
    return models.flowers()


@pytest.fixture(scope="module")
def patients():
    return load_diabetes(return_X_y=True)


@pytest.fixture(scope="module")
def digits():
    return models.halves_of_digits()


@pytest.fixture(scope="module")
def trained(digits):
    X, y, *_ = digits
    return quiet_fit(MLPClassifier((24, 16), solver="lbfgs", max_iter=60, random_state=0, alpha=1e-2), X, y)


def test_pipelines_and_transformed_targets(flowers, patients, tmp_path):
    X, y = flowers
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    outer = TransformedTargetRegressor(
        MLPRegressor(hidden_layer_sizes=(6, 4), max_iter=5, random_state=0),
        transformer=StandardScaler(),
        check_inverse=False,
    )
    outer = quiet_fit(outer, *patients)
    for model, rows in ((pipeline, X), (outer, patients[0])):
        obs = lc.prune(model, 0.5, method="obs", calibration=rows)
        for one in (model, obs, lc.quantize(model)):
            expected = answers(one, rows)
            lc.save(one, tmp_path / "a")
            check_equal(answers(lc.load(tmp_path / "a"), rows), expected)
            lc.save(lc.load(tmp_path / "a"), tmp_path / "b")
            assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
        assert lc.size_of(lc.quantize(model)) < lc.size_of(model)
    small = lc.prune(outer, 0.5, structure="channels", method="taylor", calibration=patients)
    assert sum(small.regressor_.hidden_layer_sizes) == 5
    assert quiet_fit(clone(small), *patients).regressor_.hidden_layer_sizes == small.regressor_.hidden_layer_sizes
    into = make_pipeline(StandardScaler(), LogisticRegression())
    lc.save(pipeline, tmp_path / "a")
    lc.load(tmp_path / "a", into=into)
    check_equal(answers(into, X), answers(pipeline, X))


def test_compress_and_audit(digits, trained):
    X, y, X_new, y_new = digits
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)).fit(X, y)
    regressor = Ridge(alpha=0.1).fit(X, y.astype(float))
    for model, rows, targets in ((linear, X_new, y_new), (trained, X_new, y_new), (regressor, X_new, y_new * 1.0)):
        result = lc.compress(model, rows, targets, max_drop=0.2, random_state=0, progress=False)
        assert type(result.model) is type(model)
        assert result.certificate.holds
        assert result.size_after < result.size_before
        assert set(result.methods.values()) == {("obs", "gptq")}
        changes = lc.audit(model, result.model, rows, targets)
        assert changes.drop.low <= changes.drop.value <= changes.drop.high
        assert changes.size.after == result.size_after


class MyRegression(LogisticRegression):
    pass


def test_what_is_not_supported_is_named(flowers, digits, trained, tmp_path):
    X, y = flowers
    model = LogisticRegression().fit(X, y)
    with_objects = lc.prune(model, 0.0)
    with_objects.coef_ = with_objects.coef_.astype(object)
    other_classes = lc.prune(model, 0.0)
    other_classes.classes_ = np.array([0, 1])
    other_layers = lc.prune(trained, 0.0)
    other_layers.intercepts_ = other_layers.intercepts_[:1]
    requested = LogisticRegression().fit(X, y)
    requested._metadata_request = "requested"
    cases = [
        (LogisticRegression(), "this LogisticRegression is not fitted yet: call fit first"),
        (MLPClassifier(), "this MLPClassifier is not fitted yet"),
        (make_pipeline(StandardScaler(), LinearSVC()), "is not fitted yet"),
        (MyRegression().fit(X, y), r"a MyRegression is not supported.*no subclass of these\): .*ElasticNet"),
        (GaussianNB().fit(X, y), "a GaussianNB is not supported.*KNeighborsClassifier.*MLPClassifier"),
        (LogisticRegression().fit(X, y).sparsify(), r"coef_ of this LogisticRegression is sparse: call densify\(\)"),
        (with_objects, "coef_ is not an array of numbers"),
        (other_classes, "2 classes need 1 outputs; there are 3"),
        (other_layers, "coefs_ has 3 layers and intercepts_ 1"),
    ]
    for model, sentence in cases:
        for verb in (lambda m: lc.prune(m, 0.5), lc.quantize, lc.size_of, lambda m: lc.save(m, tmp_path / "a")):
            with pytest.raises(lc.UnsupportedModel, match=sentence):
                verb(model)
    with pytest.raises(lc.UnsupportedModel, match="after set_fit_request"):
        lc.save(requested, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_arguments_that_do_not_fit(flowers, digits, trained):
    X, y = flowers
    linear = LogisticRegression().fit(X, y)
    for model in (linear, trained):
        with pytest.raises(ValueError, match="needs torch layers"):
            lc.quantize(model, activations="dynamic")
    with pytest.raises(lc.UnsupportedModel, match='for a linear estimator there are "magnitude"'):
        lc.prune(linear, 0.5, method="taylor", calibration=(X, y))
    with pytest.raises(lc.UnsupportedModel, match="a linear estimator has no channels"):
        lc.prune(linear, 0.5, structure="channels", calibration=X)
    with pytest.raises(ValueError, match="4 features"):
        lc.prune(linear, 0.5, method="obs", calibration=X[:, :2])
    X, y, *_ = digits
    with pytest.raises(ValueError, match="64 features"):
        lc.prune(trained, 0.5, method="wanda", calibration=X[:, :2])
    with pytest.raises(ValueError, match="900 rows and 5 targets"):
        lc.prune(trained, 0.5, method="taylor", calibration=(X, y[:5]))
    with pytest.raises(ValueError, match="the label 10, which is not one"):
        lc.prune(trained, 0.5, method="taylor", calibration=(X, y + 2))
    channels = {"structure": "channels", "calibration": X}
    with pytest.raises(lc.UnsupportedModel, match="it has 2 hidden layers, and every one is before or after"):
        lc.prune(trained, 0.5, protect=["coefs_.1"], **channels)
    with pytest.raises(lc.UnsupportedModel, match="are quantized: remove hidden units first"):
        lc.prune(lc.quantize(trained), 0.5, **channels)


def test_arguments_that_are_not_plain_are_needed_again(flowers, tmp_path):
    X, y = flowers
    model = SGDClassifier(random_state=np.random.RandomState(0), alpha=1e-3).fit(X, y)
    lc.save(model, tmp_path / "a")
    assert not lc.inspect(tmp_path / "a").complete
    with pytest.raises(lc.UnsupportedModel, match="without its arguments random_state"):
        lc.load(tmp_path / "a")
    generator = np.random.RandomState(1)
    again = lc.load(tmp_path / "a", into=SGDClassifier(random_state=generator, penalty="l1"))
    assert (again.random_state, again.alpha, again.penalty) == (generator, 1e-3, "l2")
    check_equal(answers(again, X), answers(model, X))
    other = Ridge().fit(X, y)
    with pytest.raises(ValueError, match="the file holds a SGDClassifier; into is a Ridge"):
        lc.load(tmp_path / "a", into=other)
    np.testing.assert_array_equal(other.coef_, Ridge().fit(X, y).coef_)


def edits():
    """Ways to forge the manifests of a logistic regression, a ridge classifier, a Tweedie regression and a network."""

    def fitted(name, value):
        return lambda manifest: manifest["config"]["fitted"].update({name: value})

    def config(name, value):
        return lambda manifest: manifest["config"].update({name: value})

    classes = {"$array": "<U1", "value": ["b", "a", "c"]}
    any_model = [
        config("class", "os.system"),
        config("class", "KNeighborsClassifier"),
        config("class", "Lars"),
        config("class", "LinearDiscriminantAnalysis"),
        config("params", {"nonsense": 1}),
        config("params", []),
        config("fitted", {"predict": 1}),
        fitted("__class__", 1),
        fitted("coefs_paths_", 1.0),
        fitted("alpha_", "many"),
        fitted("alpha_", {"$dict": []}),
        fitted("feature_names_in_", {"$array": "|O", "value": ["a"]}),
    ]
    of_classifier = [
        fitted("classes_", classes),
        fitted("classes_", {"$array": "<U1", "value": ["a", "b"]}),
        fitted("classes_", {"$array": "|O", "value": [None, 1, 2]}),
        fitted("classes_", 3),
    ]
    yield from (("logistic", edit) for edit in (*any_model, *of_classifier))
    yield from (("ridge", edit) for edit in (*of_classifier, config("multilabel", True)))
    yield "logistic", config("intercept", {"intercept_": 0.0})
    yield "tweedie", config("intercept", {"intercept_": "x"})
    yield "tweedie", config("intercept", {})
    yield "tweedie", config("params", {"power": "x"})
    yield "tweedie", config("params", {"link": "nonsense"})
    yield from (("network", edit) for edit in (*any_model, *of_classifier))
    yield "network", config("out_activation", "exp")
    yield "network", config("multilabel", True)
    yield "network", config("params", {"activation": "nonsense"})
    yield "network", config("dtype", "<f2")
    yield "network", fitted("loss_curve_", 1.0)


@pytest.fixture(scope="module")
def files(flowers, patients, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    X, y = flowers
    y = np.array(["a", "b", "c"])[y]
    network = lc.quantize(quiet_fit(MLPClassifier((3,), max_iter=3, random_state=0), X, y))
    models = {
        "logistic": LogisticRegression().fit(X, y),
        "ridge": RidgeClassifier().fit(X, y),
        "tweedie": TweedieRegressor(power=1.5).fit(*patients),
        "network": network,
    }
    for name, model in models.items():
        lc.save(model, folder / name)
    return {name: (folder / name).read_bytes() for name in models}


@pytest.mark.parametrize("k", range(len(list(edits()))))
def test_forged_files_are_corrupt(k, files, tmp_path):
    name, edit = list(edits())[k]
    (tmp_path / "a").write_bytes(forged(files[name], edit))
    with pytest.raises(lc.CorruptBundle):
        lc.load(tmp_path / "a")


def test_arrays_that_do_not_fit_are_corrupt(files, tmp_path):
    def without(name):
        def edit(manifest):
            manifest["arrays"][f"{name}_"] = manifest["arrays"].pop(name)

        return edit

    cases = [
        ("logistic", without("intercept_")),
        ("logistic", without("coef_")),
        ("network", without("coefs_.0.scales")),
        ("network", without("intercepts_.0")),
        ("network", without("intercepts_.1")),
    ]
    for name, edit in cases:
        (tmp_path / "a").write_bytes(forged(files[name], edit))
        with pytest.raises(lc.CorruptBundle):
            lc.load(tmp_path / "a")


def test_shapes_that_do_not_fit_are_refused(flowers):
    """What `deserialize` is given, with one array of another shape or dtype: named, never a model."""
    X, y = flowers
    network = quiet_fit(MLPClassifier((3,), max_iter=3, random_state=0), X, y)
    for adapter, model in ((linear_models, LogisticRegression().fit(X, y)), (mlp, network)):
        config, arrays = adapter.serialize(model)
        assert adapter.deserialize(config, dict(arrays)).score(X, y) == model.score(X, y)
        for name in arrays.keys() - {"fitted.n_iter_"}:
            array = arrays[name]
            shorter = array[:-1] if name == "coef_" else array[..., :-1]  # with fewer inputs coef_ is another model
            others = [shorter, array[None], array.astype(np.int64), array.ravel()[:1], array[:0], array.astype("f2")]
            if name == "fitted.classes_":
                others = [shorter, array[None], array[::-1], array[[0, 0, 1]]]
            for other in others:
                with pytest.raises((ValueError, TypeError, LookupError)):
                    adapter.deserialize(config, {**arrays, name: other})


def test_mutated_files_that_are_loaded_predict(files, tmp_path):
    pytest.importorskip("torch")
    from .mutated_files import mutated

    rng, predicted = random.Random(0), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that overflow
        for name in list(files) * 100:
            try:
                data = mutated(files[name], rng)
            except (AttributeError, RecursionError, TypeError):
                continue  # an edit removed what the next one needs
            (tmp_path / "a").write_bytes(data)
            try:
                model = lc.load(tmp_path / "a")
            except (lc.CorruptBundle, lc.UnsupportedModel):
                continue
            answers(model, np.ones((3, model.n_features_in_)))
            predicted += 1
    assert predicted > 50


def test_a_class_that_this_scikit_learn_lacks_is_an_error_of_the_file(files, tmp_path, monkeypatch):
    monkeypatch.delattr(sklearn.linear_model, "LogisticRegression")
    (tmp_path / "a").write_bytes(files["logistic"])
    with pytest.raises(lc.CorruptBundle, match="LogisticRegression"):
        lc.load(tmp_path / "a")


def test_the_fastest_network_has_fewer_hidden_units(digits, trained, monkeypatch):
    def seconds(calls):
        """Of each model in proportion to its weights."""
        sizes = [float(sum(weight.size for weight in call.args[0].coefs_)) for call in calls]
        return [(size, size, size) for size in sizes]

    monkeypatch.setattr("lifecycle.compression._latency_search.alternating_quartiles", seconds)
    options = {"objective": "latency", "batch_size": 32, "random_state": 0, "progress": False}
    result = lc.compress(trained, *digits[2:], max_drop=0.1, **options)
    assert result.certificate.holds
    assert sum(result.model.hidden_layer_sizes) < sum(trained.hidden_layer_sizes)
    assert all("int8" not in candidate.description for candidate in result.candidates)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(*digits[:2])
    with pytest.raises(ValueError, match=r"for 32 rows a call: objective"):  # no word of channels, which it has not
        lc.compress(model, *digits[2:], max_drop=0.1, **options)
    assert lc.compress(model, *digits[2:], max_drop=0.1, random_state=0, progress=False).notes == []


def test_a_search_is_refused_in_favor_of_its_best_estimator(tmp_path):
    X, y = load_diabetes(return_X_y=True)
    search = lc.GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=3, progress=False).fit(X, y)
    with pytest.raises(lc.UnsupportedModel, match="a GridSearchCV is a search: pass its best_estimator_"):
        lc.save(search, tmp_path / "model.lc")
    lc.save(search.best_estimator_, tmp_path / "model.lc")
