"""MLPClassifier and MLPRegressor of scikit-learn: compressed, stored and loaded."""

import numpy as np
import pytest
from scipy import sparse
from scipy.special import log_softmax, xlogy
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.neural_network import MLPClassifier, MLPRegressor

import lifecycle as lc
from lifecycle.codecs import absmax, decode, encode
from lifecycle.store.adapters.sklearn import mlp

from . import scikit_learn_models as models
from .scikit_learn_models import check_largest_stay, check_round_trip, quiet_fit


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
def network(digits):
    X, y, *_ = digits
    return MLPClassifier((24, 16), solver="lbfgs", max_iter=60, random_state=0, alpha=1e-2), X, y


@pytest.fixture(scope="module")
def trained(network):
    model, X, y = network
    return quiet_fit(model, X, y)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_every_network_is_compressed_and_comes_back(activation, flowers, patients, tmp_path):
    (X, y), (D, t) = flowers, patients
    targets = [(X, y), (X, y > 0), (X, np.eye(3, dtype=int)[y]), (X, np.array(["a", "b", "c"])[y])]
    cases = [(MLPClassifier, *pair) for pair in targets]
    cases += [(MLPRegressor, D, t / 100), (MLPRegressor, D.astype("f4"), np.stack([t, -t], axis=1).astype("f4") / 100)]
    for cls, X, y in cases:
        model = quiet_fit(cls(hidden_layer_sizes=(7, 5), activation=activation, max_iter=3, random_state=0), X, y)
        for one in (model, lc.prune(model, 0.4), lc.quantize(model), lc.quantize(lc.prune(model, 0.4), bits=4)):
            again = check_round_trip(one, X, tmp_path)
            assert again.loss_curve_ == model.loss_curve_
            assert (again.n_layers_, again.n_outputs_, again.t_) == (4, model.n_outputs_, model.t_)
            assert again.score(X, y) == one.score(X, y)


def test_the_outputs_of_a_layer_have_one_scale_and_its_inputs_lie_in_groups(trained):
    before = [weight.copy() for weight in trained.coefs_]
    pruned = lc.prune(trained, 0.6, scope="layer")
    small = lc.quantize(trained)
    two_of_four = lc.prune(trained, structure="2:4")
    for k, weight in enumerate(before):
        check_largest_stay(weight, pruned.coefs_[k], 0.6)
        codes, scales = encode(weight, absmax.scales, 1)
        assert scales.shape == weight.shape[1:]
        np.testing.assert_array_equal(small.coefs_[k], decode(codes, scales, 1, weight.dtype))
        groups = two_of_four.coefs_[k].reshape(-1, 4, weight.shape[1])
        assert (np.count_nonzero(groups, axis=1) <= 2).all()
        np.testing.assert_array_equal(trained.coefs_[k], weight)
    assert lc.size_of(small) < 0.2 * lc.size_of(trained)
    protected = lc.prune(trained, 0.5, protect=["coefs_.1"])
    np.testing.assert_array_equal(protected.coefs_[1], before[1])
    with pytest.raises(ValueError, match=r"layers: coefs_\.0, coefs_\.1, coefs_\.2"):
        lc.prune(trained, 0.5, protect=["coefs_.3"])


def test_the_inputs_of_layers_are_those_of_the_network(trained, digits):
    X = digits[0]
    hidden = np.maximum(X @ trained.coefs_[0] + trained.intercepts_[0], 0)
    np.testing.assert_allclose(mlp.second_moments(trained, ["coefs_.0"], X)["coefs_.0"][0], X.T @ X / len(X))
    np.testing.assert_allclose(
        mlp.second_moments(trained, ["coefs_.0"], sparse.csr_array(X))["coefs_.0"][0], X.T @ X / len(X)
    )
    np.testing.assert_allclose(mlp.second_moments(trained, ["coefs_.1"], X)["coefs_.1"][0], hidden.T @ hidden / len(X))
    scores = mlp.inputs_of_layers(trained, X)[-1]
    np.testing.assert_allclose(np.exp(log_softmax(scores, axis=1)), trained.predict_proba(X))
    wanda = lc.prune(trained, 0.5, method="wanda", scope="layer", calibration=X, protect=["coefs_.0", "coefs_.2"])
    importance = np.abs(trained.coefs_[1]) * np.sqrt(np.mean(hidden**2, axis=0))[:, None]
    for k in range(16):  # each output loses half of its inputs
        kept = wanda.coefs_[1][:, k] != 0
        assert kept.sum() == 12
        assert importance[kept, k].min() >= importance[~kept, k].max()


