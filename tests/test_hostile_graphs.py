"""Graphs of files as somebody makes them who wants to harm a reader: what they ask for is bounded before it is done."""

import gc
import json
import pickle
import subprocess
import sys
import weakref
from copy import deepcopy
from itertools import pairwise

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lifecycle as lc
from lifecycle.onnx import checked_graph, constants
from lifecycle.onnx.message_size import parsed_size
from lifecycle.onnx.ranks import MAX_RANK
from lifecycle.onnx.tree_nodes import MAX_LEVELS
from lifecycle.store.json_values import serialize_value
from tests.exported_models import cancer, fitted
from tests.forged_files import joined, parts_of

node = helper.make_node


def info(name, kind=TensorProto.FLOAT, shape=("n", 2)):
    return helper.make_tensor_value_info(name, kind, shape)


def tensor(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def model_of(nodes, initializers=(), inputs=None, outputs=None):
    graph = helper.make_graph(
        nodes, "g", inputs or [info("X")], outputs or [info("Y", shape=None)], list(initializers)
    )  # fmt: skip
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def session(model):
    return checked_graph.session_of("file.lc", model.SerializeToString(), [], {})[0]


def forged_file(tmp_path, edit, name="LogisticRegression"):
    """A file whose graph and facts `edit` has changed, with digests that fit."""
    estimator, X, _ = fitted(name)
    lc.save(estimator, tmp_path / "good.lc", example=X[:50])
    header, manifest, data = parts_of((tmp_path / "good.lc").read_bytes())
    begin, end = header["graph.onnx"]["data_offsets"]
    graph = onnx.ModelProto.FromString(data[begin:end])
    edit(graph, manifest["facts"])
    new = graph.SerializeToString()
    assert end == max(entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__")
    header["graph.onnx"].update(shape=[len(new)], data_offsets=[begin, begin + len(new)])
    (tmp_path / "bad.lc").write_bytes(joined(header, manifest, data[:begin] + new))
    return tmp_path / "bad.lc"


# -- trees ------------------------------------------------------------------------------------------------------------


def trees(left, right, **changes):
    """One tree, whose nodes have these children; those without are leaves."""
    n = len(left)
    is_leaf = [a < 0 for a in left]
    fields = {
        "nodes_treeids": [0] * n, "nodes_nodeids": list(range(n)), "nodes_featureids": [0] * n,
        "nodes_values": [0.5] * n, "nodes_modes": ["LEAF" if leaf else "BRANCH_LEQ" for leaf in is_leaf],
        "nodes_truenodeids": [max(k, 0) for k in left], "nodes_falsenodeids": [max(k, 0) for k in right],
        "target_treeids": [0], "target_nodeids": [n - 1], "target_ids": [0], "target_weights": [1.0], "n_targets": 1,
    }  # fmt: skip
    return model_of([node("TreeEnsembleRegressor", ["X"], ["Y"], domain="ai.onnx.ml", **{**fields, **changes})])


def chain(levels):
    left = [*range(1, levels + 1), *[-1] * (levels + 1)]
    return trees(left, [*range(levels + 1, 2 * levels + 1), *[-1] * (levels + 1)])


def test_trees_with_as_many_levels_as_are_written_are_read():
    assert session(chain(MAX_LEVELS)).run(None, {"X": np.ones((3, 2), np.float32)})[0].shape == (3, 1)


@pytest.mark.parametrize("levels", [MAX_LEVELS + 1, 100_000])
def test_chains_of_nodes_are_refused_before_onnxruntime_follows_them(levels):
    with pytest.raises(lc.CorruptBundle, match="more than 1,000 levels"):
        session(chain(levels))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: trees([1, -1, -1], [1, -1, -1]), "the child of no split, or of two"),
        (lambda: trees([0, -1, -1], [2, -1, -1]), "no node behind it"),
        (lambda: trees([1, 0, -1], [2, 2, -1]), "no node behind it"),
        (lambda: trees([1, -1, -1], [9, -1, -1]), "no node behind it"),
        (lambda: trees([-1, -1, -1], [-1, -1, -1]), "the child of no split"),
        (lambda: trees([1, -1, -1], [2, -1, -1], nodes_nodeids=[0, 1, 1]), "stands twice"),
        (lambda: trees([1, -1, -1], [2, -1, -1], nodes_nodeids=[0, 1, 2**40]), "outside of the list"),
        (lambda: trees([1, -1, -1], [2, -1, -1], nodes_featureids=[-1, 0, 0]), "a negative or too large number"),
        (lambda: trees([1, -1, -1], [2, -1, -1], nodes_featureids=[0]), "differ in length"),
        (lambda: trees([1, -1, -1], [2, -1, -1], nodes_values=[0.5]), "differ in length"),
        (lambda: trees([1, -1, -1], [2, -1, -1], nodes_modes=["BRANCH", "LEAF", "LEAF"]), "unknown mode"),
        (lambda: trees([1, -1, -1], [2, -1, -1], target_ids=[7]), "no target"),
        (lambda: trees([1, -1, -1], [2, -1, -1], target_nodeids=[7]), "are of no nodes"),
        (lambda: model_of([node("TreeEnsembleRegressor", ["X"], ["Y"], domain="ai.onnx.ml")]), "differ in length"),
    ],
)
def test_nodes_that_make_no_trees_are_refused(make, sentence):
    with pytest.raises(lc.CorruptBundle, match=sentence):
        session(make())


