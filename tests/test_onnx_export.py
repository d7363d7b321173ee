"""export_onnx: the graph answers as its model does, or is not written."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.onnx.converters import linear, torch_module
from lifecycle.onnx.parity import ATOL, RTOL, is_tie
from lifecycle.torch.quantized import Int8Linear, integer_operators
from tests.exported_models import MODELS, cancer, diabetes, digits, fitted, iris, rows_of


def run(path, X):
    """Outputs by name, of onnxruntime alone: the graph's inputs are the columns, or all of X."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    if hasattr(X, "columns") and len(inputs) > 1:
        feeds = {
            one.name: X.iloc[:, [k]].to_numpy(object if one.type == "tensor(string)" else np.float64)
            for k, one in enumerate(inputs)
        }
    else:
        X = X.to_numpy(np.float64) if hasattr(X, "columns") else X
        feeds = {inputs[0].name: X}
    return dict(zip((one.name for one in session.get_outputs()), session.run(None, feeds), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_graphs_answer_as_their_models_do_on_rows_that_the_export_did_not_see(name, tmp_path):
    model, X, y = fitted(name)
    report = lc.export_onnx(model, tmp_path / "model.onnx", rows_of(X, np.arange(0, len(y), 2)))
    assert report.label_flips == 0
    assert {1, 2, 7, 64} <= set(report.batches)
    for chosen in (np.arange(1, len(y), 2), np.array([1])):
        rows = rows_of(X, chosen)
        outputs = run(tmp_path / "model.onnx", rows)
        if hasattr(model, "classes_"):
            different = outputs["label"] != model.predict(rows)
            if different.any():  # of a forest: its sums are rounded to float32
                assert all(is_tie(p) for p in model.predict_proba(rows)[different])
        for output, method in (("probabilities", "predict_proba"), ("scores", "decision_function"),
                               ("prediction", "predict")):  # fmt: skip
            if output in outputs:
                wanted = np.asarray(getattr(model, method)(rows)).reshape(outputs[output].shape)
                np.testing.assert_allclose(outputs[output], wanted, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("name", ["RandomForestClassifier", "HistGradientBoostingClassifier"])
def test_rows_at_the_thresholds_of_trees_are_compared(name, tmp_path):
    model, X, _ = fitted(name)
    report = lc.export_onnx(model, tmp_path / "model.onnx", X[:10])
    assert report.hard_rows > 30


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_categories_that_no_model_saw_and_missing_ones(dtype, tmp_path):
    model, X, _ = fitted("HistGradientBoostingClassifier, categories")
    lc.export_onnx(model, tmp_path / "model.onnx", X[:9].astype(dtype))
    strange = [np.nan, -1.0, 0.5, 10.5, 10.500001, 1e9, -0.0, 31.5, 119.0, 255.0, 256.0]
    rows = np.array([(a, 0.1, b) for a in strange for b in strange], dtype)
    found = run(tmp_path / "model.onnx", rows)
    np.testing.assert_array_equal(found["label"], model.predict(rows))
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(rows), rtol=RTOL, atol=1e-6)


def test_words_that_no_model_saw(tmp_path):
    model, table, _ = fitted("HistGradientBoostingRegressor, table of categories")
    lc.export_onnx(model, tmp_path / "model.onnx", table[:9])
    rows = pd.DataFrame({"word": ["x", "", "X", "a long one", "?"] * 4, "a": [0.3] * 20, "n": [*range(18), np.nan, -1]})
    np.testing.assert_allclose(run(tmp_path / "model.onnx", rows)["prediction"], model.predict(rows), rtol=1e-6)


def test_boosting_without_a_split(tmp_path):
    X = np.array([[0.0], [1.0]] * 4)
    model = HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]).fit(X, np.arange(8) % 2)
    lc.export_onnx(model, tmp_path / "model.onnx", X)
    np.testing.assert_allclose(run(tmp_path / "model.onnx", X)["probabilities"], model.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda table: table.to_numpy(object), "must be a DataFrame of two rows or more and 3 columns"),
        (lambda table: table.assign(word=1.0), "the categories of column 0 are strings"),
        (lambda table: table.assign(word=table.word.where(table.a > 0)), "the column 'word' of example holds neither"),
    ],
)
def test_examples_that_do_not_fit_the_categories(change, sentence, tmp_path):
    model, table, _ = fitted("HistGradientBoostingRegressor, table of categories")
    with pytest.raises(ValueError, match=sentence):
        lc.export_onnx(model, tmp_path / "model.onnx", change(table))


