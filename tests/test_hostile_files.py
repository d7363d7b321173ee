"""Files with right digests that somebody made: they give a model or the error of a file, in little memory."""

import json
import os
import random
import sys
import traceback
from contextlib import suppress

import numpy as np
import pytest
import torch
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.store import adapters, bundle, bundle_reader, limits
from lifecycle.store.adapters.sklearn import steps

from .forged_files import forged
from .mutated_files import Memory, nested, print_report, read_mutated_files
from .test_old_files import FILES

MAX_GROWTH = 100e6  # bytes; the files below have 40 MB at most, and the arrays in a manifest take up to 100 MB


@pytest.fixture(scope="module")
def rows():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(40, 3)).round(1)
    return X, X[:, 0]


def saved(model, folder):
    path = folder / "original"
    lc.save(model, path)
    return path.read_bytes()


def linear():
    return lc.LinearRegressor(optimizer="exact")


MADE = {
    "linear": lambda X, y: linear().fit(X, y),
    "target": lambda X, y: TransformedTargetRegressor(
        linear(), transformer=StandardScaler(with_mean=False, with_std=False)
    ).fit(X, y),
    "encoder": lambda X, y: make_pipeline(OneHotEncoder(sparse_output=False), linear()).fit(X, y),
    "columns": lambda X, y: make_pipeline(ColumnTransformer([("a", "passthrough", [0])]), linear()).fit(X, y),
    "forest": lambda X, y: RandomForestRegressor(2, max_depth=2, random_state=0).fit(X, y),
    "boosting": lambda X, y: HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=2).fit(X, y),
    "mlp": lambda X, y: lt.MLP(2, 2),
    "rnn": lambda X, y: lt.RNN(2, 2),
    "cnn": lambda X, y: lt.CNN(1, 2, 8, channels=4),
}


def at(*path):
    """An edit that sets one value of a manifest."""

    def to(value):
        def edit(manifest):
            node = manifest
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value

        return edit

    return to


STEPS = ("config", "root", "steps")
ENCODER = (*STEPS, 0, 1, "fitted")
ONE = {"$array": "<f8", "value": [1.0]}


def argument(name, value):
    def edit(manifest):
        pairs = manifest["config"]["config"]["$dict"]
        manifest["config"]["config"]["$dict"] = [[k, value if k == name else v] for k, v in pairs]

    return edit


def categories(n, m):
    """n columns, the first one with m categories."""
    first = {"$array": "<f8", "value": [float(i) for i in range(m)]}
    return at(*ENCODER)({"categories_": [first] + [ONE] * (n - 1), "n_features_in_": n})


def tied_layers(n):
    def edit(manifest):
        argument("hidden", [1] * n)(manifest)
        first, *_ = manifest["config"]["dtypes"]
        manifest["config"]["tied"] = {f"layers.{i}.weight": first for i in range(2, 2 * n, 2)}

    return edit


def many_parts(n):
    return at(*STEPS, 0, 1, "parts")([[f"p{i}", {"word": "passthrough"}, [0]] for i in range(n)])


def nested_columns(depth, n):
    """A ColumnTransformer in a ColumnTransformer, and so on; each one transforms with all that is inside of it."""

    def edit(manifest):
        columns = manifest["config"]["root"]["steps"][0][1]
        many_parts(n)(manifest)
        for _ in range(depth):
            columns["parts"] = [["inner", dict(columns), [0]]]

    return edit


def nested_pipelines(depth):
    """scikit-learn asks for the tags of the first and of the last step, which are the same one here."""

    def edit(manifest):
        step = {"word": "passthrough"}
        for _ in range(depth):
            step = {"class": "Pipeline", "steps": [["inner", step]]}
        at(*STEPS, 0, 1, "parts")([["inner", step, [0]]])(manifest)

    return edit


def many_steps(n):
    def edit(manifest):
        manifest["config"]["root"]["steps"][:0] = [[f"p{i}", {"word": "passthrough"}] for i in range(n)]

    return edit


def unknown_class(name):
    def edit(manifest):
        manifest["config"].update({"class": None, "named": name})

    return edit


def shape(value):
    def edit(manifest):
        next(iter(manifest["arrays"].values()))["shape"] = value

    return edit