@pytest.mark.parametrize("op", ["TreeEnsemble", "TreeEnsembleClassifier"])
def test_other_operators_of_trees_are_refused(op):
    with pytest.raises(lc.CorruptBundle, match=f"operator {op}"):
        session(model_of([node(op, ["X"], ["Y"], domain="ai.onnx.ml")]))


# -- memory of the graph ----------------------------------------------------------------------------------------------


def field(number, payload):
    size, n = b"", len(payload)
    while n > 127:
        size, n = size + bytes([n & 127 | 128]), n >> 7
    return bytes([number << 3 | 2]) + size + bytes([n]) + payload


MESSAGES = {  # field numbers of onnx.proto, each with an element of two bytes
    "nodes": lambda n: field(7, b"\x0a\x00" * n),
    "initializers": lambda n: field(7, b"\x2a\x00" * n),
    "attributes": lambda n: field(7, field(1, b"\x2a\x00" * n)),
    "tensors of an attribute": lambda n: field(7, field(1, field(5, b"\x52\x00" * n))),
    "dimensions": lambda n: field(7, field(13, field(2, field(1, field(2, b"\x0a\x00" * n))))),
    "strings": lambda n: field(7, field(1, field(5, b"\x4a\x00" * n))),
    "integers": lambda n: field(7, field(1, field(5, b"\x40\x01" * n))),
    "packed integers": lambda n: field(7, field(5, field(7, b"\x01" * n))),
}

