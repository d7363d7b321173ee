"""The format of files, byte by byte: what is written, what is refused, and how much memory either takes."""

import errno
import hashlib
import io
import json
import math
import os
import re
import struct
import tempfile
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import lifecycle as lc
from lifecycle.codecs import list_codecs
from lifecycle.store import bundle, bundle_reader, files, header, json_memory, limits, sections
from lifecycle.store.adapters import _ADAPTER_OF_KIND, CHECKPOINT

from .forged_files import digests_of, forged, joined, parts_of, signed
from .mutated_files import Memory

CONFIG = {"kind": "linear.estimator", "class": "LinearRegressor"}
ARRAYS = {
    "matrix": np.arange(6.0).reshape(2, 3),
    "scalar": np.array(2.5, np.float32),
    "empty": np.zeros((0, 3), np.int16),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "truth": np.array([True, False, True]),
    "big-endian": np.arange(1, 4, dtype=">i4"),
    "é": np.array([[[-0.0]]], np.float16),
    **{dtype: np.ones(5, dtype) for dtype in header.DTYPES},
}


def write(path, arrays=ARRAYS, *, small=False, metadata=None, **options):
    bundle.write(path, CONFIG, arrays, metadata, small=small, **options)
    return path.read_bytes()


def read(path):
    with bundle_reader.reading(path.name, "a model"):
        return bundle_reader.read(path)


# -- what is written ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [False, True])
def test_arrays_come_back_as_aligned_views_of_the_bytes_that_were_read(tmp_path, small):
    zeros = {"zeros": np.array([0.0] * 90 + [1.0]), "codes": np.arange(-7, 8, dtype=np.int8)}
    write(tmp_path / "f", ARRAYS | zeros, small=small)
    stored = read(tmp_path / "f")
    names, data = dict(stored.manifest["arrays"]), stored.data
    for name, array in bundle_reader.arrays_of(stored).items():
        expected = (ARRAYS | zeros)[name]
        native = expected.astype(expected.dtype.newbyteorder("="))
        assert (array.dtype, array.shape, array.tobytes()) == (native.dtype, native.shape, native.tobytes()), name
        assert array.flags.writeable
        assert array.flags.aligned
        if names[name]["codec"] is None and array.size:
            assert np.shares_memory(array, data)


def test_the_file_is_safetensors_whose_parts_are_aligned(tmp_path):
    data = write(tmp_path / "f", graph=b"abc")
    entries, _, tensors = parts_of(data)
    for name, array in load_file(tmp_path / "f").items():
        assert np.array_equal(array, ARRAYS.get(name, np.frombuffer(b"abc", np.uint8)))
    del entries["__metadata__"]
    start = len(data) - len(tensors)
    assert start % 64 == 0
    assert data[8:start].decode("ascii").rstrip(" ").endswith("}")
    sizes = {name: np.dtype(header._STORED_DTYPES[entry["dtype"]]).itemsize for name, entry in entries.items()}
    assert list(entries) == sorted(entries, key=lambda name: (-sizes[name], name))
    assert all(entry["data_offsets"][0] % sizes[name] == 0 for name, entry in entries.items())


def test_digests_are_those_of_sha256sum(tmp_path, monkeypatch):
    monkeypatch.setattr(sections, "PIECE", 16)
    data = write(tmp_path / "f")
    entries, manifest, tensors = parts_of(data)
    del entries["__metadata__"]
    assert list(manifest["sections"]) == list(entries)
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        cuts = [*range(begin, end, 16), end] if end > begin else [begin, end]
        expected = [hashlib.sha256(tensors[a:b]).hexdigest() for a, b in pairwise(cuts)]
        assert manifest["sections"][name] == expected
    prefix = b'{"__metadata__":{"lifecycle":"{\\"sha256\\":\\"'
    assert data[8:].startswith(prefix + manifest["sha256"].encode())
    without = data[: len(data) - len(tensors)].replace(manifest["sha256"].encode(), b"0" * 64, 1)
    assert hashlib.sha256(without).hexdigest() == manifest["sha256"]
    assert read(tmp_path / "f").manifest == manifest
    assert lc.inspect(tmp_path / "f").sha256 == hashlib.sha256(data).hexdigest()