def test_the_dtype_of_the_example_is_that_of_the_graph(tmp_path):
    model, X, _ = fitted("LinearClassifier")
    for dtype in (np.float32, np.float64):
        lc.export_onnx(model, tmp_path / "model.onnx", X[:9].astype(dtype))
        graph = onnx.load(tmp_path / "model.onnx")
        assert graph.graph.input[0].type.tensor_type.elem_type == onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        onnx.checker.check_model(graph, full_check=True)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("labels", lambda scores: scores[::-1]),
        ("values", lambda scores: scores * (1 + 3e-4)),
    ],
)
def test_a_graph_that_differs_is_not_written(monkeypatch, tmp_path, what, change):
    model, X, _ = fitted("LogisticRegression")
    converted = linear.convert

    def wrong(model, example, opset):
        found = converted(model, example, opset)
        for tensor in found.model.graph.initializer:
            if tensor.name in ("coef_", "intercept_"):
                array = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(change(array)), tensor.name))
        return found

    monkeypatch.setattr(linear, "convert", wrong)
    with pytest.raises(lc.ParityError, match="differs from its model") as caught:
        lc.export_onnx(model, tmp_path / "model.onnx", X)
    assert not list(tmp_path.iterdir())
    assert (caught.value.report.label_flips > 0) == (what == "labels")
    assert caught.value.report.max_rel_error > RTOL


def test_the_tolerance_is_that_of_the_largest_value_in_any_row_of_the_example(monkeypatch, tmp_path):
    X, y = diabetes()
    model = Ridge().fit(X, y)
    model.intercept_ -= model.predict(X[:1].astype(np.float32))[0]  # nothing but rounding is left of the first row
    report = lc.export_onnx(model, tmp_path / "model.onnx", X.astype(np.float32))
    assert report.atol == ATOL
    small = Ridge().fit(X, y / np.abs(y).max() / 1000)
    small.intercept_ += 0.001 - np.abs(small.predict(X)).max()
    assert 5e-9 < lc.export_onnx(small, tmp_path / "small.onnx", X).atol < 1e-8 * (1 + 1e-9)
    converted = linear.convert

    def wrong(model, example, opset):
        found = converted(model, example, opset)
        return replace(found, reference=lambda rows: [values * 1.01 for values in found.reference(rows)])

    monkeypatch.setattr(linear, "convert", wrong)
    with pytest.raises(lc.ParityError, match=r"allowed are no label and 1\.01e-08 \+ 0\.0001 · \|value\|"):
        lc.export_onnx(small, tmp_path / "small.onnx", X)


@pytest.mark.parametrize(
    ("scores", "tied"),
    [
        ([0.5, 0.5 + 1e-16, 0.0], True),
        ([0.5, 0.5 + 1e-9], False),
        ([1e3, 1e3 + 1e-10], True),
        ([0.0], True),
        ([1e-9], False),
    ],
)
def test_rows_whose_best_scores_are_equal_but_for_rounding_are_ties(scores, tied):
    assert is_tie(np.array(scores)) == tied


