"""Files that earlier revisions of version 0.1.0 wrote: they load, predict the same, and are written the same.

`files/` holds one small file of each kind in format 1 and, in `answers.json`, the predictions of the models and the
states of the runs three steps later. They were made with the functions below: `fitted(name)` fits a model, which was
saved; `start(name)` makes a run, which was saved after three steps of `train`, loaded and saved again. `files/format2`
holds the same models and runs in format 2: what the files of format 1 are written as today.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, SelectPercentile, VarianceThreshold, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, TweedieRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.store import bundle_reader
from lifecycle.store.adapters import _ADAPTER_OF_KIND, CHECKPOINT, adapter_for

from .forged_files import parts_of

FILES = Path(__file__).parent / "files"
FORMATS = {"format 1": FILES, "format 2": FILES / "format2"}
in_each_format = pytest.mark.parametrize("folder", FORMATS.values(), ids=FORMATS)
SHORT = {"max_epochs": 2, "batch_size": 16, "random_state": 0}


def rows(n=48, width=6):
    """Numbers that are the same on every machine."""
    return np.sin(np.arange(1.0, n * width + 1).reshape(n, width) ** 1.5).astype(np.float32)


def table():
    X = pd.DataFrame(rows().astype(float)[:, :2], columns=["height", "weight"])
    X.loc[::7, "height"] = np.nan
    return X.assign(work=np.array(["baker", "miller", "nurse"], dtype=object)[np.arange(len(X)) % 3])


def columns():
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer([("numbers", numbers, ["height", "weight"]), ("words", words, ["work"])])


def transformers_of_numbers():
    return [
        *(RobustScaler(), MaxAbsScaler(), Normalizer(), Binarizer(), PowerTransformer(), VarianceThreshold(0.01)),
        *(PCA(1, random_state=0), TruncatedSVD(1, random_state=0), SelectKBest(f_regression, k=1)),
        *(QuantileTransformer(n_quantiles=5), SelectPercentile(f_regression, percentile=50)),
        KBinsDiscretizer(3, encode="onehot-dense", strategy="uniform"),
        make_pipeline(MinMaxScaler(), PolynomialFeatures((1, 2)), FunctionTransformer(np.square)),
        SplineTransformer(3, degree=2, extrapolation="continue"),
    ]


def fitted(name):
    """The model of a file."""
    X, y = rows(), rows()[:, 0] + 0.5 * rows()[:, 1]
    classes = np.array(["low", "middle", "high"])[np.digitize(y, [-0.5, 0.5])]
    torch.manual_seed(0)
    linear = lc.LinearClassifier(random_state=0)
    match name:
        case "linear-classifier":
            return linear.fit(X, classes)
        case "linear-regressor":
            return lc.LinearRegressor(optimizer=lc.Adam(lr=1e-2), max_iter=3, tol=None, random_state=0).fit(X, y)
        case "linear-classifier-int8":
            return lc.quantize(lc.prune(linear.fit(X, classes), 0.5))
        case "sklearn-logistic-regression":
            return LogisticRegression().fit(X, classes)
        case "sklearn-tweedie-regressor":
            return TweedieRegressor(power=1.5, alpha=0.1).fit(X, y - y.min())
        case "sklearn-mlp-classifier-int8":
            return lc.quantize(
                MLPClassifier((5,), solver="lbfgs", max_iter=9, alpha=1.0, random_state=0).fit(X, classes)
            )
        case "sklearn-random-forest":
            return RandomForestClassifier(3, max_leaf_nodes=5, random_state=0).fit(X, classes)
        case "sklearn-hist-gradient-boosting":
            boosting = HistGradientBoostingClassifier(
                max_iter=2, max_leaf_nodes=4, min_samples_leaf=3, categorical_features=[0]
            )
            return boosting.fit(np.column_stack([np.arange(len(X)) % 3, X[:, 1:]]), np.arange(len(X)) % 3 > 1)
        case "tree-regressor":
            boosting = GradientBoostingRegressor(n_estimators=3, random_state=0).fit(X, y)
            return adapter_for(boosting).first_trees(boosting, 1.0)
        case "mlp":
            return lt.MLP(6, 3, hidden=(8,)).eval()
        case "mlp-bfloat16":
            return lc.prune(lt.MLP(6, 3, hidden=(8,)), 0.6).bfloat16().eval()
        case "mlp-tied-int8":
            model = lt.MLP(6, 6, hidden=(6, 6)).eval()
            model.layers[2].weight = model.layers[0].weight
            return lc.quantize(model, activations="dynamic")
        case "cnn-channels-last":
            return lt.CNN(1, 3, (2, 3), channels=(4,)).to(memory_format=torch.channels_last).eval()
        case "rnn-int8":
            return lc.quantize(lt.RNN(2, 3, hidden_size=5).eval(), activations="dynamic", protect=["cells"])
        case "torch-classifier-int8":
            return lc.quantize(lt.TorchClassifier(lt.MLP, module__hidden=(8,), **SHORT).fit(X, classes))
        case "pipeline":
            return make_pipeline(columns(), linear).fit(table(), classes)
        case "sklearn-k-neighbors":
            return KNeighborsClassifier(4, weights="distance").fit(X, classes)
        case "pipeline-numbers":
            imputed = ColumnTransformer([("numbers", SimpleImputer(), ["height", "weight"])])
            return make_pipeline(imputed, make_union(*transformers_of_numbers()), Ridge()).fit(table(), y)
        case "pipeline-words":
            texts = {
                "tfidf": TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), max_features=9, dtype=np.float32),
                "counts": make_pipeline(CountVectorizer(analyzer="char"), TfidfTransformer()),
                "hashes": HashingVectorizer(n_features=5),
            }
            codes = ("codes", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["work"])
            parts = [*((name, step, "work") for name, step in texts.items()), codes]
            neighbors = KNeighborsClassifier(3)
            return make_pipeline(ColumnTransformer(parts, sparse_threshold=1.0), neighbors).fit(table(), classes)
        case "pipeline-torch":
            inner = lt.TorchRegressor(lt.MLP(5, 1, hidden=(4,)), **SHORT)
            outer = TransformedTargetRegressor(inner, transformer=StandardScaler())
            return make_pipeline(columns(), outer).fit(table(), y)
    raise ValueError(name)


MODELS = sorted(path.stem for path in FILES.glob("*.safetensors") if "checkpoint" not in path.stem)
RUNS = sorted(path.stem for path in FILES.glob("checkpoint*.safetensors"))


def predictions(name, model):
    """Predictions for the first rows, as float64."""
    X = table().head(12) if "pipeline" in name else rows()[:12]
    if not isinstance(model, nn.Module):
        return np.asarray(getattr(model, "predict_proba", model.predict)(X), dtype=float)
    shape = {"cnn": (-1, 1, 2, 3), "rnn": (-1, 3, 2)}.get(name[:3], (-1, 6))
    with torch.no_grad():
        return model(torch.from_numpy(X).to(next(model.parameters()).dtype).reshape(shape)).double().numpy()


def tolerance(name, expected):
    """The answers are of a CPU without VNNI: two int8 layers rounded activations to 7 bits; with it they have 8."""
    if name in ("mlp-tied-int8", "rnn-int8", "torch-classifier-int8"):
        return {"rtol": 0.0, "atol": 2 * np.abs(expected).max() / 127}
    return {"rtol": 1e-5, "atol": 1e-6}


def test_there_is_a_file_of_every_kind():
    for folder in FORMATS.values():
        kinds = {lc.inspect(folder / f"{name}.safetensors").kind for name in MODELS + RUNS}
        assert kinds == set(_ADAPTER_OF_KIND) | {CHECKPOINT}


def test_the_formats_are_those_of_the_folders():
    for version, folder in enumerate(FORMATS.values(), 1):
        for path in folder.glob("*.safetensors"):
            assert parts_of(path.read_bytes())[1]["format"] == version, path


@in_each_format
@pytest.mark.filterwarnings("ignore:torch has no int8 kernel")
@pytest.mark.parametrize("name", MODELS)
def test_models_predict_the_same_and_are_written_with_the_same_bytes(name, folder, tmp_path, monkeypatch):
    path = folder / f"{name}.safetensors"
    model = lc.load(path)
    expected = np.array(json.loads((FILES / "answers.json").read_text())[name])
    np.testing.assert_allclose(predictions(name, model), expected, **tolerance(name, expected))
    written_with(path, monkeypatch)
    lc.save(model, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (FORMATS["format 2"] / path.name).read_bytes()


def test_a_graph_and_facts_in_a_file_are_read():
    """The file was written by `bundle.write`, of the model of linear-regressor."""
    path = FORMATS["format 2"] / "with-graph.safetensors"
    found = lc.inspect(path)
    assert (found.graph_bytes, found.facts) == (11, {"certificate": {"upper_bound": 0.0097}, "inputs": ["x"]})
    assert "  certificate.upper_bound: 0.0097\n" in repr(found)
    assert bundle_reader.graph_of(bundle_reader.read(path)) == b"not a graph"
    expected = np.array(json.loads((FILES / "answers.json").read_text())["linear-regressor"])
    np.testing.assert_allclose(predictions("linear-regressor", lc.load(path)), expected, rtol=1e-5)


def written_with(path, monkeypatch):
    """Write the versions that this file names, so that all other bytes can be compared."""
    monkeypatch.setattr("lifecycle.store.bundle._versions", lambda: lc.inspect(path).versions)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # no states of CUDA generators


class Net(nn.Module):
    """Parameters of several types and memory orders, two of them tied."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.pair = nn.Parameter(torch.ones(3, dtype=torch.complex64))
        self.transposed = nn.Parameter(torch.ones(5, 2).t())
        self.narrow = nn.Parameter(torch.ones(6, dtype=torch.bfloat16))
        self.register_buffer("count", torch.tensor(3))