PEAK = """
import resource, sys, onnx
from lifecycle.onnx import checked_graph
import lifecycle as lc
checked_graph.check("a", onnx.ModelProto(opset_import=[onnx.helper.make_opsetid("", 18)]).SerializeToString())
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    checked_graph.session_of("a", data, [], {})
except lc.CorruptBundle as error:
    print(error)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def peak(tmp_path, data):
    """What reading a graph says, and by how many bytes the memory of the process grows."""
    (tmp_path / "graph").write_bytes(data)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "graph")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return lines[0], int(lines[-1])


@pytest.mark.parametrize("kind", MESSAGES)
def test_messages_take_no_more_memory_than_was_counted(kind):
    data = MESSAGES[kind](100_000)
    counted = parsed_size(onnx.ModelProto.DESCRIPTOR, data, 2**40)
    code = (
        "import resource, sys, onnx; data = sys.stdin.buffer.read();"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "model = onnx.ModelProto.FromString(data);"
        "print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))"
    )
    taken = int(subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True).stdout)
    assert taken <= counted + 2_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units")
def test_empty_messages_are_refused_before_they_are_parsed(tmp_path):
    said, taken = peak(tmp_path, MESSAGES["nodes"](2_000_000))
    assert "takes much more memory than it has bytes" in said
    assert taken < 16_000_000  # parsed, they take 300 MB


def test_runs_of_integers_are_counted_one_by_one():
    numbers = [0, 1, 127, 128, 2**40, -1] * 2000
    model = model_of([node("Neg", ["X"], ["Y"], a=numbers, b=[1.5] * 3000, c=numbers[:7])])
    data = model.SerializeToString()
    counted = parsed_size(onnx.ModelProto.DESCRIPTOR, data, 2**40)
    assert 16 * 15_000 < counted < 16 * 15_000 + 200 * 30


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\x3a\x05", "a field is longer than its message"),
        (b"\x3b", "a field has an unknown wire type"),
        (b"\x08" + b"\xff" * 11, "an integer has no end"),
        (b"\x3a", "an integer has no end"),
        (b"\x12\x01\xff", "can't decode byte 0xff"),
        (b"\x0d\x00", "a field is longer than its message"),
    ],
)
def test_bytes_that_are_no_message(data, sentence):
    with pytest.raises(ValueError, match=sentence):
        parsed_size(onnx.ModelProto.DESCRIPTOR, data, 2**40)
    with pytest.raises(lc.CorruptBundle, match="is not an ONNX model"):
        checked_graph.check("file.lc", data)


# -- constants and axes -----------------------------------------------------------------------------------------------


def summed(*nodes, **initializers):
    """A graph that adds the sum of the value b, which is made of constants, to X."""
    last = [node("Sqrt", ["b"], ["root"]), node("ReduceSum", ["root"], ["c"]), node("Add", ["c", "X"], ["Y"])]
    return model_of([*nodes, *last], [tensor(name, values) for name, values in initializers.items()])


N = 50_000_000
EXPANSIONS = {
    "ConstantOfShape": lambda: summed(node("ConstantOfShape", ["s"], ["b"]), s=[N]),
    "Expand": lambda: summed(node("Expand", ["v", "s"], ["b"]), s=[N], v=np.ones(1, "f")),
    "Tile": lambda: summed(node("Tile", ["v", "s"], ["b"]), s=[N], v=np.ones(1, "f")),
    "MatMul": lambda: summed(node("MatMul", ["u", "v"], ["b"]), u=np.ones((7000, 1), "f"), v=np.ones((1, 7000), "f")),
    "Mul": lambda: summed(node("Mul", ["u", "v"], ["b"]), u=np.ones((7000, 1), "f"), v=np.ones((1, 7000), "f")),
    "Sub": lambda: summed(node("Sub", ["u", "v"], ["b"]), u=np.ones((7000, 1), "f"), v=np.ones((1, 7000), "f")),
    "Sub of a Cast": lambda: summed(
        node("Cast", ["u"], ["d"], to=1), node("Sub", ["d", "v"], ["b"]),
        u=np.ones((7000, 1), "b"), v=np.ones((1, 7000), "f"),
    ),
    "ReduceSumSquare": lambda: summed(
        node("ReduceSumSquare", ["v", "axis"], ["b"], keepdims=0), v=np.ones((0, N), "f"), axis=[0]
    ),
    "chain": lambda: summed(
        *(node("Concat", [f"k{k}", f"k{k}"], [f"k{k + 1}" if k < 25 else "b"], axis=0) for k in range(26)),
        k0=np.ones(1, "f"),
    ),
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units")
@pytest.mark.parametrize("kind", EXPANSIONS)
def test_constants_are_not_expanded_while_a_graph_is_read(kind, tmp_path):
    _, taken = peak(tmp_path, EXPANSIONS[kind]().SerializeToString())
    assert taken < 40_000_000  # a session alone takes 12 MB; the constant 200


def test_weights_are_transposed_and_decoded_once(monkeypatch):
    codes, scales = np.arange(-6, 6, dtype=np.int8).reshape(3, 4), np.array([0.5, 2, 4], np.float32)
    nodes = [
        node("DequantizeLinear", ["codes", "scales"], ["decoded"], axis=0),
        node("Transpose", ["decoded"], ["w"], perm=[1, 0]),
        node("MatMul", ["X", "w"], ["Y"]),
    ]
    placeholders = [
        TensorProto(name="codes", data_type=3, dims=[3, 4]),
        TensorProto(name="scales", data_type=1, dims=[3]),
    ]
    model = model_of(nodes, placeholders, inputs=[info("X", shape=("n", 4))])
    opened = []
    new_session = constants.new_session
    monkeypatch.setattr(constants, "new_session", lambda m, *rest: opened.append(m) or new_session(m, *rest))
    found, _ = checked_graph.session_of(
        "file.lc", model.SerializeToString(), [["codes", "c"], ["scales", "s"]], {"c": codes, "s": scales}
    )
    X = np.random.RandomState(0).randn(5, 4).astype(np.float32)
    np.testing.assert_allclose(found.run(None, {"X": X})[0], X @ (codes * scales[:, None]).T, rtol=1e-6)
    assert [one.op_type for one in opened[-1].graph.node] == ["MatMul"]
    assert [one.name for one in opened[-1].graph.initializer] == ["w"]


def test_training_rows_are_centered_and_squared_once(monkeypatch, tmp_path):
    rows = np.random.RandomState(0).randn(4000, 20)
    opened = []
    new_session = constants.new_session
    monkeypatch.setattr(constants, "new_session", lambda m, *rest: opened.append(m) or new_session(m, *rest))
    for dtype in (np.float64, np.float32):
        model = KNeighborsRegressor().fit(rows.astype(dtype), rows[:, 0])
        lc.save(model, tmp_path / "model.lc", example=rows[:9].astype(dtype))
        found = lc.load_predictor(tmp_path / "model.lc").predict(rows[:9].astype(dtype))
        np.testing.assert_allclose(found, model.predict(rows[:9]), rtol=1e-6)
        constant = {one.name for one in opened[-1].graph.initializer}
        assert not [one for one in opened[-1].graph.node if constant.issuperset(one.input)]


def test_arrays_that_no_graph_reads_are_freed():
    w, unread = np.random.RandomState(0).randn(2, 3).astype(np.float32), np.ones(1000)
    expected, read, freed = w.copy(), weakref.ref(w), weakref.ref(unread)
    model = model_of([node("MatMul", ["X", "w"], ["Y"])], [TensorProto(name="w", data_type=1, dims=[2, 3])])
    opened = checked_graph.session_of("file.lc", model.SerializeToString(), [["w", "w"]], {"w": w, "unread": unread})
    del w, unread
    gc.collect()
    assert read() is not None
    assert freed() is None
    np.testing.assert_allclose(opened[0].run(None, {"X": np.eye(2, dtype=np.float32)})[0], expected, rtol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units")
def test_weights_that_many_nodes_share_are_not_copied_for_each(tmp_path):
    w = tensor("w", np.random.RandomState(0).randn(256, 256, 4, 4).astype("f"))  # 4 MB
    norm = [tensor(name, np.ones(256, "f")) for name in "sbmv"]
    nodes = []
    for k in range(60):
        nodes += [
            node("Conv", [f"y{k}" if k else "X", "w"], [f"c{k}"], auto_pad="SAME_UPPER"),
            node("BatchNormalization", [f"c{k}", *"sbmv"], [f"y{k + 1}" if k < 59 else "Y"]),
        ]
    model = model_of(nodes, [w, *norm], inputs=[info("X", shape=("n", 256, 8, 8))])
    _, taken = peak(tmp_path, model.SerializeToString())
    assert taken < 100_000_000  # a copy for each takes 250 MB more


def gathers(n):
    nodes = [node("Cast", ["X"], ["g0"], to=7)]
    nodes += [node("Gather", [f"g{k}", f"g{k}"], [f"g{k + 1}"]) for k in range(n)]
    return model_of([*nodes, node("Cast", [f"g{n}"], ["Y"], to=1)])


@pytest.mark.parametrize(
    "make",
    [
        lambda: gathers(30),
        lambda: model_of([node("Reshape", ["X", "s"], ["Y"])], [tensor("s", np.ones(MAX_RANK + 1, int))]),
        lambda: model_of([node("Expand", ["X", "s"], ["Y"])], [tensor("s", np.ones(MAX_RANK + 1, int))]),
        lambda: model_of([node("Unsqueeze", ["X", "s"], ["Y"])], [tensor("s", np.arange(MAX_RANK))]),
        lambda: model_of(
            [node("Reshape", ["t", "one"], ["s"]), node("Reshape", ["X", "s"], ["Y"])],
            [tensor("t", np.ones((MAX_RANK, 2), int)), tensor("one", np.array([-1]))],
        ),
        lambda: model_of(
            [
                node("Constant", [], ["f"], value_floats=[1.0] * 100),
                node("Cast", ["f"], ["s"], to=7),
                node("Reshape", ["X", "s"], ["Y"]),
            ]
        ),
        lambda: model_of([node("Neg", ["X"], ["Y"])], inputs=[info("X", shape=[2] * (MAX_RANK + 1))]),
        lambda: model_of([node("Einsum", ["X"], ["Y"], equation="ij->" + "i" * 40)]),
    ],
)
def test_values_of_many_axes_are_refused(make):
    with pytest.raises(lc.CorruptBundle, match=f"more than {MAX_RANK} axes"):
        session(make())


class Positions(torch.nn.Module):
    """Its graph expands the positions 0 to 39, which are no sizes."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = torch.nn.Embedding(50, 16), torch.nn.Embedding(40, 16)
        layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        positions = torch.arange(x.shape[1]).expand(x.shape[0], -1)
        return self.encoder(self.tokens(x) + self.positions(positions)).mean(1)


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.LSTM(4, 8, 2, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.layers(x)[0][:, -1]


@pytest.mark.parametrize(
    ("net", "rows"),
    [
        (Positions, np.random.RandomState(0).randint(50, size=(6, 40))),
        (Recurrent, np.random.RandomState(0).randn(6, 5, 4).astype("f")),
    ],
)
def test_transformers_and_recurrent_networks_are_read(net, rows, tmp_path):
    torch.manual_seed(0)
    module = net().eval()
    lc.save(module, tmp_path / "model.lc", example=rows)
    with torch.no_grad():
        wanted = module(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(lc.load_predictor(tmp_path / "model.lc").predict(rows), wanted, rtol=1e-4, atol=1e-5)


def test_nodes_come_behind_those_that_they_read():
    with pytest.raises(lc.CorruptBundle, match="nothing before them computes"):
        session(model_of([node("Neg", ["a"], ["Y"]), node("Neg", ["X"], ["a"])]))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: model_of([node("Sum", ["X"] * 40_000, ["Y"])]), "30,000 inputs and outputs"),
        (lambda: model_of([node("Neg", ["X"], ["Y"])], [tensor(f"t{k}", [1]) for k in range(20_001)]), "20,000"),
    ],
)
def test_numbers_of_parts_are_bounded(make, sentence):
    with pytest.raises(lc.CorruptBundle, match=sentence):
        session(make())