def test_ties_are_no_flips(monkeypatch, tmp_path):
    X, y = iris()
    forest = RandomForestClassifier(8, random_state=0).fit(X, y)
    predict = type(forest).predict
    assert lc.export_onnx(forest, tmp_path / "model.onnx", X).ties == 0
    monkeypatch.setattr(
        type(forest), "predict", lambda self, X: np.roll(predict(self, X), 1) if len(X) > 1 else predict(self, X)
    )
    monkeypatch.setattr("lifecycle.onnx.parity.is_tie", lambda scores: True)
    assert lc.export_onnx(forest, tmp_path / "model.onnx", X).ties > 0


def test_rows_whose_last_neighbors_are_at_the_same_distance_are_ties(tmp_path):
    X, y = digits()  # of integers
    model = KNeighborsClassifier().fit(X[::2], y[::2])
    rows = X[1::2]
    report = lc.export_onnx(model, tmp_path / "model.onnx", rows)
    distances, neighbors = model.kneighbors(rows, 40)
    last = np.isclose(distances, distances[:, 4:5], rtol=1e-12, atol=0)
    of_last = [set(model._y[n[same]].tolist()) for n, same in zip(neighbors, last, strict=True)]
    tied = last[:, 5] & np.array([len(labels) > 1 for labels in of_last])
    assert 0 < tied.sum() < 20
    assert report.ties >= tied.sum()
    found = run(tmp_path / "model.onnx", rows)
    np.testing.assert_array_equal(found["label"][~tied], model.predict(rows)[~tied])
    np.testing.assert_allclose(found["probabilities"][~tied], model.predict_proba(rows)[~tied])


def test_neighbors_at_the_distance_zero_have_all_the_weight(tmp_path):
    rng = np.random.RandomState(0)
    for algorithm, offset in (("brute", 1.0), ("kd_tree", 1e6)):
        X = np.repeat(rng.rand(30, 3), 2, axis=0) + offset
        model = KNeighborsRegressor(4, weights="distance", algorithm=algorithm).fit(X, np.repeat(rng.rand(30), 2))
        lc.export_onnx(model, tmp_path / "model.onnx", X + np.repeat([0.0, 0.1], 30)[:, None])
        np.testing.assert_allclose(run(tmp_path / "model.onnx", X)["prediction"], model._y)


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_far_training_rows_cost_the_others_no_digits(share, tmp_path):
    rng = np.random.default_rng(0)
    near = rng.normal(size=(300, 3))
    X, n_far = near.copy(), int(300 * share)
    X[:n_far] = 1e9
    X[:n_far, 2] += rng.normal(size=n_far) * 1e6
    model = KNeighborsRegressor().fit(X, near[:, 0])
    lc.save(model, tmp_path / "model.lc", example=X[:4])
    np.testing.assert_array_equal(lc.load_predictor(tmp_path / "model.lc").predict(near), model.predict(near))


def test_neighbors_are_compared_on_training_rows_that_the_example_is_far_from(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    X[:180] += 1e9  # most rows, around which digits are kept
    model = KNeighborsRegressor().fit(X, rng.normal(size=300))
    with pytest.raises(lc.ParityError):
        lc.save(model, tmp_path / "model.lc", example=X[:8])


def test_neighbors_that_an_order_chooses_for_most_rows_are_refused(tmp_path):
    X = np.arange(40.0)[:, None] % 4
    model = KNeighborsRegressor().fit(X, np.arange(40.0))
    with pytest.raises(lc.UnsupportedModel, match=r"at the same distance.*; give an example with rows between the"):
        lc.export_onnx(model, tmp_path / "model.onnx", X)


# -- torch ----------------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """Two inputs by name and two outputs."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, left, right):
        hidden = torch.relu(self.first(left)) + right
        return self.second(hidden), hidden.mean(dim=1)


def test_modules_with_names_and_several_outputs(tmp_path):
    torch.manual_seed(0)
    net, rng = Residual().eval(), np.random.RandomState(0)
    example = {"left": rng.randn(4, 5).astype("f4"), "right": rng.randn(4, 5).astype("f4")}
    lc.export_onnx(net, tmp_path / "model.onnx", example)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    feeds = {name: rng.randn(13, 5).astype("f4") for name in example}
    with torch.no_grad():
        wanted = net(**{name: torch.from_numpy(value) for name, value in feeds.items()})
    for found, value in zip(session.run(["output_0", "output_1"], feeds), wanted, strict=True):
        np.testing.assert_allclose(found, value.numpy(), rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("make", [
    lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)),
    lambda: lc.quantize(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), activations=None),
    lambda: lc.prune(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), amount=0.5),
], ids=["convolution", "int8 weights", "pruned"])  # fmt: skip
def test_modules_of_images(make, tmp_path):
    torch.manual_seed(0)
    net = make().eval()
    images = np.random.RandomState(0).randn(6, 1, 8, 8).astype("f4")
    lc.export_onnx(net, tmp_path / "model.onnx", images)
    with torch.no_grad():
        wanted = net(torch.from_numpy(images[:1])).numpy()
    np.testing.assert_allclose(run(tmp_path / "model.onnx", images[:1])["output"], wanted, rtol=RTOL, atol=ATOL)