@given(st.lists(st.integers(0, 100), max_size=30))
def test_groups_hold_every_piece_once_and_reach_the_size(sizes):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sections, "PIECE", 64)
        groups = sections.groups(sizes)
    assert [k for group in groups for k in group] == list(range(len(sizes)))
    assert all(sum(sizes[k] for k in group) >= 64 for group in groups[:-1])
    assert all(sum(sizes[k] for k in group[:-1]) < 64 for group in groups)


def test_names_that_no_array_may_have(tmp_path):
    names = ["graph.onnx", "__metadata__", "", "x" * 1001, "a\x1b[2J", "a\nb", "a\0", "\ud800"]
    for arrays in [{name: np.ones(2)} for name in names] + [{"a": np.eye(40), "a:bits": np.ones(2)}]:
        with pytest.raises(lc.UnsupportedModel, match="cannot be stored: names print") as raised:
            write(tmp_path / "f", arrays, small=True)
        assert str(raised.value).isprintable()
    assert not (tmp_path / "f").exists()
    write(tmp_path / "f", {"x" * 1000: np.ones(2)})
    assert list(read(tmp_path / "f").tensors) == ["x" * 1000]


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="only Linux tells the largest memory")
@pytest.mark.parametrize("small", [False, True])
def test_writing_takes_no_memory_beside_the_arrays_and_reading_once_the_file(tmp_path, small):
    arrays = {name: np.random.default_rng(0).random(8_000_000, np.float32) for name in "abcd"}
    memory = Memory()
    bundle.write(tmp_path / "f", CONFIG, arrays, None, small=small)
    assert memory.growth() < 8e6
    memory = Memory()
    bundle_reader.arrays_of(read(tmp_path / "f"))
    assert memory.growth() < 128e6 + 8e6


# -- a graph and facts -------------------------------------------------------------------------------------------------

FACTS = {
    "inputs": [{"name": "x", "shape": ["rows", 3]}],
    "certificate": {"upper_bound": 0.0097, "holds": True, "of": {"metric": "accuracy", "rows": None}},
    "note": "as measured",
    "empty": {},
}


@pytest.fixture
def model_file(tmp_path):
    """A model's file with a graph and facts, and the model."""
    X = np.eye(3)
    model = lc.LinearRegressor(optimizer="exact").fit(X, np.arange(3.0))
    lc.save(model, tmp_path / "plain")
    stored = read(tmp_path / "plain")
    config, arrays = stored.manifest["config"], bundle_reader.arrays_of(stored)
    bundle.write(tmp_path / "f", config, arrays, {"a": 1}, small=True, graph=b"\x08\x09graph", facts=FACTS)
    return tmp_path / "f", model


def test_a_graph_and_facts_are_stored_beside_the_model(model_file):
    path, model = model_file
    assert np.array_equal(lc.load(path).predict(np.eye(3)), model.predict(np.eye(3)))
    stored = read(path)
    assert bundle_reader.graph_of(stored) == b"\x08\x09graph"
    assert "graph.onnx" not in bundle_reader.arrays_of(stored)
    assert bundle_reader.graph_of(stored) == b"\x08\x09graph"
    assert stored.manifest["facts"] == FACTS
    plain = read(path.with_name("plain"))
    assert (bundle_reader.graph_of(plain), plain.manifest["facts"]) == (None, None)
    assert bundle_reader.graph_of(read(Path(__file__).parent / "files" / "mlp.safetensors")) is None


def test_inspect_shows_the_graph_and_facts(model_file):
    path, _ = model_file
    found = lc.inspect(path)
    assert (found.graph_bytes, found.facts, found.metadata) == (7, FACTS, {"a": 1})
    lines = repr(found).splitlines()
    assert "graph       ONNX, 7 bytes" in lines
    begin = lines.index("facts")
    assert lines[begin + 1 : begin + 8] == [
        '  inputs: [{"name": "x", "shape": ["rows", 3]}]',
        "  certificate.upper_bound: 0.0097",
        "  certificate.holds: true",
        "  certificate.of.metric: accuracy",
        "  certificate.of.rows: null",
        "  note: as measured",
        "  empty: {}",
    ]
    assert "<caption>facts</caption>" in found._repr_html_()
    assert "certificate.upper_bound</th>" in found._repr_html_()
    plain = lc.inspect(path.with_name("plain"))
    assert (plain.graph_bytes, plain.facts) == (None, {})
    assert "facts" not in repr(plain) + plain._repr_html_()


