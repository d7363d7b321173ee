"""TorchClassifier and TorchRegressor as scikit-learn estimators: its checks, arguments, targets, copies and errors."""

import copy
import inspect
import json
import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.metrics import accuracy_score  # noqa: E402
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import lifecycle as lc  # noqa: E402
import lifecycle.torch as lt  # noqa: E402

from .torch_estimators import classifier, losses, regressor, same, sequences, weights_of  # noqa: E402

BOTH = [lt.TorchClassifier, lt.TorchRegressor]


WEIGHTS = "a sample of weight 0 stays in its batch, and one of weight 2 is in one batch, where repeated it is in two"


@parametrize_with_checks(
    [cls() for cls in BOTH],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
        "check_sample_weight_equivalence_on_sparse_data": WEIGHTS,
    },
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("cls", BOTH)
def test_each_parameter_is_documented_and_both_estimators_say_the_same(cls):
    def documented(of):
        part = inspect.getdoc(of).partition("Parameters\n")[2].partition("Attributes\n")[0]
        found = re.split(r"\n(?=[\w*])", part.strip("-\n"))
        return {re.split(" : |\n", entry)[0]: entry for entry in found}

    names = [name.strip() for key in documented(cls) for name in key.split(",")]
    parameters = inspect.signature(cls).parameters
    assert names == [("**" if p.kind is p.VAR_KEYWORD else "") + p.name for p in parameters.values()]
    for name, text in documented(lt.TorchRegressor).items():
        if name not in ("module", "loss", "early_stopping"):
            assert text == documented(lt.TorchClassifier)[name]
    for p in parameters.values():
        if p.default is not p.empty:
            (text,) = [t for key, t in documented(cls).items() if p.name in re.split(r", ", key)]
            assert f"default={p.default!r}".replace("'", '"') in text


def test_parameters_of_the_module_are_parameters_of_the_estimator(digits):
    X, y = digits
    model = classifier(lt.MLP, module__hidden=(7,), optimizer=lc.SGD(lr=0.1))
    assert model.get_params()["module__hidden"] == (7,)
    assert model.get_params()["optimizer__lr"] == 0.1
    assert "module__hidden=(7,)" in repr(model)
    model._repr_html_()
    other = clone(model).set_params(module__hidden=(5,), module__dropout=0.1, optimizer__lr=0.2, batch_size=32)
    assert model.optimizer.lr == 0.1
    assert other.fit(X, y).module_.config == {"n_in": 64, "n_out": 10, "hidden": [5], "dropout": 0.1}
    assert other.history_[0]["lr"] == 0.2
    with pytest.raises(ValueError, match="Invalid parameter 'batchsize'"):
        model.set_params(batchsize=3)
    with pytest.raises(
        TypeError, match="TorchClassifier has no argument 'hidden'; those of the module are module__name"
    ):
        lt.TorchClassifier(hidden=(3,))