INT8 = {
    "linear": (
        lambda: nn.Sequential(
            nn.Linear(20, 300), nn.ReLU(), nn.Linear(300, 40, bias=False), nn.Tanh(), nn.Linear(40, 7)
        ),
        (20,),
    ),
    "sequence": (lambda: nn.Sequential(nn.Linear(9, 70), nn.ReLU(), nn.Linear(70, 5)), (6, 9)),
    "Conv2d": (
        lambda: nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, (3, 1), 2, groups=2)),
        (2, 9, 8),
    ),
    "Conv1d": (
        lambda: nn.Sequential(nn.Conv1d(3, 8, 5, 2, padding=2, dilation=2), nn.ReLU(), nn.Conv1d(8, 4, 3)),
        (3, 30),
    ),
}


def int8_module(name, activations, scale=1.0):
    """A module with int8 activations, and rows with the half units that roundings decide on."""
    torch.manual_seed(0)
    make, shape = INT8[name]
    rows = np.random.RandomState(0).randint(-60, 60, size=(40, *shape)).astype("f4") / 8 * scale
    calibration = rows[:20] if activations == "static" else None
    return lc.quantize(make().eval(), activations=activations, calibration=calibration), rows


@pytest.mark.parametrize(
    ("name", "activations", "scale"),
    [*((name, kind, 1.0) for name in INT8 for kind in ("static", "dynamic")), ("linear", "dynamic", 1e-6)],
)
def test_int8_activations_get_the_codes_of_torch(name, activations, scale, tmp_path):
    net, rows = int8_module(name, activations, scale)
    lc.export_onnx(net, tmp_path / "model.onnx", rows[:8])
    operators = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert sum(one in ("MatMulInteger", "ConvInteger") for one in operators) == len([*net.modules()][1::2])
    for part in (rows, rows[20:21]):
        with torch.no_grad():
            wanted = net(torch.from_numpy(part)).numpy()
        found = run(tmp_path / "model.onnx", part)["output"]
        # one code more or less changes an output by a thousandth
        np.testing.assert_allclose(found, wanted, rtol=RTOL, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("activations", ["static", "dynamic"])
def test_values_that_are_not_finite_stay_in_their_sample(activations, tmp_path):
    net, rows = int8_module("linear", activations)
    lc.export_onnx(net, tmp_path / "model.onnx", rows[:8])
    strange = rows[:6].copy()
    strange[1, 3], strange[2, 0] = np.nan, np.inf
    strange[2, 1] = 1e6
    found, finite = run(tmp_path / "model.onnx", strange)["output"], [0, 3, 4, 5]
    with torch.no_grad():
        wanted = net(torch.from_numpy(strange)).numpy()
    assert np.isnan(found[1:3]).all()
    np.testing.assert_allclose(found[finite], wanted[finite], rtol=RTOL, atol=ATOL)


def test_sums_of_8_bit_activations_do_not_saturate(monkeypatch):
    monkeypatch.setattr(integer_operators, "eight_bits", lambda: True)
    codes = torch.full((3, 64), 127, dtype=torch.int8)
    layer = Int8Linear(codes, torch.tensor([1.0, 0.5, 2.0]), torch.ones(3), torch.tensor([0.0, 255.0]))
    x = torch.full((2, 64), 255.0)
    graph = torch_module._export(integer_operators._Linear(layer), [x], ["input"], ["output"], None, by_name=False)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = np.tile(64 * 127 * 255 * np.array([1.0, 0.5, 2.0], "f4") + 1, (2, 1))
    np.testing.assert_array_equal(session.run(None, {"input": x.numpy()})[0], wanted)


def test_the_codes_of_int8_layers_are_stored_once(tmp_path):
    net, rows = int8_module("linear", "static")
    lc.save(net, tmp_path / "model.lc", example=rows)
    shared = {array for _, array in lc.inspect(tmp_path / "model.lc").facts["shared_arrays"]}
    assert {"0.codes", "2.codes", "4.codes"} <= shared
    with torch.no_grad():
        wanted = net(torch.from_numpy(rows)).numpy()
    found = lc.load_predictor(tmp_path / "model.lc").predict(rows)
    np.testing.assert_allclose(found, wanted, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("kind", ["classifier", "two classes", "regressor"])
def test_torch_estimators(kind, tmp_path):
    X, y = {"classifier": digits, "two classes": cancer, "regressor": diabetes}[kind]()
    X = StandardScaler().fit_transform(X)
    cls = lt.TorchRegressor if kind == "regressor" else lt.TorchClassifier
    model = cls(max_epochs=2, random_state=0).fit(X[::2], y[::2].astype(float if kind == "regressor" else y.dtype))
    lc.export_onnx(model, tmp_path / "model.onnx", X[:50])
    outputs = run(tmp_path / "model.onnx", X[1::2].astype(np.float32))
    if kind == "regressor":
        np.testing.assert_allclose(outputs["prediction"], model.predict(X[1::2]), rtol=RTOL, atol=ATOL)
    else:
        np.testing.assert_array_equal(outputs["label"], model.predict(X[1::2]))
        np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(X[1::2]), rtol=RTOL, atol=ATOL)


def test_a_graph_tells_nothing_of_the_machine_that_exported_it(tmp_path):
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    lc.export_onnx(net, tmp_path / "model.onnx", np.zeros((2, 4), "f4"))
    data = (tmp_path / "model.onnx").read_bytes()
    assert b".py" not in data
    assert b"/home" not in data


# -- refusals -------------------------------------------------------------------------------------------------------


def several_targets():
    X, y = iris()
    return RandomForestClassifier(3).fit(X, np.stack([y, y], axis=1)), X


def words():
    texts = ["a cat", "a dog", "un élan"] * 4
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, np.arange(12) % 2), texts