# -- the interface ----------------------------------------------------------------------------------------------------


def test_nodes_give_the_outputs_that_they_name():
    split = helper.make_node("Split", ["X"], ["a", "b"], axis=1, num_outputs=150_000_000)  # took 2.3 GB
    with pytest.raises(lc.CorruptBundle, match="a Split of other outputs than it names"):
        session(model_of([split, helper.make_node("Concat", ["a", "b"], ["Y"], axis=1)]))


def test_operators_that_a_runtime_expands_are_counted():
    names = ["X", *(f"y{k}" for k in range(600)), "Y"]
    nodes = [helper.make_node("Softplus", [a], [b]) for a, b in pairwise(names)]
    with pytest.raises(lc.CorruptBundle, match="more than 500 operators that are made of others"):
        session(model_of(nodes))


def test_graphs_of_sequences_and_maps_are_refused():
    sequence = helper.make_tensor_sequence_value_info("Y", TensorProto.FLOAT, None)
    optional = helper.make_value_info("Y", helper.make_optional_type_proto(info("Y").type))
    for output in (sequence, optional):
        with pytest.raises(lc.CorruptBundle, match="'Y', which is no tensor"):
            session(model_of([node("SequenceConstruct", ["X"], ["Y"])], outputs=[output]))


def change_facts(**changes):
    def edit(graph, facts):
        facts["interface"].update({key: change(facts["interface"][key]) for key, change in changes.items()})

    return edit