def test_grid_search_reaches_module_optimizer_and_lr(digits):
    X, y = digits
    grid = {"module__hidden": [(4,), (32,)], "optimizer__lr": [1e-5, 0.02]}
    search = GridSearchCV(classifier(lt.MLP, optimizer=lc.Adam()), grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_["optimizer__lr"] == 0.02
    assert search.best_estimator_.module_.config["hidden"] == list(search.best_params_["module__hidden"])
    search = GridSearchCV(classifier(), {"lr": [1e-6, 1e-2]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_ == {"lr": 1e-2}


def test_a_grid_may_be_an_array(digits):
    grid = {"early_stopping": np.array([True, False]), "optimizer": np.array(["sgd", "adamw"])}
    model = lt.TorchClassifier(max_epochs=1, progress=False, random_state=0, lr_scheduler=np.str_("cosine"))
    GridSearchCV(model, grid, cv=2, error_score="raise").fit(*digits)
    net = lt.RNN(4, 2, cell=np.str_("gru"), bidirectional=np.True_)
    assert net.config == lt.RNN(4, 2, cell="gru", bidirectional=True).config
    assert type(net.config["cell"]) is str


def test_processes_and_threads_give_the_same_scores(digits):
    X, y = digits
    model = classifier(lt.MLP, module__dropout=0.5, lr=0.01)
    one = cross_val_score(model, X, y, cv=4)
    assert cross_val_score(model, X, y, cv=4, n_jobs=2).tolist() == one.tolist()
    before = torch.get_rng_state()
    with parallel_config("threading"):
        fits = Parallel(n_jobs=4)(delayed(clone(model).fit)(X, y) for _ in range(4))
    assert torch.equal(torch.get_rng_state(), before)
    alone = model.fit(X, y)
    for other in fits:
        torch.testing.assert_close(weights_of(other), weights_of(alone), rtol=1e-5, atol=1e-6)


NOTEBOOK = """
import json, lifecycle as lc, lifecycle.torch as lt
from torch import nn
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

X, y = load_iris(return_X_y=True)
cell = '''
class Net(nn.Module):
    def __init__(self, n_in, n_out, width=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, n_out))

    def forward(self, x):
        return self.layers(x)
'''
exec(compile(cell, "<ipython-input-1>", "exec"), globals())

def local():
    class Inner(Net):
        pass
    return Inner

found = {}
for name, module in (("typed", Net), ("object", Net(4, 3)), ("inner", local())):
    model = lt.TorchClassifier(module, lr=0.05, max_epochs=5, random_state=0)
    scores = [lc.cross_validate(model, X, y, cv=3, n_jobs=n, error_score="raise") for n in (1, 2)]
    found[name] = [s["test_score"].tolist() for s in scores]
search = GridSearchCV(lt.TorchClassifier(Net, max_epochs=5, random_state=0),
                      {"module__width": [4, 8], "lr": [1e-4, 0.05]}, cv=3, n_jobs=2, error_score="raise")
search.fit(X, y)
found["best"] = [search.best_params_["lr"], search.best_estimator_.module_.layers[0].out_features]
print(json.dumps(found))
"""


def test_a_module_class_typed_into_a_notebook_trains_in_two_processes():
    done = subprocess.run([sys.executable, "-"], input=NOTEBOOK, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name in ("typed", "object", "inner"):
        one, two = found[name]
        assert one == two
    assert found["best"][0] == 0.05
    assert found["best"][1] in (4, 8)


def test_two_classes_with_one_logit(digits):
    X, y = digits
    two = np.where(y > 4, "large", "small")

    class Logit(nn.Module):
        def __init__(self, n_in, flat=False):
            super().__init__()
            self.layer, self.flat = nn.Linear(n_in, 1), flat
            nn.init.zeros_(self.layer.weight)

        def forward(self, x):
            return self.layer(x)[:, 0] if self.flat else self.layer(x)

    model = classifier(Logit, lr=0.05, early_stopping=KFold(5)).fit(X, two)
    for other in (
        classifier(Logit, module__flat=True, lr=0.05, early_stopping=KFold(5)),
        classifier(Logit, lr=0.05, early_stopping=KFold(5), loss=nn.BCEWithLogitsLoss),
    ):
        assert same(other.fit(X, two), model)
    with torch.no_grad():
        p = torch.sigmoid(model.module_(torch.from_numpy(X)).double()).numpy()
    np.testing.assert_allclose(model.predict_proba(X), np.hstack([1 - p, p]), atol=1e-7)
    assert model.predict(X).tolist() == np.where(p[:, 0] > 0.5, "small", "large").tolist()
    assert model.history_[-1]["valid_score"] > 0.7
    weighted = classifier(Logit, lr=0.05, class_weight={"large": 3.0, "small": 0.5}).fit(X, two)
    assert np.mean(weighted.predict(X) == "large") > np.mean(model.predict(X) == "large")


def test_labels_are_strings_and_probabilities_are_the_softmax(digits):
    X, y = digits
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    model = classifier(lr=0.01, max_epochs=10).fit(X, names[y])
    assert model.classes_.tolist() == sorted(names)
    with torch.no_grad():
        out = model.module_(torch.from_numpy(X)).double()
    p = model.predict_proba(X)
    np.testing.assert_allclose(p, torch.softmax(out, dim=1).numpy(), atol=1e-7)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert (model.predict(X) == model.classes_[p.argmax(axis=1)]).all()
    assert model.score(X, names[y]) == accuracy_score(names[y], model.predict(X)) > 0.9
    assert model.score(torch.from_numpy(X), names[y]) == model.score(X, names[y])


def test_regression_of_one_column_and_of_many(diabetes):
    X, y = diabetes
    flat, column, both = (regressor(nn.Linear(10, k), lr=0.01).fit(X, t) for k, t in
                          ((1, y), (1, y[:, None]), (2, np.column_stack([y, 2 * y]))))  # fmt: skip
    assert [m.predict(X[:4]).shape for m in (flat, column, both)] == [(4,), (4, 1), (4, 2)]
    assert flat.predict(X).dtype == np.float64
    one = regressor(lambda: nn.Sequential(nn.Linear(10, 1), nn.Flatten(0)), max_epochs=1).fit(
        X, y
    )  # a module that gives (n,)
    assert one.predict(X).shape == y.shape
    frame = regressor(max_epochs=1).fit(X, pd.DataFrame({"a": y, "b": y}))
    assert frame.predict(X).shape == (len(y), 2)


def test_iris_is_learned_with_the_defaults():
    X, y = load_iris(return_X_y=True)
    model = lt.TorchClassifier(random_state=0, lr=0.01, progress=False).fit((X - X.mean(axis=0)) / X.std(axis=0), y)
    assert model.score((X - X.mean(axis=0)) / X.std(axis=0), y) > 0.95


def test_weights_of_classes_are_weights_of_samples(digits):
    X, y = digits
    keep = np.r_[np.flatnonzero(y < 9), np.flatnonzero(y == 9)[:5]]
    X, y = X[keep], y[keep]
    w = np.random.RandomState(0).uniform(0.5, 2, len(y))
    counts = np.bincount(y)
    balanced = len(y) / (10 * counts)
    cases = (
        ({k: 1.0 + k for k in range(10)}, None, 1.0 + y),
        ({3: 5.0}, w, w * np.where(y == 3, 5.0, 1.0)),
        ("balanced", None, balanced[y]),
        ("balanced", w, w / np.bincount(y, w)[y]),
    )
    for class_weight, sample_weight, wanted in cases:
        model = classifier(class_weight=class_weight).fit(X, y, sample_weight)
        other = classifier().fit(X, y, sample_weight=wanted)
        torch.testing.assert_close(weights_of(model), weights_of(other), rtol=1e-4, atol=1e-6)
        assert not same(model, classifier().fit(X, y))


def test_weights_of_classes_count_in_validation_too(digits):
    X, y = digits
    model = classifier(class_weight={3: 5.0}, early_stopping=(X[:99], y[:99]), max_epochs=1).fit(X, y)
    with torch.no_grad():
        values = F.cross_entropy(model.module_(torch.from_numpy(X[:99])), torch.from_numpy(y[:99]), reduction="none")
    w = np.where(y[:99] == 3, 5.0, 1.0)
    assert model.history_[0]["valid_loss"] == pytest.approx(np.average(values.numpy(), weights=w), rel=1e-5)
    hits = model.predict(X[:99]) == y[:99]
    assert model.history_[0]["valid_score"] == pytest.approx(np.average(hits, weights=w))


def test_the_scale_of_the_weights_has_no_influence(digits):
    X, y = digits
    plain = classifier().fit(X, y)
    for scale in (1.0, 1e-30, 1e200):
        other = classifier().fit(X, y, np.full(len(y), scale))
        torch.testing.assert_close(weights_of(other), weights_of(plain), rtol=1e-5, atol=1e-7)
    stopped = classifier(early_stopping=True).fit(X, y, np.full(len(y), 7.0))
    alone = classifier(early_stopping=True).fit(X, y)
    np.testing.assert_allclose(losses(stopped, "valid_loss"), losses(alone, "valid_loss"), rtol=1e-5)


@pytest.mark.parametrize("make", [classifier, regressor])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_fitted_estimators_are_copied(make, duplicate, digits):
    X, y = digits
    model = make(lt.MLP, module__hidden=(8,), optimizer=lc.Adam(lr=0.01), early_stopping=True).fit(X, y)
    other = duplicate(model)
    assert other.predict(X).tolist() == model.predict(X).tolist()
    assert other.history_ == model.history_
    before = weights_of(model)
    other.set_params(warm_start=True).fit(X, y)
    assert torch.equal(weights_of(model), before)
    assert same(other, copy.deepcopy(model).set_params(warm_start=True).fit(X, y))


class Tuple(lt.MLP):
    def forward(self, x):
        return super().forward(x), x


V, T = ValueError, TypeError


RAGGED = sequences(20)[0]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"batch_size": 0}, V, "batch_size must be >= 1; got 0"),
        ({"max_epochs": 2.5}, T, "max_epochs must be an integer; got 2.5"),
        ({"n_iter_no_change": 0}, V, "n_iter_no_change must be >= 1"),
        ({"validation_fraction": 1.0}, V, "validation_fraction must be a finite number > 0.0 and < 1.0"),
        ({"max_grad_norm": 0}, V, "max_grad_norm must be a finite number > 0.0; got 0"),
        ({"ema_decay": 1}, V, "ema_decay must be a finite number > 0.0 and < 1.0; got 1"),
        ({"warm_start": "yes"}, V, "warm_start must be one of False, True; got 'yes'"),
        ({"progress": 1}, V, "progress must be one of None, False, True; got 1"),
        ({"callbacks": print}, T, "callbacks must be a list or tuple of callables; got <built-in function print>"),
        ({"early_stopping": "auto"}, V, r"early_stopping must be False, True, a splitter or a pair .*; got 'auto'"),
        ({"early_stopping": None}, V, r"early_stopping must be False, True, a splitter or a pair .*; got None"),
        ({"early_stopping": True, "validation_fraction": 0.01}, V, "early_stopping=True cannot hold rows out: The"),
        ({"early_stopping": (np.zeros((2, 3)), [0, 1])}, V, "X has 3 features, but TorchClassifier is expecting 64"),
        ({"early_stopping": (np.zeros((2, 64)), [0, 11])}, V, "y has the class 11; this model knows"),
        ({"random_state": "seed"}, V, "random_state must be an int"),
        ({"class_weight": "even"}, V, "class_weight must be one of 'balanced', None; got 'even'"),
        ({"class_weight": dict.fromkeys(range(10), 0)}, V, "all sample weights are zero in the part that is trained"),
        ({"optimizer": "adamm"}, V, "optimizer must be one of .*'adam', 'adamax', 'adamw', .*; got 'adamm'"),
        ({"optimizer": lc.Adam(lr=0.1), "lr": 0.2}, V, r"lr is set twice: in Adam\(lr=0.1\) and as lr=0.2; leave"),
        ({"optimizer": lc.Adam(), "weight_decay": 0.2}, V, "weight_decay is set twice"),
        ({"lr": -1.0}, V, "lr must be a finite number >= 0.0; got -1.0"),
        ({"lr_scheduler": "linear"}, V, "lr_scheduler must be one of 'cosine', 'plateau'; got 'linear'"),
        ({"lr_scheduler": 0.1}, T, "lr_scheduler must be None, 'cosine', 'plateau' or a callable .*; got 0.1"),
        ({"loss": "mse"}, T, "loss must be None, a torch loss or a callable .*; got 'mse'"),
        ({"loss": lambda out, y: 0.5}, T, "loss must return a tensor; it returned float"),
        ({"loss": F.cross_entropy, "class_weight": "balanced"}, V, "need a loss that gives a value per sample"),
        ({"module": "mlp"}, T, "module must be None, a torch module, or a callable that returns one; got 'mlp'"),
        ({"module": lambda: {}}, T, "module must return a torch module; .* returned dict"),
        ({"module": lt.MLP, "module__width": 3}, V, "module__width is no argument of MLP; it takes: n_in, n_out"),
        ({"module": lt.MLP(64, 10), "module__hidden": 3}, V, "module__hidden has no effect on a module"),
        ({"module": lambda depth: None}, V, "needs the argument depth: pass module__depth"),
        ({"module": lt.MLP(64, 9)}, V, r"must return a tensor \(n, 10\) for n samples; it returned shape \(100, 9\)"),
        ({"module": Tuple}, V, r"must return a tensor \(n, 10\) for n samples; it returned tuple"),
        ({"module": lt.MLP(64, 10).requires_grad_(False)}, V, "the module MLP has no parameters to train"),
        ({"module": nn.Flatten}, V, "the module Flatten has no parameters to train"),
        ({"module": lt.CNN, "module__image_size": (7, 7)}, V, r"of 64 values are no images of image_size=\(7, 7\)"),
        ({"module": lt.CNN, "module__n_in": 3}, V, "rows of 64 values are no square images of 3 channels"),
        ({"module": lt.RNN, "module__n_tokens": 9}, V, "with token ids n_in is the width of the embedding"),
        ({"optimizer": "sgd", "lr": 1e30}, V, r"the training loss is not finite, with lr=1e\+30: use a smaller lr"),
        ({"X": np.full((100, 64), 1e300)}, V, r"too large for dtype\('float32'\): scale it first"),
        ({"X": np.full((100, 64), np.nan)}, V, "Input X contains NaN"),
        ({"X": np.full((100, 4, 4), np.nan)}, V, "Input X contains NaN"),
        ({"y": np.zeros(100)}, V, "y has one class only, .*0.0.*: a classifier needs at least two classes"),
        ({"y": np.linspace(0, 1, 100)}, V, "Unknown label type: continuous"),
        ({"y": np.zeros((100, 2))}, V, r"y should be a 1d array, got an array of shape \(100, 2\)"),
        ({"sample_weight": np.ones(99)}, V, r"sample_weight must have the shape \(100,\), one weight"),
        ({"sample_weight": -np.ones(100)}, V, "sample_weight must not be negative, and not all zero"),
        ({"sample_weight": np.zeros(100)}, V, "sample_weight must not be negative, and not all zero"),
        ({"sample_weight": np.full(100, np.nan)}, V, "sample_weight contains NaN"),
        ({"X": RAGGED, "y": np.arange(20) % 2}, V, "MLP.forward takes no `lengths`: use lt.RNN, or add the argument"),
        ({"X": [*RAGGED, RAGGED[0][:0]], "y": np.arange(21) % 2}, V, "a sequence is empty; each needs one step"),
        ({"X": [*RAGGED, RAGGED[0][:, :2]], "y": np.arange(21) % 2}, V, "the same number of features; got 2, 3"),
        ({"X": [*RAGGED, RAGGED[0][:, 0]], "y": np.arange(21) % 2}, V, "sequences of one and of two dimensions"),
        ({"X": [*RAGGED, RAGGED[0] * np.nan], "y": np.arange(21) % 2}, V, "X contains NaN or infinity"),
        ({"X": [*RAGGED, RAGGED[0].astype(str)], "y": np.arange(21) % 2}, V, "each sequence must be an array of"),
        ({"X": RAGGED, "y": np.arange(19) % 2}, V, "inconsistent numbers of samples"),
    ],
)  # fmt: skip
def test_errors_of_fit(arguments, error, says, digits):
    data = {"X": digits[0][:100], "y": digits[1][:100]}
    data |= {k: arguments[k] for k in ("X", "y", "sample_weight") if k in arguments}
    model = classifier(**{k: v for k, v in arguments.items() if k not in data})
    with pytest.raises(error, match=says):
        model.fit(**data)