def test_facts_fill_no_screen(tmp_path):
    write(tmp_path / "f", facts={"a": {f"\x1b{i}": "x" * 1000 for i in range(1000)}})
    text = repr(lc.inspect(tmp_path / "f"))
    assert text.replace("\n", "").isprintable()
    assert text.count("\n") < 250
    assert "only the first 200 are shown" in text
    assert max(map(len, text.splitlines())) < 500


def test_what_is_no_graph_and_what_are_no_facts(tmp_path):
    for graph in ("text", b"", np.zeros(3, np.uint8), bytearray(b"abc")):
        with pytest.raises(TypeError, match="graph must be the bytes of an ONNX graph"):
            write(tmp_path / "f", graph=graph)
    for facts, sentence in [
        ({"a": float("nan")}, "facts must be JSON"),
        ({"a": {1, 2}}, "facts must be JSON"),
        ({1: 2}, "the keys of a dict are strings"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            write(tmp_path / "f", facts=facts)
    deep = {}
    for _ in range(200):
        deep = {"a": deep}
    with pytest.raises(lc.UnsupportedModel, match="nests deeper than 100 levels"):
        write(tmp_path / "f", facts=deep)
    assert not (tmp_path / "f").exists()


# -- headers that are refused ------------------------------------------------------------------------------------------


def at(*path):
    def to(value):
        def edit(node):
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value

        return edit

    return to


def swapped(entries):
    a, b = "float64", "int64"
    entries[a]["data_offsets"], entries[b]["data_offsets"] = entries[b]["data_offsets"], entries[a]["data_offsets"]


def renamed(name):
    def edit(entries):
        entries[name] = entries.pop("float64")

    return edit


HUGE = [0, 2**62, 2**62]
# name: (edit of the header's entries, what the error says); digests fit
HEADERS = {
    "an unknown field": (at("int8", "x")(1), "the entry of int8 is malformed"),
    "a missing field": (lambda e: e["int8"].pop("shape"), "the entry of int8 is malformed"),
    "no entry": (at("int8")([1]), "the entry of int8 is malformed"),
    "another dtype": (at("int8", "dtype")("BF16"), "int8 is of a dtype that this library does not store"),
    "a dtype that is no text": (at("int8", "dtype")(["I8"]), "int8 is of a dtype"),
    "a dtype of another size": (at("int8", "dtype")("I64"), "the place of int8 does not fit its shape and dtype"),
    "a shape that is too large": (at("int8", "shape")([6]), "the place of int8 does not fit"),
    "a negative shape": (at("int8", "shape")([-5]), "the shape of int8 is malformed"),
    "two negative shapes": (at("int8", "shape")([-5, -1]), "the shape of int8 is malformed"),
    "a truth value in a shape": (at("int8", "shape")([5, True]), "the shape of int8 is malformed"),
    "a fraction in a shape": (at("int8", "shape")([5.0]), "the shape of int8 is malformed"),
    "a shape of text": (at("int8", "shape")("5"), "the shape of int8 is malformed"),
    "65 dimensions": (at("int8", "shape")([5] + [1] * 64), "the shape of int8 is malformed"),
    "an empty shape that no array has": (at("empty", "shape")(HUGE), "the shape of empty is malformed"),
    "places that overlap": (lambda e: at("int8", "data_offsets", 0)(e["int8"]["data_offsets"][0] - 1)(e), "int8"),
    "a gap": (lambda e: at("int8", "data_offsets", 0)(e["int8"]["data_offsets"][0] + 1)(e), "int8"),
    "places that are moved": (lambda e: at("int8", "data_offsets")([0, 5])(e), "int8 does not begin where"),
    "places in another order": (swapped, "does not begin where the tensor before it ends"),
    "entries in another order": (lambda e: e.update(float64=e.pop("float64")), "does not begin where"),
    "a negative place": (at("int8", "data_offsets")([-5, 0]), "the place of int8"),
    "an end before its begin": (at("int8", "data_offsets")([10, 5]), "the place of int8"),
    "a place of 2^70": (at("int8", "data_offsets")([2**70, 2**70 + 5]), "the place of int8"),
    "a truth value in a place": (at("int8", "data_offsets", 0)(False), "the place of int8 is malformed"),
    "three places": (at("int8", "data_offsets")([0, 1, 2]), "the place of int8 is malformed"),
    "a name that does not print": (renamed("a\x1b[2J"), "is empty, too long, or does not print"),
    "an empty name": (renamed(""), "is empty, too long, or does not print"),
    "a long name": (renamed("x" * 1001), "is empty, too long, or does not print"),
    "metadata that is no text": (at("__metadata__", "x")(1), "not made of strings"),
    "more metadata": (at("__metadata__", "x")("y"), "its metadata holds more than the manifest"),
}


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "original", graph=b"abc", facts={"a": 1})


def refused(path, data, sentence):
    path.write_bytes(data)
    with pytest.raises(lc.CorruptBundle, match=sentence) as raised:
        lc.inspect(path)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) <= limits.MAX_MESSAGE + 100


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_are_refused(name, data, tmp_path):
    edit, sentence = HEADERS[name]
    entries, manifest, tensors = parts_of(data)
    edit(entries)
    refused(tmp_path / "f", joined(entries, manifest, tensors), sentence)


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_format_1_that_are_refused(name, data, tmp_path):
    """But for the order of the entries, which format 1 leaves open."""
    edit, sentence = HEADERS[name]
    entries, manifest, tensors = without_graph(*parts_of(data))
    manifest = {k: v for k, v in manifest.items() if k not in ("graph", "facts", "sections")} | {"format": 1}
    path = tmp_path / "f"
    path.write_bytes(joined(entries, manifest, tensors))
    lc.inspect(path)
    edit(entries)
    if "another order" in name:
        path.write_bytes(joined(entries, manifest, tensors))
        assert np.array_equal(read(path).tensors["int8"], ARRAYS["int8"])
    else:
        refused(path, joined(entries, manifest, tensors), sentence.removeprefix("int8 does"))