def loss(model, X, y):
    """The mean loss of some rows, from the model's own predictions."""
    if isinstance(model, MLPRegressor):
        predicted = model.predict(X).reshape(len(X), -1)
        y = y.reshape(len(X), -1)
        if model.out_activation_ == "exp":
            return float((predicted - xlogy(y, predicted)).sum(axis=1).mean())
        return float(np.square(predicted - y).sum(axis=1).mean() / 2)
    chances = model.predict_proba(X)
    if model.out_activation_ == "logistic" and chances.shape[1] != 2:
        return float(-(xlogy(y, chances) + xlogy(1 - y, 1 - chances)).sum(axis=1).mean())
    return float(-np.log(chances[np.arange(len(X)), np.searchsorted(model.classes_, y)]).mean())


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind", ["classes", "two classes", "labels", "values", "two values", "counts"])
def test_squared_gradients_are_those_of_finite_differences(activation, kind, flowers):
    X, y = flowers[0][::9], flowers[1][::9]
    y = {
        "classes": np.array(["a", "b", "c"])[y],
        "two classes": y > 0,
        "labels": np.eye(3, dtype=int)[y],
        "values": X[:, 0] + y,
        "two values": X[:, :2],
        "counts": y,
    }[kind]
    options = {"loss": "poisson"} if kind == "counts" else {}
    cls = MLPRegressor if kind in ("values", "two values", "counts") else MLPClassifier
    if options and "loss" not in cls().get_params():
        pytest.skip("scikit-learn before 1.7")
    model = quiet_fit(
        cls(hidden_layer_sizes=(4, 3), activation=activation, max_iter=5, random_state=1, **options), X, y
    )
    names = ["coefs_.2", "coefs_.0"]
    found = mlp.squared_gradients(model, names, X, y)
    batches = np.array_split(np.arange(len(X)), round(len(X) / 8))
    assert len(batches) == 2
    for name, squares in zip(names, found, strict=True):
        weight = model.coefs_[int(name[-1])]
        for place in list(np.ndindex(weight.shape))[::3]:
            differences = []
            for rows in batches:
                sides = []
                for step in (1e-6, -1e-6):
                    old = weight[place]
                    weight[place] += step
                    sides.append(loss(model, X[rows], y[rows]))
                    weight[place] = old
                differences.append((sides[0] - sides[1]) / 2e-6)
            np.testing.assert_allclose(squares[place], np.mean(np.square(differences)), rtol=1e-4, atol=1e-9)


def test_obs_gptq_and_taylor_do_better_than_what_they_replace(trained, digits):
    X, y, X_new, y_new = digits
    before = mlp.inputs_of_layers(trained, X_new)[-1]

    def error(model):
        return float(np.square(mlp.inputs_of_layers(model, X_new)[-1] - before).mean())

    obs = lc.prune(trained, 0.6, method="obs", scope="layer", calibration=X)
    assert [(weight == 0).mean().round(2) for weight in obs.coefs_] == [0.6, 0.6, 0.6]
    assert error(obs) < 0.5 * error(lc.prune(trained, 0.6, scope="layer"))
    pattern = lc.prune(trained, structure="2:4", method="obs", calibration=X)
    assert (np.count_nonzero(pattern.coefs_[0].reshape(-1, 4, 24), axis=1) <= 2).all()
    assert error(pattern) < 0.7 * error(lc.prune(trained, structure="2:4"))
    for group_size in (None, 8):
        options = {"bits": 4, "group_size": group_size}
        gptq = lc.quantize(trained, method="gptq", calibration=X, **options)
        assert error(gptq) < 0.7 * error(lc.quantize(trained, **options))
    taylor = lc.prune(trained, 0.5, method="taylor", calibration=(X, y))
    chance = lc.prune(trained, 0.5, method="random", random_state=0)
    assert taylor.score(X_new, y_new) > chance.score(X_new, y_new) + 0.2


@pytest.mark.parametrize("activation", ["logistic", "relu"])
@pytest.mark.parametrize("method", ["magnitude", "random", "taylor"])
def test_hidden_units_are_removed(activation, method, network, digits, tmp_path):
    model, X, y = network
    model = quiet_fit(clone(model).set_params(activation=activation), X, y)
    rows = (X, y) if method == "taylor" else X
    options = {"structure": "channels", "method": method, "calibration": rows, "random_state": 0}
    small = lc.prune(model, 0.25, scope="layer", **options)
    assert [weight.shape for weight in small.coefs_] == [(64, 18), (18, 12), (12, 10)]
    assert small.hidden_layer_sizes == (18, 12)
    assert model.hidden_layer_sizes == (24, 16)
    assert small.score(X, y) > 0.9
    check_round_trip(small, X, tmp_path)
    again = quiet_fit(clone(small).set_params(max_iter=2), X, y)
    assert [weight.shape for weight in again.coefs_] == [weight.shape for weight in small.coefs_]
    everywhere = lc.prune(model, 0.5, scope="global", **options)
    assert sum(everywhere.hidden_layer_sizes) == 20
    assert lc.prune(model, 0.99, **options).hidden_layer_sizes == (1, 1)
    first = lc.prune(model, 0.5, protect=["coefs_.2"], **options)
    assert first.hidden_layer_sizes == (12, 16)


def test_a_unit_that_nothing_reads_goes_first_and_changes_nothing(trained, digits):
    X = digits[2]
    model = lc.prune(trained, 0.0)
    for weight, axis in ((model.coefs_[0], 1), (model.coefs_[1], 0)):
        np.moveaxis(weight, axis, 0)[[3, 8, 20]] = 0.0
    small = lc.prune(model, 0.125, scope="layer", structure="channels", calibration=digits[0], protect=["coefs_.2"])
    np.testing.assert_array_equal(small.coefs_[0], np.delete(model.coefs_[0], [3, 8, 20], axis=1))
    np.testing.assert_allclose(small.predict_proba(X), model.predict_proba(X), atol=0.02)


def test_training_goes_on(flowers, tmp_path):
    X, y = flowers
    for options in ({}, {"early_stopping": True, "warm_start": True}, {"solver": "sgd", "warm_start": True}):
        model = quiet_fit(MLPClassifier((6,), max_iter=5, random_state=0, learning_rate_init=1e-9, **options), X, y)
        small = lc.prune(model, 0.5, structure="channels", calibration=X)
        lc.save(model, tmp_path / "a")
        for one in (lc.load(tmp_path / "a"), lc.prune(model, 0.5), small):
            before = [weight.copy() for weight in one.coefs_]
            if "warm_start" in options:
                quiet_fit(one, X, y)
            else:
                one.partial_fit(X, y)
            for weight, old in zip(one.coefs_, before, strict=True):
                np.testing.assert_allclose(weight, old, atol=1e-5)
            assert len(one.loss_curve_) > len(model.loss_curve_)