def city_blocks():
    X, y = iris()
    return KNeighborsClassifier(p=1).fit(X, y), X


def sparse_neighbors():
    X, y = iris()
    return KNeighborsClassifier().fit(csr_array(X), y), X


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


def int8_recurrent():
    return lc.quantize(Recurrent(), activations="dynamic"), np.zeros((2, 3, 8), "f4")


def of_huber():
    X, y = cancer()
    return lc.LinearClassifier(loss="modified_huber", random_state=0, max_iter=5000).fit(
        StandardScaler().fit_transform(X), y
    ), X


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (several_targets, "several targets"),
        (words, "a TfidfVectorizer cannot be exported to ONNX: only an operator of onnxruntime's own"),
        (city_blocks, "Euclidean distances alone; its metric is 'manhattan'"),
        (sparse_neighbors, "sparse training rows"),
        (int8_recurrent, "lstm, a Int8LSTM, computes with int8 activations"),
        (of_huber, "modified_huber"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(make, sentence, tmp_path):
    model, X = make()
    with pytest.raises(lc.UnsupportedModel, match=sentence):
        lc.export_onnx(model, tmp_path / "model.onnx", X)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("example", "sentence"),
    [
        (np.zeros((1, 10)), "two rows or more"),
        (np.zeros((4, 9)), "9 features"),
        (np.array([["a"] * 10] * 2), "a table of numbers"),
    ],
)
def test_examples_that_do_not_fit(example, sentence, tmp_path):
    X, y = diabetes()
    with pytest.raises(ValueError, match=sentence):
        lc.export_onnx(Ridge().fit(X, y), tmp_path / "model.onnx", example)