def without_leaves(manifest):
    for name in list(manifest["arrays"]):
        if name.startswith("leaf_"):
            manifest["arrays"][name.replace("leaf_", "x_")] = manifest["arrays"].pop(name)


def many_trees(n):
    """As many trees of one node, which take a bit each in the file."""

    def edit(config, arrays):
        config["trees"].update(n_trees=n, n_nodes=n)
        kept = {name: array for name, array in arrays.items() if name.startswith(("fitted.", "baseline"))}
        arrays.clear()
        arrays.update(
            kept,
            is_leaf=np.packbits(np.ones(n, bool)),
            feature=np.zeros(0, np.uint8),
            threshold=np.zeros(0, np.float16),
            leaf=np.zeros(n, np.uint8),
            leaf_value=np.ones(1, np.float16),
        )

    return edit


def many_columns(config, arrays):
    config["trees"]["n_features"] = 2**31 - 1


# name: (model, edit of its configuration and arrays, what the error says)
TREES = {
    "a forest of 30,000 trees of one node": (
        lambda X, y: RandomForestRegressor(2, max_depth=2, random_state=0).fit(X, y),
        many_trees(30_000),
        "more than 25,000 trees of fewer than 32 nodes: train fewer and larger ones",
    ),
    "boosting of 30,000 trees of one node": (
        lambda X, y: GradientBoostingRegressor(n_estimators=2, max_depth=2).fit(X, y),
        many_trees(30_000),
        "more than 25,000 trees of fewer than 32 nodes: train fewer and larger ones",
    ),
    "a table with categories of 2,000,000,000 columns": (
        lambda X, y: adapters.adapter_for(boosted := HistGradientBoostingRegressor(
            max_iter=2, min_samples_leaf=2, categorical_features=[0]
        ).fit(np.abs(X // 1), y)).first_trees(boosted, 1.0),
        many_columns,
        "its table with categories is too large",
    ),
}  # fmt: skip


@pytest.mark.parametrize("read", [lc.load, lc.load_predictor])
@pytest.mark.parametrize("name", TREES)
def test_numbers_of_trees_and_columns_are_bounded(name, read, rows, tmp_path):
    make, edit, sentence = TREES[name]
    model = make(*rows)
    config, arrays = adapters.adapter_for(model).serialize(model)
    edit(config, arrays)
    bundle.write(tmp_path / "f", config, arrays, None, small=True)
    memory = Memory()
    with pytest.raises(lc.CorruptBundle, match=sentence):
        read(tmp_path / "f")
    assert memory.growth() < 20e6


FITTED = ("config", "fitted")
SCALER = ("config", "root", "transformer", "fitted")
# name: (model, edit, what the error says); every file is small, and asked for gigabytes, minutes, or a bare error
CRAFTED = {
    "target of 10^12 columns": ("target", at(*SCALER, "n_features_in_")(10**12), "more than"),
    "a forest of 6,000,000 columns": ("forest", at("config", "trees", "n_features")(6_000_000), "100,000,000 bytes"),
    "boosting of 60,000 columns": ("boosting", at("config", "trees", "n_features")(60_000), "100,000,000 bytes"),
    "a forest without leaves": ("forest", without_leaves, "'leaf_value' is missing"),
    "scaler of -1 columns": ("target", at(*SCALER, "n_features_in_")(-1), "malformed"),
    "26,000 encoded columns": ("encoder", categories(26_000, 1), "25,000 columns"),
    "categories as text of 1 GB": ("encoder", at(*STEPS, 0, 1, "params", "dtype")("V1000000000"), "dtype V1000000000"),
    "200,000 hidden layers": ("mlp", argument("hidden", [1] * 200_000), "5,000 steps, parts or layers"),
    "20,000 tied layers": ("mlp", tied_layers(20_000), "5,000 steps, parts or layers"),
    "10^9 recurrent layers": ("rnn", argument("num_layers", 10**9), "5,000 steps, parts or layers"),
    "layers in a string": ("mlp", argument("hidden", {"$tuple": ["1"] * 100_000}), "hidden is malformed"),
    "layers in an array": ("mlp", argument("hidden", {"$array": "<i8", "value": [1] * 100_000}), "hidden is malformed"),
    "20,000 parts": ("columns", many_parts(20_000), "5,000 steps, parts or layers"),
    "1,000 parts in 28 levels": ("columns", nested_columns(28, 1000), "too much: its steps nest deeper than 5 levels"),
    "25 pipelines in each other": ("columns", nested_pipelines(25), "too much: its steps nest deeper than 5 levels"),
    "20,000 steps": ("columns", many_steps(20_000), "5,000 steps, parts or layers"),
    "a table of 10^9 columns": ("columns", at(*STEPS, 0, 1, "n_features")(10**9), "more than"),
    "columns by name": ("columns", at(*STEPS, 0, 1, "names")("x" * 3), "malformed|does not describe"),
    "a model among the columns": ("columns", at(*STEPS, 0, 1, "parts", 0, 1)({"model": {"kind": "x"}}), "is a model"),
    "a model before the end": ("columns", at(*STEPS, 0, 1)({"model": {"kind": "x"}}), "before the end"),
    "a nested value": ("linear", at("metadata")({"a": [nested(1, 900, random.Random(0))]}), "nests deeper"),
    "5,000,000 values": ("linear", at("metadata")({"a": [[]] * 5_000_000}), "f asks for too much: .* values"),
    "a value of 40 MB": ("linear", at("metadata")({"a": "x" * 40_000_000 + "\U0001f600"}), "longer strings"),
    "a wide array": ("linear", at(*FITTED, "a_")({"$array": "<U25000000", "value": ["x"]}), "longer strings"),
    "a wide number": ("linear", at(*FITTED, "a_")({"$numpy": "<U25000000", "value": "x"}), "longer strings"),
    "a kind of 100 kB": ("linear", at("config", "kind")("x" * 100_000), "unknown kind 'x"),
    "a class of 100 kB": ("linear", at("config", "class")("\x1b[2J" + "x" * 100_000), "class must be one of"),
    "a class of torch of 100 kB": ("mlp", at("config", "class")("x" * 100_000), "does not have"),
    "a changed class of 100 kB": ("mlp", unknown_class("x" * 100_000), "pass it"),
    "an argument of 100 kB": ("linear", at("config", "params", "x" * 100_000)(1), "is no argument of"),
    "a missing argument of 100 kB": ("linear", at("config", "missing")(["x" * 100_000]), "make it again and pass it"),
    "a codec of 100 kB": ("linear", at("arrays", "coef_", "codec")("x" * 100_000), "codec|parts"),
    "a value of 100 kB": ("linear", at(*FITTED, "n_iter_")({"$x": "x" * 100_000}), "no version of this library"),
    "a number of 4,000 digits": ("mlp", argument("n_in", 10**4000), "n_in is malformed"),
    "a shape of a word": ("linear", shape("abc"), "the shape of coef_ is malformed"),
    "a shape of an object": ("linear", shape({"a": 1}), "the shape of coef_ is malformed"),
    "a shape of 65 dimensions": ("linear", shape([1] * 65), "the shape of coef_ is malformed"),
    "a shape of large numbers": ("linear", shape([0, *[10**4000] * 1000]), "the shape of coef_ is malformed"),
    "a dtype of an object": ("linear", at("arrays", "coef_", "dtype")({"a": 1}), "the dtype of coef_ is none"),
    "a codec of an object": ("linear", at("arrays", "coef_", "codec")({"a": 1}), "codec of coef_ is malformed"),
    "metadata of numbers": ("linear", at("metadata")([1, 2]), "malformed"),
    "versions of nothing": ("linear", at("versions")(None), "malformed"),
    "codes of a complex number": ("mlp", at("config", "int8")({"layers.0.weight": 0}), "does not describe a model"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_small_file_takes_little_memory_and_says_what_is_wrong(name, rows, tmp_path):
    model, edit, sentence = CRAFTED[name]
    path = tmp_path / "f"
    path.write_bytes(forged(saved(MADE[model](*rows), tmp_path), edit))
    memory = Memory()
    with pytest.raises((lc.CorruptBundle, lc.UnsupportedModel), match=sentence) as raised:
        lc.load(path)
    assert memory.growth() < MAX_GROWTH
    assert len(str(raised.value)) < 1000
    assert str(raised.value).isprintable()
    assert len("".join(traceback.format_exception(raised.value))) < 20_000
    with suppress(lc.CorruptBundle):
        assert len(repr(lc.inspect(path))) < 10_000


def test_columns_and_categories_are_not_multiplied(rows, tmp_path):
    """20,000 columns, one of them with 20,000 categories, are 40,000 values."""
    path = tmp_path / "f"
    path.write_bytes(forged(saved(MADE["encoder"](*rows), tmp_path), categories(20_000, 20_000)))
    memory = Memory()
    assert isinstance(lc.load(path), Pipeline)
    assert memory.growth() < MAX_GROWTH


@pytest.mark.parametrize("count", [1000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])])
def test_mutated_files(count, tmp_path):
    reader = read_mutated_files(tmp_path, count, seed=count)
    print_report(reader)
    assert reader.faults == []
    assert reader.largest[0] < MAX_GROWTH
    ways = ("check", "load", "load into", "checkpoint", "inspect")
    assert {f"{way}: {outcome}" for way in ways for outcome in ("loaded", "file error")} <= set(reader.outcomes)
    assert sum(n > 0 for n in reader.errors.values()) > 40  # sentences, so that many checks are reached
    if count > 1000:
        assert reader.slow == []  # calls of more than a second of the processor


def test_a_mutation_that_is_a_fault_is_found(tmp_path, monkeypatch):
    read = bundle_reader.read

    def faulty(path, *arguments):
        if b"__init__" in path.read_bytes():
            raise EOFError
        return read(path, *arguments)

    monkeypatch.setattr(bundle_reader, "read", faulty)
    assert "EOFError" in read_mutated_files(tmp_path, 200).faults[0]


@pytest.mark.parametrize("read", [lc.load, lc.inspect])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes")])
def test_too_little_memory_is_the_error_of_a_file(read, error, rows, tmp_path, monkeypatch):
    saved(MADE["mlp"](*rows), tmp_path)
    monkeypatch.setattr(bundle_reader, "parse_header", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(lc.CorruptBundle, match="original needs more memory than there is"):
        read(tmp_path / "original")


@pytest.mark.parametrize("path", [None, FILES / "mlp.safetensors"], ids=["format 2", "format 1"])
def test_a_long_file_with_a_short_header_is_not_read(path, rows, tmp_path):
    data = saved(MADE["mlp"](*rows), tmp_path) if path is None else path.read_bytes()
    (tmp_path / "f").write_bytes(data)
    with open(tmp_path / "f", "r+b") as file:
        file.truncate(1 << 40)  # 1 TB, without blocks on the disk
    with pytest.raises(lc.CorruptBundle, match=r"its header describes [\d,]+ bytes of arrays, and it has 1,099,511,62"):
        lc.load(tmp_path / "f")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the limit of the address space")
def test_a_file_beyond_the_memory_of_the_process(rows, tmp_path):
    resource = pytest.importorskip("resource")
    size = 1 << 40

    def longer(header):
        entry = f',"long":{{"dtype":"U8","shape":[{size}],"data_offsets":[332,{332 + size}]}}}}'
        return header[:-1] + entry.encode()

    data = forged(
        (FILES / "mlp.safetensors").read_bytes(),
        lambda m: m["arrays"].update(long={"dtype": "uint8", "shape": [size], "codec": None, "parts": {"": "long"}}),
        longer,
    )
    (tmp_path / "f").write_bytes(data)
    with open(tmp_path / "f", "r+b") as file:
        file.truncate(len(data) + size)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 38, hard))
    try:
        with pytest.raises(lc.CorruptBundle, match="needs more memory than there is"):
            lc.load(tmp_path / "f")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _large(n=16_000_000):
    coefficients = lc.LinearRegressor(optimizer="exact").fit(np.eye(3), np.arange(3.0))
    coefficients.coef_ = np.random.RandomState(0).normal(size=n)
    net = nn.Sequential(nn.Linear(4000, n // 4000), nn.Linear(n // 4000, 4000))
    return {"linear": coefficients, "mlp": lt.MLP(4000, 4000, hidden=(n // 4000,)), "into": net}


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="only Linux tells the largest memory")
@pytest.mark.parametrize("name", ["linear", "mlp", "into", "checkpoint"])
def test_loading_takes_twice_the_file_at_most(name, tmp_path):
    path, models = tmp_path / "f", _large()
    model = models["into" if name == "checkpoint" else name]
    if name == "checkpoint":
        lc.save_checkpoint(path, model=model)
        read = lambda: lc.load_checkpoint(path, model=model)  # noqa: E731
    else:
        lc.save(model, path)
        read = lambda: lc.load(path, into=model if name == "into" else None)  # noqa: E731
    del models
    memory = Memory()
    read()
    assert memory.growth() < 2 * path.stat().st_size + 20e6


def test_what_save_accepts_load_accepts(rows, tmp_path, monkeypatch):
    """The limits hold on both sides, so that nobody loses a model."""
    X, y = rows
    monkeypatch.setattr(limits, "MAX_WORK", 100)
    for n, fits in ((10, True), (101, False)):
        model = make_pipeline(OneHotEncoder(sparse_output=False), linear()).fit(np.repeat(X[:, :1], n, axis=1), y)
        if fits:
            lc.save(model, tmp_path / "f")
            lc.load(tmp_path / "f")
            continue
        with pytest.raises(lc.UnsupportedModel, match=r"this Pipeline cannot be stored: .* 100 columns"):
            lc.save(model, tmp_path / "f")
    metadata = {"a": nested(1, 200, random.Random(0))}
    with pytest.raises(lc.UnsupportedModel, match="cannot be stored: the JSON nests deeper than 100"):
        lc.save(lt.MLP(2, 2), tmp_path / "f", metadata=metadata)


def test_a_header_that_save_writes_is_one_that_load_reads(rows, tmp_path, monkeypatch):
    """Both count what is in the header and what is in the manifest inside of it."""
    monkeypatch.setattr(limits, "MEMORY", 30_000)
    model, n = linear().fit(*rows), 0
    with pytest.raises(lc.UnsupportedModel, match="cannot be stored: the JSON has more values"):  # noqa: PT012
        for n in range(0, 2000, 50):
            lc.save(model, tmp_path / "f", metadata={"v": [0] * n})
            lc.load(tmp_path / "f")
    assert n > 0


@pytest.mark.parametrize("depth", [5, 6])
def test_steps_that_nest_are_loaded_or_not_saved(depth, rows, tmp_path):
    X, y = rows
    step = StandardScaler()
    for _ in range(depth - 1):
        step = ColumnTransformer([("inner", step, [0])])
    model = make_pipeline(step, linear()).fit(X, y)
    if depth > limits.MAX_DEPTH_OF_STEPS:
        with pytest.raises(lc.UnsupportedModel, match="this Pipeline cannot be stored: its steps nest deeper than 5"):
            lc.save(model, tmp_path / "f")
    else:
        lc.save(model, tmp_path / "f")
        assert np.array_equal(lc.load(tmp_path / "f").predict(X), model.predict(X))


@pytest.mark.parametrize("drop", [None, "first", "if_binary"])
def test_a_stored_encoder_has_learned_what_the_fitted_one_has(drop):
    X = np.array([["a", 1.0, None], ["b", 2.0, "x"], ["c", np.nan, "y"]], dtype=object)
    _same_after_storing(OneHotEncoder(drop=drop, handle_unknown="ignore" if drop is None else "error").fit(X))


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent"])
def test_a_stored_imputer_has_learned_what_the_fitted_one_has(strategy):
    _same_after_storing(SimpleImputer(strategy=strategy).fit([[1.0, np.nan], [1.0, 4.0], [2.0, 4.0]]))
    if strategy == "most_frequent":
        words = np.array([["a", "b"], ["a", np.nan]], dtype=object)
        _same_after_storing(SimpleImputer(strategy=strategy).fit(words))


def _same_after_storing(step):
    arrays = {}
    config = json.loads(json.dumps(steps.serialize_step(step, "", arrays)))
    again = steps.deserialize_step(config, "", arrays, None)
    assert vars(again).keys() == vars(step).keys()
    for name, value in vars(step).items():
        assert repr(vars(again)[name]) == repr(value), name


# -- what is printed ---------------------------------------------------------------------------------------------------

HOSTILE = "\x1b[2J\x07\u202e\u2066\x9b<script>\ud800\n\r\x85\u2028"


def hostile_codec(manifest):
    next(iter(manifest["arrays"].values()))["codec"] = HOSTILE


@pytest.mark.parametrize(
    "edit",
    [
        hostile_codec,
        at("metadata")({HOSTILE: [HOSTILE]}),
        at("facts")({HOSTILE: {HOSTILE: HOSTILE}}),
        at("versions")({HOSTILE: HOSTILE}),
        at("config", "kind")(HOSTILE),
        at("config", "class")(HOSTILE),
    ],
)
def test_nothing_that_is_shown_of_a_file_is_obeyed(edit, rows, tmp_path):
    (tmp_path / "f").write_bytes(forged(saved(MADE["linear"](*rows), tmp_path), edit))
    found = lc.inspect(tmp_path / "f")
    assert repr(found).replace("\n", "").isprintable()
    assert found._repr_html_().isprintable()
    assert "<script>" not in found._repr_html_()
    for read in (lc.load, lc.load_predictor):
        said = ""
        try:
            said = repr(read(tmp_path / "f"))
        except (lc.CorruptBundle, lc.UnsupportedModel) as error:
            said = str(error)
        assert said.isprintable()


def test_names_of_columns_are_shown_and_quoted_without_what_a_terminal_obeys(rows, tmp_path):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({"a" + HOSTILE[:-10]: pandas.Categorical(["x", "y"] * 20), "b": rows[0][:, 0]})
    options = {"max_iter": 2, "min_samples_leaf": 2, "categorical_features": "from_dtype"}
    lc.save(HistGradientBoostingRegressor(**options).fit(X, rows[1]), tmp_path / "f")
    predictor = lc.load_predictor(tmp_path / "f")
    assert repr(predictor).replace("\n", "").isprintable()
    with pytest.raises(ValueError, match="the model takes the inputs a") as raised:
        predictor.infer_v2({"inputs": [{"name": HOSTILE}]})
    assert str(raised.value).isprintable()


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_file(tmp_path):
    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    parts = [torch.optim.lr_scheduler.LinearLR(optimizer), torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)]
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, parts, [2])
    lc.save_checkpoint(tmp_path / "f", model=net, optimizer=optimizer, scheduler=scheduler)
    return tmp_path / "f", {"model": net, "optimizer": optimizer, "scheduler": scheduler}


def scheduler_entry(name, value):
    def edit(manifest):
        state = manifest["config"]["scheduler"]["state"]
        state["$dict"] = [[k, value if k == name else v] for k, v in state["$dict"]]

    return edit


@pytest.mark.parametrize("value", [3, None, "x", [3], [None], {"$dict": []}, [[]], {"$tuple": [{"$dict": [[3, 1]]}]}])
def test_schedulers_that_are_none_are_refused(value, run_file):
    path, parts = run_file
    path.write_bytes(forged(path.read_bytes(), scheduler_entry("_schedulers", value)))
    before = str(parts["scheduler"].state_dict())
    with pytest.raises(ValueError, match="scheduler"):
        lc.load_checkpoint(path, **parts)
    assert str(parts["scheduler"].state_dict()) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("last_epoch", "x"), ("last_epoch", [1]), ("_milestones", 3), ("_milestones", ["x"]), ("_last_lr", [0.1, 0.2])],
)
def test_values_that_a_scheduler_cannot_have_are_refused(name, value, run_file):
    """They would fail at a later step."""
    path, parts = run_file
    path.write_bytes(forged(path.read_bytes(), scheduler_entry(name, value)))
    before = str(parts["scheduler"].state_dict())
    with pytest.raises(ValueError, match=f"scheduler.*{name}"):
        lc.load_checkpoint(path, **parts)
    assert str(parts["scheduler"].state_dict()) == before


@pytest.mark.parametrize("position", [-5, 625, 10**6, 2.0, None])
def test_numpy_s_generator_reads_nothing_beyond_its_key(position, run_file):
    """numpy does not check the position: a later draw read other memory, or ended the process."""
    path, parts = run_file

    def edit(manifest):
        random_state = dict(manifest["config"]["random"]["$dict"])
        random_state["numpy"]["$tuple"][2] = position

    path.write_bytes(forged(path.read_bytes(), edit))
    with pytest.raises(lc.CorruptBundle, match=r"generator|does not describe"):
        lc.load_checkpoint(path, **parts)