def rename_output(graph, facts):
    graph.graph.output[0].name = "other"


def change_dtype(graph, facts):
    facts["interface"]["inputs"][0]["dtype"] = "float32"


def change_shape(graph, facts):
    facts["interface"]["inputs"][0]["shape"] = [None, 5]


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (rename_output, "nothing|other inputs or outputs than its interface"),
        (change_dtype, "another dtype or shape of 'X'"),
        (change_shape, "another dtype or shape of 'X'"),
        (change_facts(classes=lambda c: {**c, "value": [*c["value"], "more"]}), "do not fit its classes"),
        (change_facts(classes=lambda c: serialize_value(np.arange(3))), "do not fit its classes"),
        (
            change_facts(classes=lambda c: serialize_value(np.array([0, np.nan, 1]))),
            "neither finite numbers nor strings",
        ),
        (change_facts(outputs=lambda o: [o[0], {**o[1], "shape": [None, 9]}]), "do not fit its classes"),
        (change_facts(inputs=lambda i: [{**i[0], "name": 'X"\n'}]), "malformed"),
    ],
)
def test_interfaces_that_are_not_those_of_the_graph(edit, sentence, tmp_path):
    path = forged_file(tmp_path, edit)
    with pytest.raises(lc.CorruptBundle, match=sentence):
        lc.load_predictor(path)
    with pytest.raises(lc.CorruptBundle, match=sentence):
        lc.export_repository(path, tmp_path / "models")
    assert not (tmp_path / "models").exists()