def without_graph(entries, manifest, tensors):
    begin, end = entries.pop("graph.onnx")["data_offsets"]
    for name, entry in entries.items():
        if name != "__metadata__" and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [n - (end - begin) for n in entry["data_offsets"]]
    return entries, manifest, tensors[:begin] + tensors[end:]


# name: (edit of the text of the header, what the error says)
TEXTS = {
    "a key twice": (lambda h: h[:-1] + b',"int8":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}', "occurs twice"),
    "a field twice": (lambda h: h.replace(b'{"dtype":"I8"', b'{"dtype":"I8","dtype":"I8"'), "occurs twice"),
    "no UTF-8": (lambda h: h.replace(b"int8", b"int\xff"), "not a valid safetensors file"),
    "a long form of UTF-8": (lambda h: h.replace(b"int8", b"int\xc0\xb8"), "not a valid safetensors file"),
    "NaN": (lambda h: h.replace(b'"shape":[5]', b'"shape":[NaN]', 1), "NaN is not JSON"),
    "infinity": (lambda h: h.replace(b'"shape":[5]', b'"shape":[1e999]', 1), "1e999 is not JSON"),
    "text behind the end": (lambda h: h + b" {}", "not a valid safetensors file"),
    "no end": (lambda h: h[:-1], "not a valid safetensors file"),
    "a number of 5,000 digits": (lambda h: h.replace(b"[5]", b"[" + b"9" * 5000 + b"]", 1), "malformed"),
    "deep": (lambda h: h.replace(b'"shape":[5]', b'"shape":' + b"[" * 10**5 + b"]" * 10**5, 1), "nests deeper"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_headers_that_are_refused(name, data, tmp_path):
    edit, sentence = TEXTS[name]
    refused(tmp_path / "f", forged(data, lambda m: None, edit), sentence)


def sections_of(edit):
    return lambda m: edit(m["sections"])


HEX = "0" * 64
# name: (edit of the manifest, what the error says); the digests that it leaves fit
MANIFESTS = {
    "an unknown field": (at("x")(1), "its fields are not those of format 2"),
    "no facts": (lambda m: m.pop("facts"), "its fields are not those of format 2"),
    "no sections": (lambda m: m.pop("sections"), "its fields are not those of format 2"),
    "facts of a list": (at("facts")([1]), "its facts are no object"),
    "a field of an array": (at("arrays", "int8", "x")(1), "other fields than those of format 2"),
    "versions of numbers": (at("versions", "numpy")(2), "the versions are not strings"),
    "a name of an array that does not print": (
        lambda m: m["arrays"].update({"a\n": m["arrays"].pop("int8")}),
        "is empty, too long, or does not print",
    ),
    "an entry that is no object": (at("arrays", "int8")("x"), "the entry of int8 is malformed"),
    "an array without a shape": (lambda m: m["arrays"]["int8"].pop("shape"), "the entry of int8 is malformed"),
    "parts of a list": (at("arrays", "int8", "parts")(["int8"]), "the parts of int8 are malformed"),
    "a part of a number": (at("arrays", "int8", "parts", "")(1), "the parts of int8 are malformed"),
    "an array twice": (lambda m: m["arrays"].update(again=m["arrays"]["int8"]), "does not list the arrays"),
    "a tensor that is no array": (lambda m: m["arrays"].pop("int8"), "does not list the arrays"),
    "no graph": (at("graph")(None), "does not list the arrays"),
    "another graph": (at("graph")("int8"), "the graph is malformed"),
    "a graph that is an array": (
        lambda m: m["arrays"].update({"graph.onnx": m["arrays"].pop("uint8")}),
        "the graph is malformed",
    ),
    "sections of a list": (at("sections")([]), "not the tensors of the file"),
    "a section less": (sections_of(lambda s: s.pop("int8")), "not the tensors of the file"),
    "a section more": (sections_of(lambda s: s.update(more=[HEX])), "not the tensors of the file"),
    "sections in another order": (sections_of(lambda s: s.update(int8=s.pop("int8"))), "not the tensors of the file"),
    "two digests": (sections_of(lambda s: s["int8"].append(HEX)), "int8 has 1 pieces, and another number of digests"),
    "no digest": (sections_of(lambda s: s["empty"].clear()), "empty has 1 pieces"),
    "a digest of letters": (sections_of(at("int8", 0)("x" * 64)), "a digest of int8 is malformed"),
    "a digest in capitals": (sections_of(lambda s: at("int8", 0)(s["int8"][0].upper())(s)), "a digest of int8"),
    "a digest of a number": (sections_of(at("int8", 0)(0)), "a digest of int8 is malformed"),
    "another digest": (sections_of(at("int8", 0)(HEX)), "was altered after it was saved: the checksum of int8 differs"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_that_are_refused(name, data, tmp_path):
    edit, sentence = MANIFESTS[name]
    entries, manifest, tensors = parts_of(data)
    edit(manifest)
    refused(tmp_path / "f", joined(entries, manifest, tensors, right_sections=False), sentence)


def test_a_graph_that_is_not_made_of_bytes(data, tmp_path):
    entries, manifest, tensors = parts_of(data)
    entries["graph.onnx"]["dtype"] = "I8"
    refused(tmp_path / "f", joined(entries, manifest, tensors), "the graph is not made of bytes")


def test_truth_values_are_stored_as_0_and_1(tmp_path):
    write(tmp_path / "f", {"truth": np.array([0, 2, 255], np.uint8).view(bool)})
    assert read(tmp_path / "f").tensors["truth"].view(np.uint8).tolist() == [0, 1, 1]


def test_a_truth_value_that_is_neither_true_nor_false(data, tmp_path):
    entries, manifest, tensors = parts_of(data)
    begin, _ = entries["truth"]["data_offsets"]
    tensors = tensors[:begin] + b"\2" + tensors[begin + 1 :]
    refused(tmp_path / "f", joined(entries, manifest, tensors), "truth of f holds a truth value")


def test_headers_that_are_not_aligned(data, tmp_path):
    entries, manifest, tensors = parts_of(data)
    manifest["sections"] = digests_of(entries, tensors)
    entries["__metadata__"]["lifecycle"] = json.dumps(manifest, separators=(",", ":"))
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64 + 8)
    refused(tmp_path / "f", signed(struct.pack("<Q", len(text)) + text + tensors, 2), "the header of f is malformed")
    manifest["format"] = 1
    entries["__metadata__"]["lifecycle"] = json.dumps(manifest, separators=(",", ":"))
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8 + 4)
    refused(tmp_path / "f", signed(struct.pack("<Q", len(text)) + text + tensors, 1), "is not aligned")


def test_the_expected_digest_is_compared_before_anything_is_used(data, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_reader, "_digest_and_version", None)
    (tmp_path / "f").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    with pytest.raises(lc.CorruptBundle, match=f"is not the file you expect: its sha256 is {digest}"):
        lc.load(tmp_path / "f", sha256="0" * 64)


def test_load_hashes_the_whole_file_only_when_asked(model_file, monkeypatch):
    path, _ = model_file
    digest = lc.inspect(path).sha256
    monkeypatch.setattr(bundle_reader, "_continued", lambda *_: 1 / 0)
    lc.load(path)
    with pytest.raises(lc.CorruptBundle, match="division by zero"):
        lc.load(path, sha256=digest)


# -- how much memory JSON may ask for ----------------------------------------------------------------------------------

N = 30_000
VALUES = {
    "lists": "[" + "[]," * N + "0]",
    "dicts": "[" + "{}," * N + "0]",
    "dicts of one key": "[" + '{"":0},' * N + "0]",
    "dicts of six keys": "[" + '{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0},' * N + "0]",
    "one dict": "{" + ",".join(f'"{i}":0' for i in range(N)) + "}",
    "dicts of other keys": "[" + ",".join(f'{{"{i}":0}}' for i in range(N)) + "]",
    "nested dicts": "[" + ('{"":' * 50 + "0" + "}" * 50 + ",") * (N // 50) + "0]",
    "nested lists": "[" + ("[" * 50 + "0" + "]" * 50 + ",") * (N // 50) + "0]",
    "digits": "[" + "0," * N + "0]",
    "integers": "[" + "1234," * N + "0]",
    "long integers": "[" + ",".join(str(10 ** (i % 40)) for i in range(N)) + "]",
    "numbers": "[" + "1e9," * N + "0]",
    "letters": "[" + '"a",' * N + "0]",
    "words": "[" + '"ab",' * N + "0]",
    "a string": '["' + "x" * 10 * N + '"]',
    "a string of escapes": '["' + 'x\\"' * 10 * N + '"]',
    "a string with one wide letter": '["' + "x" * 10 * N + '\\ud83d\\ude00"]',
    "a wide text": '["' + "x" * 10 * N + '😀"]',
}


@pytest.mark.parametrize("name", VALUES)
def test_json_takes_no_more_memory_than_was_counted(name):
    text, allowance = VALUES[name], 10**9
    low, high = 0, allowance  # the smallest allowance that is enough
    while high - low > 1:
        middle = (low + high) // 2
        try:
            json_memory.check_json(text, middle)
            high = middle
        except limits.ExceedsLimit:
            low = middle
    tracemalloc.start()
    value, _ = header.parse_json(text if text[0] == "{" else f'{{"a":{text}}}', allowance)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert value
    assert peak < high + 1e6


json_texts = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('a\\"é😀[]{},:'), max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.sampled_from('a\\"{[:'), max_size=4), inner),
    max_leaves=30,
)


def depth_of(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def wide_characters(value):
    if isinstance(value, str):
        return len(json.dumps(value)) - 2 if not value.isascii() else 0
    keys = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(wide_characters, keys))


@settings(deadline=None, max_examples=300)
@given(value=json_texts, chunk=st.integers(1, 30), separators=st.sampled_from([(",", ":"), (", ", ": ")]))
def test_depth_and_values_are_counted_in_chunks_of_any_size(value, chunk, separators):
    counts = []
    add = json_memory._Count.bytes_of_values
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_memory, "_CHUNK", chunk)
        patched.setattr(json_memory._Count, "bytes_of_values", lambda self: counts.append(self) or add(self))
        text = json.dumps(value, separators=separators)
        json_memory.check_json(text, 10**9)
        for deeper in (0, 1):
            patched.setattr(json_memory, "MAX_DEPTH", max(depth_of(value) - deeper, 0))
            if deeper and depth_of(value):
                with pytest.raises(limits.ExceedsLimit, match="nests deeper"):
                    json_memory.check_json(text, 10**9)
            else:
                json_memory.check_json(text, 10**9)
    found = counts[0]
    bare = json.dumps(value, separators=(",", ":"))
    strings = [bare[a:b] for a, b in spans_of_strings(bare)]
    outside = bare
    for string in strings:
        outside = outside.replace(string, "", 1)
    assert (found.dicts, found.lists, found.commas, found.colons) == tuple(map(outside.count, "{[,:"))
    assert found.quotes == 2 * len(strings)
    assert found.wide <= wide_characters(value)