def start(name):
    """Model, optimizer and scheduler of a run before its first step."""
    torch.manual_seed(0)
    if name == "checkpoint-nadam":
        net = Net()
        return net, lt.NAdam(net.parameters(), lr=0.02, momentum_decay=0.01), None
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    groups = [{"params": net[0].parameters(), "weight_decay": 0.1}, {"params": net[2].parameters(), "lr": 0.02}]
    if name == "checkpoint-sgd":
        optimizer = lt.SGD(groups, lr=0.05, momentum=0.9, state_dtype="bfloat16", nonfinite="skip")
        parts = [torch.optim.lr_scheduler.LinearLR(optimizer), torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)]
        return net, optimizer, torch.optim.lr_scheduler.SequentialLR(optimizer, parts, [2])
    optimizer = lt.AdamW(groups, lr=0.01, state_dtype="int8", ema_decay=0.8, max_grad_norm=1.0, seed=7)
    return net, optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])


def train(net, optimizer, scheduler, first, last):
    for t in range(first, last):
        for k, p in enumerate(net.parameters()):
            gradient = torch.sin(torch.arange(p.numel()) * (t + 1.0) + k).reshape(p.shape)
            p.grad = torch.empty_like(p).copy_(gradient)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def values_of(net, optimizer):
    """The values of the model and, by name, of the optimizer's state as it is stored."""
    state = dict(net.state_dict())
    for name, p in net.named_parameters():
        state |= {f"{name}.{slot}": torch.as_tensor(value) for slot, value in optimizer.state[p].items()}
    real = {k: torch.view_as_real(v.resolve_conj()) if v.is_complex() else v for k, v in state.items()}
    return {k: v.double().flatten().tolist() for k, v in real.items()}


