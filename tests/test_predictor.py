"""load_predictor: a file answers as its model does, without the framework, and a hostile graph is refused."""

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from scipy.sparse import csr_matrix
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.onnx import checked_graph, inference_protocol
from lifecycle.onnx.parity import ATOL, RTOL
from tests.exported_models import MODELS, digits, fitted, mixed_table, rows_of


def saved(tmp_path, name):
    model, X, y = fitted(name)
    path = tmp_path / "model.lc"
    lc.save(model, path, example=rows_of(X, np.arange(0, len(y), 2)))
    return model, X, y, path


@pytest.mark.parametrize("name", MODELS)
def test_predictors_answer_as_their_models_do(name, tmp_path):
    model, X, y, path = saved(tmp_path, name)
    predictor = lc.load_predictor(path)
    rows = rows_of(X, np.arange(1, len(y), 2))
    for method in ("predict", "predict_proba"):
        assert hasattr(predictor, method) == hasattr(model, method)
    if hasattr(model, "classes_"):
        np.testing.assert_array_equal(predictor.predict(rows), model.predict(rows))
        np.testing.assert_array_equal(predictor.classes_, model.classes_)
        assert predictor.predict(rows).dtype == model.classes_.dtype
    else:
        np.testing.assert_allclose(predictor.predict(rows), model.predict(rows), rtol=RTOL, atol=ATOL)
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(predictor.predict_proba(rows), model.predict_proba(rows), rtol=RTOL, atol=ATOL)
    elif hasattr(model, "decision_function"):
        wanted = model.decision_function(rows)
        np.testing.assert_allclose(predictor.decision_function(rows), wanted, rtol=RTOL, atol=ATOL)
    assert predictor.n_features_in_ == model.n_features_in_
    assert f"a {predictor.interface.task}" in repr(predictor)
    assert type(lc.load(path)) is type(model)  # the model itself is in the file too


def test_frames_are_checked_by_the_names_of_their_columns(tmp_path):
    _, X, _, path = saved(tmp_path, "Pipeline of columns")
    predictor = lc.load_predictor(path)
    assert predictor.feature_names_in_.tolist() == list(X.columns)
    with pytest.raises(ValueError, match="missing: 'word'"):
        predictor.predict(X.rename(columns={"word": "other"}))
    with pytest.raises(ValueError, match="no missing values"):
        predictor.predict(X.assign(word=[None, *X.word[1:]]))
    np.testing.assert_array_equal(predictor.predict(X.to_numpy(object)), predictor.predict(X))


def test_boosting_with_categories_needs_no_graph(tmp_path):
    table, y = mixed_table()
    table = table.assign(word=table.word.astype("category"))
    model = HistGradientBoostingClassifier(max_iter=9, categorical_features="from_dtype").fit(table, y)
    lc.save(model, tmp_path / "model.lc")
    predictor = lc.load_predictor(tmp_path / "model.lc")
    np.testing.assert_array_equal(predictor.predict_proba(table), model.predict_proba(table))
    row = {"a": 0.5, "b": 2.0, "word": "x"}
    inputs = [{"name": k, "shape": [1, 1], "datatype": "BYTES" if k == "word" else "FP64", "data": [v]}
              for k, v in row.items()]  # fmt: skip
    answer = predictor.infer_v2({"inputs": inputs})
    wanted = model.predict_proba(pd.DataFrame([row]).astype({"word": table.word.dtype}))
    np.testing.assert_allclose(answer["outputs"][1]["data"], wanted[0])


CODE = """
import sys, numpy as np, lifecycle as lc
predictor = lc.load_predictor(sys.argv[1])
print(predictor.predict(np.load(sys.argv[2])).tolist())
loaded = {"torch", "sklearn", "pandas", "skl2onnx", "onnxscript"} & set(sys.modules)
print(sorted(loaded))
"""