def spans_of_strings(text):
    """Begin and end of each string of a JSON text, one character after the other."""
    begin, k = None, 0
    while k < len(text):
        if text[k] == "\\":
            k += 1
        elif text[k] == '"' and begin is None:
            begin = k
        elif text[k] == '"':
            yield begin, k + 1
            begin = None
        k += 1


HOSTILE = {
    "lists": (b"[" + b"[]," * 4 * 10**6 + b"0]", "more values"),
    "dicts": (b"[" + b'{\\"\\":0},' * 10**6 + b"0]", "more values"),
    "keys": (b"{" + ",".join(f'\\"{i}\\":0' for i in range(10**6)).encode() + b"}", "more values"),
    "a string": (b'\\"' + b"x" * 40_000_000 + b'\\"', None),
    "a wide string": (b'\\"' + b"x" * 40_000_000 + b'\\\\ud83d\\\\ude00\\"', "longer strings"),
    "a wide header": (b'\\"' + b"x" * 40_000_000 + "😀".encode() + b'\\"', "too long for letters that are not ASCII"),
    "spaces": (b" " * 40_000_000 + b"0", None),
}


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="only Linux tells the largest memory")
@pytest.mark.parametrize("name", HOSTILE)
def test_reading_takes_twice_the_file_and_16_mb_at_most(name, data, tmp_path):
    text, sentence = HOSTILE[name]
    mark = b'\\"metadata\\":null'
    path = tmp_path / "f"
    path.write_bytes(forged(data, lambda m: None, lambda h: h.replace(mark, b'\\"metadata\\":{\\"a\\":' + text + b"}")))
    memory = Memory()
    found = ""
    try:
        read(path)
    except lc.CorruptBundle as error:
        found = str(error)
    assert memory.growth() < 2 * path.stat().st_size + limits.MEMORY
    assert (sentence or "") in found
    assert bool(found) == bool(sentence)