def rounding_noise(name, key):
    """How far three more steps may differ: the noise of stochastic rounding is another since these runs were stored."""
    if name == "checkpoint-nadam":  # all in float32 but one parameter in bfloat16
        return 2.0**-6 if key.startswith("narrow") else 1e-6
    if name == "checkpoint-sgd":  # momentum of up to 4 in bfloat16, lr 0.05
        return 2.0**-5 if key.endswith("momentum_buffer") else 1e-3
    return 255.0 if key.endswith(("exp_avg", "exp_avg_sq")) else 1e-4  # codes of one byte, and what they move


@in_each_format
@pytest.mark.parametrize("name", RUNS)
def test_runs_continue_the_same_and_are_written_with_the_same_bytes(name, folder, tmp_path, monkeypatch):
    path, run = folder / f"{name}.safetensors", start(name)
    train(*run, 0, 1)  # so that it is loaded into an optimizer with a state
    arguments = dict(zip(("model", "optimizer", "scheduler"), run, strict=True))
    with torch.random.fork_rng():
        assert lc.load_checkpoint(path, **arguments) == {"steps": 3}
        written_with(path, monkeypatch)
        lc.save_checkpoint(tmp_path / "again", **arguments, metadata={"steps": 3})
    assert (tmp_path / "again").read_bytes() == (FORMATS["format 2"] / path.name).read_bytes()
    train(*run, 3, 6)
    expected = json.loads((FILES / "answers.json").read_text())[name]
    assert values_of(*run[:2]).keys() == expected.keys()
    for key, values in values_of(*run[:2]).items():
        atol = rounding_noise(name, key)
        np.testing.assert_allclose(values, expected[key], rtol=1e-5, atol=atol, err_msg=key)