HOSTILE = 'X" } input { name: "evil\\'


def rename_everywhere(graph, facts):
    """Names and labels that would end a string of config.pbtxt or of JSON."""
    facts["interface"]["inputs"][0]["name"] = graph.graph.input[0].name = HOSTILE
    for one in graph.graph.node:
        one.input[:] = [HOSTILE if name == "X" else name for name in one.input]
    (labels,) = (one for one in graph.graph.initializer if one.data_type == TensorProto.STRING)
    labels.string_data[0] = '"}\u2028'.encode()
    facts["interface"]["classes"]["value"][0] = '"}\u2028'


def test_names_and_labels_stay_strings_in_a_repository(tmp_path):
    folder = lc.export_repository(forged_file(tmp_path, rename_everywhere), tmp_path / "models", name="m")
    text = (folder / "config.pbtxt").read_text()
    assert text.count("\ninput {") == 1
    assert r'name: "X\042 } input { name: \042evil\134"' in text
    metadata = json.loads((folder / "metadata.json").read_bytes().decode("ascii"))
    assert metadata["inputs"][0]["name"] == HOSTILE
    assert metadata["parameters"]["classes"][0] == '"}\u2028'


def test_an_array_is_not_copied_into_many_initializers():
    arrays = {"a": np.ones(1_000_000, np.float32)}
    names = [f"w{k}" for k in range(20)]
    placeholders = [TensorProto(name=name, data_type=1, dims=[1_000_000]) for name in names]
    data = model_of([node("Sum", names, ["Y"])], placeholders, inputs=[info("X")]).SerializeToString()
    with pytest.raises(lc.CorruptBundle, match="the same arrays of the file many times"):
        checked_graph.complete_model("file.lc", data, [[name, "a"] for name in names], arrays)
    complete = checked_graph.complete_model("file.lc", data, [[name, "a"] for name in names[:4]], arrays)
    assert len(complete) > 4 * 4_000_000


def test_what_load_predictor_refuses_is_not_saved(monkeypatch, tmp_path):
    model, X, _ = fitted("LogisticRegression")
    monkeypatch.setattr(checked_graph, "_MAX_NODES", 1)
    with pytest.raises(lc.UnsupportedModel, match="more than 1 nodes: save the model without example="):
        lc.save(model, tmp_path / "model.lc", example=X)
    assert not list(tmp_path.iterdir())


def test_a_pipeline_around_trees_passes(tmp_path):
    X, y = cancer()
    model = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=20)).fit(X, y)
    lc.save(model, tmp_path / "model.lc", example=X)
    np.testing.assert_array_equal(lc.load_predictor(tmp_path / "model.lc").predict(X), model.predict(X))


# -- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MLPClassifier", "RandomForestClassifier"])
@pytest.mark.parametrize("copy", [deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["deepcopy", "pickle"])
def test_copies_of_predictors_predict_the_same(name, copy, tmp_path):
    model, X, _ = fitted(name)
    lc.save(model, tmp_path / "model.lc", example=X)
    predictor = lc.load_predictor(tmp_path / "model.lc")
    (tmp_path / "model.lc").unlink()
    again = copy(predictor)
    np.testing.assert_array_equal(again.predict_proba(X), predictor.predict_proba(X))
    assert repr(again) == repr(predictor)