# -- files and folders that cannot be written to or read ---------------------------------------------------------------


def test_a_folder_is_no_file(tmp_path):
    for call in (lc.load, lc.inspect):
        with pytest.raises(IsADirectoryError, match="is a folder; give the path of a file"):
            call(tmp_path)
    with pytest.raises(IsADirectoryError, match="is a folder; give the path of a file"):
        write(tmp_path)


class FullDisk(io.BytesIO):
    """A file on a disk without room."""

    def __init__(self, code):
        super().__init__()
        self.code = code

    def write(self, data):
        raise OSError(self.code, os.strerror(self.code))

    def writelines(self, buffers):
        for buffer in buffers:
            self.write(buffer)


@pytest.mark.parametrize(("code", "sentence"), [("ENOSPC", "the disk is full"), ("EDQUOT", "the quota of the disk is")])
def test_a_full_disk_leaves_the_old_file(code, sentence, tmp_path, monkeypatch):
    before = write(tmp_path / "f")
    create = files._create_temporary

    def create_on_a_full_disk(path):
        temporary, file = create(path)
        file.close()
        return temporary, FullDisk(getattr(errno, code))

    monkeypatch.setattr(files, "_create_temporary", create_on_a_full_disk)
    with pytest.raises(OSError, match=f"{sentence}.*: .*f was not written") as raised:
        write(tmp_path / "f", {"a": np.ones(3)})
    assert raised.value.errno == getattr(errno, code)
    assert (tmp_path / "f").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_a_full_device():
    with pytest.raises(OSError, match="the disk is full: /dev/full was not written"):
        bundle.write(Path("/dev/full"), CONFIG, ARRAYS, None, small=False)