def test_opset(tmp_path):
    model, X, _ = fitted("LinearRegressor")
    lc.export_onnx(model, tmp_path / "model.onnx", X, opset=20)
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == 20
    with pytest.raises(ValueError, match="opset must be"):
        lc.export_onnx(model, tmp_path / "model.onnx", X, opset=9)


def test_steps_that_pass_everything_through(tmp_path):
    X, y = diabetes()
    model = make_pipeline("passthrough", StandardScaler(), "passthrough", Ridge()).fit(X, y)
    lc.export_onnx(model, tmp_path / "model.onnx", X)
    np.testing.assert_allclose(run(tmp_path / "model.onnx", X)["prediction"], model.predict(X))


def test_a_network_behind_a_step_of_float64(tmp_path):
    X, y = cancer()
    model = make_pipeline(StandardScaler(), lt.TorchClassifier(max_epochs=2, random_state=0)).fit(X, y)
    lc.export_onnx(model, tmp_path / "model.onnx", X)
    np.testing.assert_array_equal(run(tmp_path / "model.onnx", X)["label"], model.predict(X))


def test_columns_with_the_names_of_outputs_and_spaces(tmp_path):
    model, X, _ = fitted("Pipeline, names")
    lc.export_onnx(model, tmp_path / "model.onnx", X)
    names = [one.name for one in onnx.load(tmp_path / "model.onnx").graph.input]
    assert names == [
        "sepal length (cm)",
        "sepal width (cm)",
        "petal length (cm)",
        "petal width (cm)",
        "column_4",
        "variable",
    ]


def test_values_of_any_scale_are_compared(monkeypatch, tmp_path):
    X, y = diabetes()
    model = Ridge().fit(X, 1e-9 * y)
    converted = linear.convert

    def wrong(model, example, opset):
        found = converted(model, example, opset)
        (intercept,) = (one for one in found.model.graph.initializer if one.name == "intercept_")
        array = onnx.numpy_helper.to_array(intercept) * 1.01
        intercept.CopyFrom(onnx.numpy_helper.from_array(array, "intercept_"))
        return found

    monkeypatch.setattr(linear, "convert", wrong)
    with pytest.raises(lc.ParityError):
        lc.export_onnx(model, tmp_path / "model.onnx", X)


def test_exports_of_several_threads(tmp_path):
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    level = logging.root.manager.disable
    with ThreadPoolExecutor(3) as pool:
        paths = [tmp_path / f"{k}.onnx" for k in range(6)]
        list(pool.map(lambda path: lc.export_onnx(net, path, np.zeros((2, 4), "f4")), paths))
    assert all(path.exists() for path in paths)
    assert logging.root.manager.disable == level


def test_trees_of_many_levels_are_refused_before_onnxruntime_reads_them(tmp_path):
    X = np.arange(1500.0)[:, None]
    model = DecisionTreeClassifier(random_state=0).fit(X, np.arange(1500) % 2)
    if model.get_depth() <= 1000:  # alternating classes make a chain
        pytest.fail("the tree is not deep")
    with pytest.raises(lc.UnsupportedModel, match="more than 1,000 levels"):
        lc.export_onnx(model, tmp_path / "model.onnx", X)