def test_a_network_predicts_without_torch_and_scikit_learn(tmp_path):
    X, y = digits()
    X = X.astype(np.float32)
    model = lt.TorchClassifier(max_epochs=2, random_state=0).fit(X, y)
    lc.save(model, tmp_path / "model.lc", example=X[:50])
    np.save(tmp_path / "X.npy", X[:20])
    command = [sys.executable, "-c", CODE, str(tmp_path / "model.lc"), str(tmp_path / "X.npy")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert json.loads(lines[0]) == model.predict(X[:20]).tolist()
    assert lines[1] == "[]"


class Weighted(nn.Module):
    """A class that nothing but the graph knows."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10))
        self.weight = nn.Parameter(torch.rand(10))

    def forward(self, x):
        return self.inner(x) * self.weight


@pytest.mark.parametrize("change", [
    lambda net: net,
    lambda net: lc.quantize(net, activations=None),
    lambda net: lc.prune(net, amount=0.7),
], ids=["as it is", "int8 weights", "pruned"])  # fmt: skip
def test_the_graph_takes_its_weights_from_the_arrays_of_the_file(change, tmp_path):
    torch.manual_seed(0)
    net = change(Weighted()).eval()
    X = np.random.RandomState(0).randn(9, 64).astype(np.float32)
    lc.save(net, tmp_path / "with.lc", example=X)
    with pytest.warns(UserWarning, match="into="):
        lc.save(net, tmp_path / "without.lc")
    sizes = [(tmp_path / name).stat().st_size for name in ("with.lc", "without.lc")]
    assert sizes[0] - sizes[1] < 6_000  # the graph without weights, which have 15,000 bytes
    with torch.no_grad():
        wanted = net(torch.from_numpy(X[:1])).numpy()
    np.testing.assert_allclose(lc.load_predictor(tmp_path / "with.lc").predict(X[:1]), wanted, rtol=RTOL, atol=ATOL)
    again = lc.load(tmp_path / "with.lc", into=change(Weighted()))
    with torch.no_grad():
        np.testing.assert_array_equal(again.eval()(torch.from_numpy(X[:1])).numpy(), wanted)


def test_files_without_a_graph_say_what_to_do(tmp_path):
    model, _, _ = fitted("LinearClassifier")
    lc.save(model, tmp_path / "model.lc")
    with pytest.raises(lc.UnsupportedModel, match="save the model with example=rows"):
        lc.load_predictor(tmp_path / "model.lc")
    with pytest.raises(lc.UnsupportedModel, match="save the model with example=rows"):
        lc.export_repository(tmp_path / "model.lc", tmp_path)


def test_another_digest_is_refused(tmp_path):
    *_, path = saved(tmp_path, "Ridge")
    digest = lc.inspect(path).sha256
    assert lc.load_predictor(path, sha256=digest).predict(fitted("Ridge")[1]).shape == (442,)
    with pytest.raises(lc.CorruptBundle, match="not the file you expect"):
        lc.load_predictor(path, sha256="0" * 64)


@pytest.mark.parametrize(
    ("X", "sentence"),
    [
        (np.zeros((3, 9)), r"shape \(n, 10\)"),
        (np.zeros(10), r"shape \(n, 10\)"),
        ([["a"] * 10], "could not convert|must be numbers"),
    ],
)
def test_rows_that_do_not_fit(X, sentence, tmp_path):
    *_, path = saved(tmp_path, "Ridge")
    with pytest.raises(ValueError, match=sentence):
        lc.load_predictor(path).predict(X)


# -- Open Inference Protocol ------------------------------------------------------------------------------------------


def request_of(X, **changes):
    entry = {"name": "X", "shape": list(X.shape), "datatype": "FP64", "data": X.tolist(), **changes}
    return {"id": "7", "inputs": [entry]}


def test_requests_of_the_inference_protocol(tmp_path):
    model, X, _, path = saved(tmp_path, "LogisticRegression")
    predictor = lc.load_predictor(path)
    answer = predictor.infer_v2(json.loads(json.dumps(request_of(X[:4]))))
    assert (answer["id"], answer["model_name"]) == ("7", "model")
    label, probabilities = answer["outputs"]
    assert (label["datatype"], label["data"]) == ("BYTES", model.predict(X[:4]).tolist())
    assert (probabilities["datatype"], probabilities["shape"]) == ("FP64", [4, 3])
    np.testing.assert_allclose(np.reshape(probabilities["data"], (4, 3)), model.predict_proba(X[:4]))
    flat = request_of(X[:4], data=X[:4].ravel().tolist())
    assert predictor.infer_v2({**flat, "outputs": [{"name": "label"}]})["outputs"] == [label]
    assert predictor.metadata_v2()["inputs"] == [{"name": "X", "datatype": "FP64", "shape": [-1, 4]}]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "Y"}, "takes the inputs X"),
        ({"shape": [4, 5]}, r"takes \[-1, 4\]"),
        ({"shape": [5, 4]}, "not as its shape says"),
        ({"data": [1.0] * 15}, "has 15 values"),
        ({"data": [[1.0] * 2] * 8}, "not as its shape says"),
        ({"data": [float("nan")] * 16}, "missing values"),
        ({"data": [10**400] * 16}, "too large"),
        ({"shape": [True, 4]}, "list of sizes"),
        ({"datatype": "INT64"}, "takes FP64"),
        ({"datatype": "FP12"}, "unknown datatype"),
        ({"data": ["a"] * 16}, "must be numbers"),
        ({"data": None}, "must be a list"),
        ({"data": [[1.0] * 4, 1.0, 2.0, 3.0]}, "not as its shape says"),
    ],
)
def test_requests_that_do_not_fit(changes, sentence, tmp_path):
    _, X, _, path = saved(tmp_path, "LogisticRegression")
    with pytest.raises(ValueError, match=sentence):
        lc.load_predictor(path).infer_v2(request_of(X[:4], **changes))


@pytest.mark.parametrize("request_", [None, {}, {"inputs": [3]}, {"inputs": []}])
def test_what_is_no_request(request_, tmp_path):
    *_, path = saved(tmp_path, "LogisticRegression")
    with pytest.raises(ValueError, match=r"request|input"):
        lc.load_predictor(path).infer_v2(request_)


def test_a_server_on_loopback(tmp_path):
    model, X, _, path = saved(tmp_path, "LogisticRegression")
    predictor = lc.load_predictor(path)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, answer = 200, predictor.infer_v2(body)
            except ValueError as error:
                status, answer = 400, {"error": str(error)}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/v2/models/model/infer"
            with urllib.request.urlopen(url, json.dumps(request_of(X[:3])).encode()) as response:
                assert json.load(response)["outputs"][0]["data"] == model.predict(X[:3]).tolist()
            with pytest.raises(urllib.error.HTTPError, match="400") as caught:
                urllib.request.urlopen(url, b'{"inputs": []}')
            caught.value.close()
        finally:
            server.shutdown()
            thread.join()


# -- model repositories -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LogisticRegression", "Pipeline of columns", "RandomForestClassifier"])
def test_repositories_hold_a_complete_graph_and_its_description(name, tmp_path):
    model, X, _, path = saved(tmp_path, name)
    folder = lc.export_repository(path, tmp_path / "models", name="letter-1")
    assert folder == tmp_path / "models" / "letter-1"
    assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == ["config.pbtxt", "metadata.json", "model.onnx"]
    graph = onnx.load(folder / "1" / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    session = checked_graph.session_of("a", graph.SerializeToString(), [], {})[0]
    predictor = lc.load_predictor(path)
    label = session.run(["label"], predictor.interface.feeds(rows_of(X, np.arange(9))))[0]
    np.testing.assert_array_equal(label, model.predict(rows_of(X, np.arange(9))))
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["platform"] == inference_protocol.PLATFORM
    assert metadata["parameters"]["classes"] == model.classes_.tolist()


def test_the_configuration_is_one_of_triton(tmp_path):
    model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    *_, path = saved(tmp_path, "Pipeline of columns")
    folder = lc.export_repository(path, tmp_path)
    config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config.ModelConfig())
    assert (config.name, config.platform, config.max_batch_size) == ("model", "onnxruntime_onnx", 0)
    assert [(one.name, list(one.dims)) for one in config.input] == [("a", [-1, 1]), ("b", [-1, 1]), ("word", [-1, 1])]
    assert config.input[2].data_type == model_config.TYPE_STRING


def test_names_of_models_are_no_paths(tmp_path):
    *_, path = saved(tmp_path, "Ridge")
    with pytest.raises(ValueError, match="name must be letters"):
        lc.export_repository(path, tmp_path, name="../elsewhere")


# -- hostile graphs ---------------------------------------------------------------------------------------------------


def model_of(nodes, initializers=(), outputs=("Y",), **fields):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], list(initializers),
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, **fields)


def outside():
    tensor = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return model_of([helper.make_node("MatMul", ["X", "w"], ["Y"])], [tensor])


def in_an_attribute():
    model = outside()
    node = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(np.ones((2, 2), np.float32)))
    node.attribute[0].t.CopyFrom(model.graph.initializer[0])
    return model_of([node, helper.make_node("MatMul", ["X", "w"], ["Y"])])


def loop():
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "b",
                             [helper.make_tensor_value_info("i", TensorProto.INT64, []),
                              helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
                             [helper.make_tensor_value_info("d", TensorProto.BOOL, [])])  # fmt: skip
    return model_of([helper.make_node("Loop", ["n", "c"], [], body=body), helper.make_node("Identity", ["X"], ["Y"])])


def nested():
    inner = helper.make_graph([], "inner", [], [])
    return model_of([helper.make_node("Identity", ["X"], ["Y"], body=inner)])


def custom():
    return model_of([helper.make_node("PyOp", ["X"], ["Y"], domain="ai.onnx.contrib")])


def of_functions():
    function = helper.make_function("", "F", ["X"], ["Y"], [helper.make_node("Identity", ["X"], ["Y"])],
                                    [helper.make_opsetid("", 18)])  # fmt: skip
    return model_of([helper.make_node("F", ["X"], ["Y"])], functions=[function])


def large():
    shape = numpy_helper.from_array(np.array([10**6, 10**6]), "s")
    return model_of([helper.make_node("ConstantOfShape", ["s"], ["Y"])], [shape])


def sized(op, **attributes):
    return model_of([helper.make_node(op, [], ["Y"], **attributes)])


def of_constant(**attributes):
    return model_of([helper.make_node("Constant", [], ["s"], **attributes),
                     helper.make_node("ConstantOfShape", ["s"], ["Y"])])  # fmt: skip


def with_constants(op, *inputs, **attributes):
    """A graph with one operator, whose inputs are names, or constants."""
    arrays = {f"c{k}": np.asarray(value) for k, value in enumerate(inputs) if not isinstance(value, str)}
    names = [value if isinstance(value, str) else f"c{k}" for k, value in enumerate(inputs)]
    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return model_of([helper.make_node(op, names, ["Y"], **attributes)], initializers)


def range_of(start, limit, step, dtype):
    return with_constants("Range", *(np.array(value, dtype) for value in (start, limit, step)))


def negative():
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-1, 2])
    return model_of([helper.make_node("MatMul", ["X", "w"], ["Y"])], [tensor])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: sized("RandomNormal", shape=[10**6, 10**6]), "operator RandomNormal"),
        (lambda: of_constant(value_ints=[10**6, 10**6]), "asks ConstantOfShape for much memory"),
        (outside, "data outside of the file"),
        (in_an_attribute, "data outside of the file"),
        (loop, "operator Loop"),
        (nested, "a graph inside of another one"),
        (custom, "operator PyOp of ai.onnx.contrib"),
        (of_functions, "functions"),
        (large, "asks ConstantOfShape for much memory"),
        (negative, "malformed shape"),
        (lambda: range_of(0, 1e12, 1, np.float32), "asks Range for much memory"),
        (lambda: range_of(0, 1, 1e-12, np.float64), "asks Range for much memory"),
        (lambda: range_of(-1e9, 0, 1, np.int64), "asks Range for much memory"),
        (lambda: range_of(0, np.nan, 1, np.float64), "asks Range for much memory"),
        (lambda: with_constants("CenterCropPad", "X", [10**6, 10**6]), "operator CenterCropPad"),
        (lambda: with_constants("MaxUnpool", "X", "X", [1, 1, 10**6, 10**6]), "operator MaxUnpool"),
        (lambda: with_constants("AffineGrid", "X", [1, 1, 10**6, 10**6]), "operator AffineGrid"),
        (lambda: with_constants("Resize", "X", "", np.float32([1e6, 1e6])), "asks Resize for much memory"),
        (lambda: with_constants("Col2Im", "X", [10**6, 10**6], [1, 1]), "asks Col2Im for much memory"),
        (lambda: with_constants("Pad", "X", [10**5, 10**5, 0, 0]), "asks Pad for much memory"),
        (lambda: with_constants("ConvTranspose", "X", "X", output_shape=[10**6, 10**6]), "asks ConvTranspose for"),
        (lambda: with_constants("Conv", "X", "X", pads=[10**5, 10**5, 0, 0]), "asks Conv for"),
    ],
)
def test_hostile_graphs_are_refused(make, sentence):
    with pytest.raises(lc.CorruptBundle, match=sentence):
        checked_graph.session_of("file.lc", make().SerializeToString(), [], {})


def test_paddings_of_many_axes_are_no_sizes():
    graph = with_constants("Pad", "X", [200] * 4)
    found = checked_graph.session_of("file.lc", graph.SerializeToString(), [], {})[0]
    assert found.run(None, {"X": np.zeros((1, 2), np.float32)})[0].shape == (401, 402)


def test_arrays_of_the_file_are_no_sizes():
    shape = TensorProto(name="s", data_type=TensorProto.INT64, dims=[2])
    graph = model_of([helper.make_node("ConstantOfShape", ["s"], ["Y"])], [shape])
    with pytest.raises(lc.CorruptBundle, match="malformed constant"):
        checked_graph.session_of("file.lc", graph.SerializeToString(), [["s", "a"]], {"a": np.array([10**6, 10**6])})


@pytest.mark.parametrize("data", [b"", b"\xff" * 50, b"\x08\x09"])
def test_bytes_that_are_no_graph(data):
    with pytest.raises(lc.CorruptBundle, match=r"the graph of file\.lc|onnxruntime refuses"):
        checked_graph.session_of("file.lc", data, [], {})


@pytest.mark.parametrize(
    ("shared", "arrays"),
    [
        ([["w", "a"]], {}),
        ([["w", "a"]], {"a": np.ones((3, 2), np.float32)}),
        ([["w", "a"]], {"a": np.ones((2, 2), np.float64)}),
        ([["v", "a"]], {"a": np.ones((2, 2), np.float32)}),
        ([["w", 3]], {"a": np.ones((2, 2), np.float32)}),
        ([["w", "a"], ["w", "a"]], {"a": np.ones((2, 2), np.float32)}),
        ({}, {}),
        (["w"], {}),
    ],
)
def test_arrays_that_do_not_fit_the_graph(shared, arrays):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2])
    data = model_of([helper.make_node("MatMul", ["X", "w"], ["Y"])], [tensor]).SerializeToString()
    with pytest.raises(lc.CorruptBundle, match="arrays"):
        checked_graph.session_of("file.lc", data, shared, arrays)


def test_random_changes_of_a_graph_end_in_named_errors(tmp_path):
    *_, path = saved(tmp_path, "LogisticRegression")
    folder = lc.export_repository(path, tmp_path)
    data = (folder / "1" / "model.onnx").read_bytes()
    rng, refused = np.random.RandomState(0), 0
    for _ in range(300):
        changed = bytearray(data)
        for place in rng.randint(len(data), size=rng.randint(1, 4)):
            changed[place] = rng.randint(256)
        try:
            checked_graph.session_of("file.lc", bytes(changed), [], {})
        except lc.CorruptBundle:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["LogisticRegression", "Ridge", "Pipeline", "Ridge, names"])
def test_values_that_the_model_refuses_are_refused(name, value, tmp_path):
    model, X, _, path = saved(tmp_path, name)
    rows = rows_of(X, np.arange(3))
    if hasattr(rows, "iloc"):
        rows = rows.astype(float)
        rows.iloc[1, 2] = value
    else:
        rows[1, 2] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        model.predict(rows)
    with pytest.raises(ValueError, match=r"(feature 2|'petal length \(cm\)') has (missing|infinite) values"):
        lc.load_predictor(path).predict(rows)


def test_a_column_that_is_imputed_may_lack_values_and_another_may_not(tmp_path):
    _, X, _, path = saved(tmp_path, "Pipeline of columns")
    predictor = lc.load_predictor(path)
    assert predictor.interface.may_be_missing == [0, 1]
    assert len(predictor.predict(X.assign(b=np.nan))) == len(X)


def test_fractions_in_a_column_of_integers_are_answered_as_the_model_does(tmp_path):
    model, X, _, path = saved(tmp_path, "Pipeline, categories of whole numbers")
    rows = X.assign(label=0.5)
    np.testing.assert_allclose(lc.load_predictor(path).predict(rows), model.predict(rows), rtol=RTOL, atol=ATOL)


def test_columns_that_a_file_written_before_names_take_no_fractions(tmp_path):
    _, X, _, path = saved(tmp_path, "Pipeline, categories of whole numbers")
    now = lc.load_predictor(path).interface
    label = now.feature_names.index("label")
    before = type(now).from_json({**now.to_json(), "are_integers": [label]})
    before.feeds(X)
    with pytest.raises(ValueError, match="the column 'label' must hold integers"):
        before.feeds(X.assign(label=0.5))


def test_unknown_categories_that_the_model_refuses_are_a_value_error(tmp_path):
    table, y = mixed_table()
    steps = ColumnTransformer([("w", OneHotEncoder(), ["word"]), ("n", "passthrough", ["a"])])
    model = make_pipeline(steps, Ridge()).fit(table, y)
    lc.save(model, tmp_path / "model.lc", example=table)
    with pytest.raises(ValueError, match="unknown categories"):
        model.predict(table.assign(word="other"))
    with pytest.raises(ValueError, match="the graph refuses these rows"):
        lc.load_predictor(tmp_path / "model.lc").predict(table.assign(word="other"))


def test_several_threads_predict_the_same(tmp_path):
    _, X, _, path = saved(tmp_path, "MLPClassifier")
    predictor = lc.load_predictor(path)
    wanted = predictor.predict(X)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(predictor.predict, [X] * 16):
            np.testing.assert_array_equal(found, wanted)


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x.float(), x.long().sum(dim=1)


def test_tensors_of_other_layouts_and_dtypes(tmp_path):
    x = torch.tensor([[1.5, 0.0], [0.0, -3.25], [2.0, 1.0]])
    lc.save(Doubled(), tmp_path / "model.lc", example=x)
    predictor = lc.load_predictor(tmp_path / "model.lc")
    wanted = (2 * x.numpy(), x.long().sum(dim=1).numpy())
    for rows in (x.bfloat16(), x.half(), x.double(), x.to_sparse(), x.requires_grad_(),
                 csr_matrix(x.detach().numpy())):  # fmt: skip
        for found, value in zip(predictor.predict(rows), wanted, strict=True):
            np.testing.assert_array_equal(found, value)
    for rows, sentence in [
        (x.to("meta"), "input is on the meta device, where tensors have no values"),
        (x.detach().to(torch.float8_e5m2), "input is a tensor of float8_e5m2 that numpy cannot hold"),
        (x.detach() * 1j, "input must be numbers of dtype float32"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            predictor.predict(rows)


def test_models_whose_interface_no_file_may_have_are_not_saved(monkeypatch, tmp_path):
    with pytest.raises(lc.UnsupportedModel, match="has 9 dimensions; allowed are 1 to 8: save the model without exam"):
        lc.save(nn.ReLU(), tmp_path / "model.lc", example=torch.zeros(2, *[1] * 8))
    monkeypatch.setattr("lifecycle.onnx.interface._MAX_TENSORS", 2)
    model, X, _ = fitted("Pipeline of columns")
    with pytest.raises(lc.UnsupportedModel, match="3 inputs and 2 outputs; allowed are 1 to 2 of each: save the model"):
        lc.save(model, tmp_path / "model.lc", example=X)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["Ridge", "Pipeline of columns", "RandomForestClassifier"])
def test_tables_without_rows_are_refused_as_their_models_do(name, tmp_path):
    model, X, _, path = saved(tmp_path, name)
    with pytest.raises(ValueError, match="0 sample"):
        model.predict(X[:0])
    predictor = lc.load_predictor(path)
    for method in (predictor.predict, getattr(predictor, "predict_proba", predictor.predict)):
        with pytest.raises(ValueError, match="X has no rows"):
            method(X[:0])


def test_modules_give_no_rows_for_no_rows(tmp_path):
    x = torch.rand(3, 2)
    lc.save(Doubled(), tmp_path / "model.lc", example=x)
    for found, wanted in zip(lc.load_predictor(tmp_path / "model.lc").predict(x[:0]), Doubled()(x[:0]), strict=True):
        assert (found.shape, str(found.dtype)) == (tuple(wanted.shape), str(wanted.dtype).removeprefix("torch."))


class Frame:
    """A table of another library than pandas: names of columns, and no iloc."""

    columns = ("a", "b", "word")

    def __getitem__(self, name):
        return np.zeros(3)


@pytest.mark.parametrize("name", ["Pipeline of columns", "Ridge", "RandomForestClassifier"])
def test_tables_of_other_libraries_are_refused_with_what_to_do(name, tmp_path):
    model, _, _, path = saved(tmp_path, name)
    tables = [Frame(), pytest.importorskip("pyarrow").table({"a": [1.0, 2.0]})]
    for table in tables:
        with pytest.raises(ValueError, match=r"X is a \w+ of (tests|pyarrow): give X.to_pandas\(\)"):
            lc.load_predictor(path).predict(table)
        with pytest.raises(ValueError, match=r"example is a \w+ of (tests|pyarrow): give example.to_pandas\(\)"):
            lc.save(model, tmp_path / "other.lc", example=table)
    assert not (tmp_path / "other.lc").exists()


def test_a_graph_that_gives_other_shapes_than_its_interface(tmp_path):
    *_, path = saved(tmp_path, "Ridge")
    predictor = lc.load_predictor(path)
    predictor.interface.outputs[0] = replace(predictor.interface.outputs[0], shape=(None, 2))
    with pytest.raises(ValueError, match="an array of the shape"):
        predictor.predict(fitted("Ridge")[1])


def test_regressors_are_no_classifiers(tmp_path):
    *_, path = saved(tmp_path, "Ridge")
    predictor = lc.load_predictor(path)
    with pytest.raises(AttributeError, match="no classifier"):
        _ = predictor.classes_
    assert isinstance(lc.load(path), Ridge)
    assert not hasattr(predictor, "predict_proba")


def test_a_result_of_compress_keeps_its_certificate(tmp_path):
    X, y = digits()
    model = lc.LinearClassifier().fit(X[:900], y[:900])
    result = lc.compress(model, X[900:], y[900:], max_drop=0.05, random_state=0, progress=False)
    assert result.best is not None
    lc.save(result, tmp_path / "model.lc", example=X[:50], metadata={"data": "digits"})
    inspected = lc.inspect(tmp_path / "model.lc")
    assert inspected.facts["certificate"]["bound"] == result.certificate.bound
    assert inspected.facts["certificate"]["rows_hash"] == result.certificate.rows_hash
    assert inspected.facts["parity"]["label_flips"] == 0
    assert inspected.metadata == {"data": "digits"}
    assert "certificate.max_drop: 0.05" in repr(inspected)
    np.testing.assert_array_equal(lc.load(tmp_path / "model.lc").predict(X), result.model.predict(X))


def test_a_certificate_that_is_of_another_model_is_not_kept(tmp_path):
    X, y = digits()
    model = lc.LinearClassifier().fit(X[:900], y[:900])
    result = lc.compress(model, X[900:], y[900:], max_drop=0.05, random_state=0, progress=False)
    lc.save(replace(result, model=model, candidates=[]), tmp_path / "model.lc")  # as where nothing passed
    assert not lc.inspect(tmp_path / "model.lc").facts


def test_a_file_of_this_version_of_the_format_gives_the_same_predictions():
    """It holds a pipeline of scikit-learn with its graph, and its probabilities for some rows in the metadata."""
    path = Path(__file__).parent / "files" / "format2" / "predictor.safetensors"
    X = fitted("Pipeline")[1][100:105]
    wanted = lc.inspect(path).metadata["probabilities"]
    np.testing.assert_allclose(lc.load_predictor(path).predict_proba(X), wanted, rtol=1e-9)
    np.testing.assert_allclose(lc.load(path).predict_proba(X), wanted, rtol=1e-9)


def test_what_is_no_number_is_not_read_as_one(tmp_path):
    X = pd.DataFrame({"code": np.arange(300) % 5})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), Ridge()).fit(X, X["code"] ** 2)
    lc.save(model, tmp_path / "model.lc", example=X[:40])
    predictor = lc.load_predictor(tmp_path / "model.lc")
    for same in (X[:3].astype(object), X[:3].astype("Int64"), X[:3].astype("category")):
        np.testing.assert_allclose(predictor.predict(same), model.predict(X[:3]), rtol=1e-9)
    dates, spans = pd.to_datetime([1, 2, 3], unit="ns"), pd.to_timedelta([1, 2, 3])
    others = [X[:3].astype(str), X[:3].astype("string"), X[:3].astype(complex)]
    for other in (*others, pd.DataFrame({"code": dates}), pd.DataFrame({"code": spans})):
        with pytest.raises(ValueError, match="must be numbers of dtype float64"):
            predictor.predict(other)


def test_integers_that_a_graph_would_round_are_refused(tmp_path):
    X = pd.DataFrame({"code": (2**24 + 2 * (np.arange(300) % 5)).astype(np.float32)})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), Ridge()).fit(X, np.arange(300) % 5)
    lc.save(model, tmp_path / "model.lc", example=X[:40])
    predictor = lc.load_predictor(tmp_path / "model.lc")
    np.testing.assert_allclose(predictor.predict(X[:9].astype(int)), model.predict(X[:9]), rtol=1e-5)
    with pytest.raises(ValueError, match="integers that float32 cannot hold"):
        predictor.predict(X[:9].astype(int) + 1)