@pytest.mark.skipif(os.name != "posix", reason="modes of folders are those of POSIX")
def test_a_read_only_folder():
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o555)
    root = os.geteuid() == 0  # who may write everywhere
    try:
        if root:
            os.seteuid(65534)
        with pytest.raises(PermissionError, match=r"f was not written: .* is a read-only folder"):
            write(Path(folder) / "f")
    finally:
        if root:
            os.seteuid(0)
        os.rmdir(folder)


def appended(path):
    with open(path, "ab") as file:
        file.write(b"x")


def truncated(path):
    os.truncate(path, path.stat().st_size - 100)


def rewritten(path):
    data = path.read_bytes()
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [appended, truncated, rewritten])
def test_a_file_that_changes_while_it_is_read(change, model_file, monkeypatch):
    path, _ = model_file
    fill = bundle_reader._File.fill

    def changing(self, begin, end):
        if begin == 0:
            change(path)
        fill(self, begin, end)

    monkeypatch.setattr(bundle_reader._File, "fill", changing)
    with pytest.raises(lc.CorruptBundle, match="f changed while it was read: read it again once nobody writes to it"):
        lc.load(path)


def test_the_sizes_of_shapes():
    for shape, fits in [([2**58, 2], True), ([2**59, 2], False), ([0, 2**59], True), ([0, 2**60], False), ([], True)]:
        if fits:
            assert math.prod(header.check_shape("a", shape)) == math.prod(shape)
        else:
            with pytest.raises(ValueError, match="the shape of a is malformed"):
                header.check_shape("a", shape)