def test_errors_behind_fit(digits, diabetes):
    X, y = digits
    with pytest.raises(NotFittedError, match="This TorchClassifier instance is not fitted yet"):
        classifier().predict(X)
    with pytest.raises(NotFittedError):
        regressor().plot_history()
    model = classifier(max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match="X has 63 features, but TorchClassifier is expecting 64 features"):
        model.predict(X[:, 1:])
    sequence_model = classifier(lt.RNN, max_epochs=1).fit(*sequences())
    with pytest.raises(ValueError, match="this TorchClassifier was fitted on a list of sequences; got ndarray"):
        sequence_model.predict(np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match="X has 2 features, but TorchClassifier is expecting 3 features"):
        sequence_model.predict([np.zeros((4, 2)), np.zeros((5, 2))])
    X, y = diabetes
    fitted = regressor(max_epochs=1, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"y has the shape \(442, 1\); this model was fitted on \(n\)"):
        fitted.fit(X, y[:, None])
    with pytest.raises(ValueError, match=r"must return a tensor \(n, 1\) for n samples; it returned shape \(128, 2\)"):
        regressor(lt.MLP(10, 2)).fit(X, y)


def test_a_fit_that_fails_leaves_nothing_half_fitted(digits):
    def fail(estimator, record):
        raise KeyError("in a callback")

    for arguments, error in (({"lr": 1e30, "max_epochs": 3}, ValueError), ({"callbacks": [fail]}, KeyError)):
        model = lt.TorchClassifier(progress=False, random_state=0, **arguments)
        with pytest.raises(error):
            model.fit(*digits)
        assert not {"module_", "history_", "n_iter_"} & set(vars(model))
        with pytest.raises(NotFittedError):
            model.predict(digits[0])