# -- the page about the format -----------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[1] / "docs" / "format.md"
FROZEN = Path(__file__).parent / "files" / "format2" / "with-graph.safetensors"


def test_the_reader_of_the_page_reads_what_we_write(tmp_path):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    names = {}
    exec(compile(code, "format.md", "exec"), names)
    write(tmp_path / "f", graph=b"abc", facts={"a": 1})
    large = {"large": np.random.default_rng(0).integers(0, 256, 2**25 + 3, np.uint8)}
    write(tmp_path / "large", large)
    for path in [tmp_path / "f", tmp_path / "large", *FROZEN.parent.glob("*.safetensors")]:
        manifest, tensors = names["read"](path)
        ours = read(path)
        assert manifest == ours.manifest
        assert list(tensors) == list(ours.tensors)
        for name, tensor in tensors.items():
            assert (tensor.dtype, tensor.shape) == (ours.tensors[name].dtype, ours.tensors[name].shape)
            assert tensor.tobytes() == ours.tensors[name].tobytes(), name
    assert [len(digests) for digests in read(tmp_path / "large").manifest["sections"].values()] == [3]
    data = bytearray((tmp_path / "f").read_bytes())
    for place in range(0, len(data), 13):
        data[place] ^= 1
        (tmp_path / "f").write_bytes(data)
        with pytest.raises((AssertionError, KeyError, ValueError)):
            names["read"](tmp_path / "f")
        data[place] ^= 1


def test_the_page_names_tests_that_exist():
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    assert len(named) > 15
    assert {name for name in named if f"def {name}(" not in tests} == set()


def test_the_page_lists_fields_kinds_and_codecs():
    text = PAGE.read_text(encoding="utf-8")
    fields = re.search(r"exactly these fields:\n\n(.*?)\n\n", text, re.DOTALL)[1]
    assert re.findall(r"^\| `(\w+)`", fields, re.MULTILINE) == list(read(FROZEN).manifest)
    kinds = set(re.findall(r"`([\w.]+)`", text))
    assert set(_ADAPTER_OF_KIND) | {CHECKPOINT} <= kinds
    assert {name for name, codec in list_codecs().items() if codec.LOSSLESS} <= kinds
    assert {f"`{stored}`" for stored in header.DTYPES.values()} <= set(re.findall(r"`\w+`", text))
