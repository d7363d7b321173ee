"""lifecycle predict: the formats of files, and their chunks, which change nothing but the memory."""

import io
import os
import re
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import lifecycle as lc
from lifecycle.cli import main, row_files
from lifecycle.cli.prediction import predict
from lifecycle.cli.prediction_files import as_csv, write_predictions
from lifecycle.cli.table_dataset import preprocessing_pipeline

from .csv_files import written

pandas = pytest.importorskip("pandas")


def small_chunks(monkeypatch, block=1000, chunk=7):
    monkeypatch.setattr(row_files, "BLOCK", block)
    monkeypatch.setattr(row_files, "CHUNK", chunk)


@pytest.fixture
def saved(tmp_path):
    """Save a model, and give what predicts with its file: the arguments of the command line, and the exit status."""

    def save(model, **options):
        lc.save(model, tmp_path / "model", **options)
        return lambda data, *out: main(["predict", str(tmp_path / "model"), str(tmp_path / data), *out])

    return save


@pytest.fixture
def table():
    """Rows with numbers, words, holes and quotes, a pipeline that was trained on them, and its labels."""
    rng = np.random.default_rng(0)
    n = 300
    frame = pandas.DataFrame({
        "size": rng.normal(size=n).round(3),
        "site, side": rng.choice(['north "n"', "south; s", "line\nbreak"], n),
        "area": rng.integers(1, 5000, n) * 1.5,
    })  # fmt: skip
    frame.iloc[::9, 0] = np.nan
    frame.iloc[::11, 1] = None
    frame["site, side"] = frame["site, side"].astype(object)
    y = np.where(frame["area"] > 3000, "large, 1", "small")
    model = preprocessing_pipeline(
        ["size", "area"], ["site, side"], DecisionTreeClassifier(max_depth=4, random_state=0)
    )
    return frame, model.fit(frame, y)


def test_chunks_and_formats_change_nothing(table, saved, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    frame, model = table
    predicted = saved(model)
    frame.to_csv(tmp_path / "points.csv", index=False)
    frame.to_csv(tmp_path / "commas.csv", index=False, sep=";", decimal=",", lineterminator="\r\n", encoding="utf-16")
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=70)
    expected = pandas.DataFrame({"prediction": model.predict(frame)})
    for label, p in zip(model.classes_, model.predict_proba(frame).T, strict=True):
        expected[f"probability of {label}"] = p
    expected.to_csv(tmp_path / "expected", index=False)
    for name in ("points.csv", "commas.csv", "rows.parquet"):
        for k in range(2):
            if k:
                small_chunks(monkeypatch)
            assert predicted(name, "--out", str(tmp_path / f"{name}{k}")) == 0
            assert (tmp_path / f"{name}{k}").read_bytes() == (tmp_path / "expected").read_bytes()
        monkeypatch.undo()


def test_arrays_are_taken_in_the_order_of_training(saved, tmp_path, monkeypatch):
    X, y = load_breast_cancer(return_X_y=True)
    frame = pandas.DataFrame(X).rename(columns=str)
    small_chunks(monkeypatch)
    for rows in (X, frame):
        model = DecisionTreeRegressor(max_depth=4, random_state=0).fit(rows, y.astype(float))
        predicted = saved(model)
        for array in (X, np.asfortranarray(X), X.astype(">f8"), X.astype(np.float32)):
            np.save(tmp_path / "rows.npy", array)
            assert predicted("rows.npy", "--out", str(tmp_path / "out.npy")) == 0
            like_rows = array if rows is X else pandas.DataFrame(array).rename(columns=str)
            np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), model.predict(like_rows))
    np.save(tmp_path / "rows.npy", X[:, 1:])
    assert predicted("rows.npy") == 2


def test_predictions_come_back_from_every_format(saved, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    small_chunks(monkeypatch)
    X, y = load_iris(return_X_y=True)
    pandas.DataFrame(X).to_csv(tmp_path / "rows.csv", index=False)
    out = {suffix: tmp_path / f"out.{suffix}" for suffix in ("csv", "parquet", "npy")}
    words = np.array(["setosa", "versicolor", "größte Blüte 花"], dtype=object)[y]
    for labels in (y, y == 1, y.astype(float), words):
        tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, labels)
        predicted = saved(tree)
        for path in out.values():
            assert predicted("rows.csv", "--out", str(path)) == 0
        found, array = pandas.read_parquet(out["parquet"]), np.load(out["npy"])
        np.testing.assert_array_equal(found["prediction"], tree.predict(X))
        np.testing.assert_array_equal(found.iloc[:, 1:], tree.predict_proba(X))
        assert list(array.dtype.names) == list(found.columns)
        for name in found:
            np.testing.assert_array_equal(array[name], found[name])
        pandas.testing.assert_frame_equal(pandas.read_csv(out["csv"]), found, check_dtype=False)
    for targets in (y, np.stack([y, 1 - y], axis=1)):
        tree = DecisionTreeRegressor(max_depth=3, random_state=0).fit(X, targets)
        predicted = saved(tree)
        for path in out.values():
            assert predicted("rows.csv", "--out", str(path)) == 0
        np.testing.assert_array_equal(np.load(out["npy"]), tree.predict(X))
        np.testing.assert_array_equal(
            pandas.read_parquet(out["parquet"]).to_numpy().reshape(targets.shape), tree.predict(X)
        )


VALUES = st.one_of(
    st.lists(st.floats(width=64), min_size=1).map(lambda v: np.array(v, np.float64)),
    st.lists(st.floats(width=32), min_size=1).map(lambda v: np.array(v, np.float32)),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1).map(lambda v: np.array(v, np.int64)),
    st.lists(st.booleans(), min_size=1).map(np.array),
    st.lists(st.text('a,;"\n é', min_size=1), min_size=1).map(np.array),
)


@example([np.array([1.5, np.nan])], "p")
@given(st.lists(VALUES, min_size=1, max_size=3), st.text('p,"\n', min_size=1))
def test_csv_is_written_as_pandas_does(columns, name):
    n = min(map(len, columns))
    predictions = {f"{name}{k}": values[:n] for k, values in enumerate(columns)}
    split = [{c: v[:1] for c, v in predictions.items()}, {c: v[1:] for c, v in predictions.items()}]
    expected = pandas.DataFrame({c: v.astype(object) if v.dtype.kind == "U" else v for c, v in predictions.items()})
    assert "".join(as_csv(split if n > 1 else split[:1])) == expected.to_csv(index=False, lineterminator="\n")


def test_a_column_of_truth_values_is_read_as_zeros_and_ones(saved, tmp_path):
    X = pandas.DataFrame({"a": np.arange(40.0), "b": [True, False] * 20})
    tree = DecisionTreeRegressor(random_state=0).fit(X, X["a"] + 100 * X["b"])
    predicted = saved(tree)
    X.to_csv(tmp_path / "rows.csv", index=False)
    assert predicted("rows.csv", "--out", str(tmp_path / "out.npy")) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), tree.predict(X))


@pytest.mark.parametrize(
    ("late", "sentence"),
    [
        ("1.5,x\n", "the column 'b' must hold numbers; it holds 'x' in row 101"),
        ('1.5,"2,5"\n', "it holds '2,5' in row 101; numbers have decimal points here"),
        ("1.5,inf\n", "the column 'b' holds infinite values, the first in row 101"),
        ("1.5,2,3\n", "row 101 has 3 values, but there are 2 names"),
        (b"1.5,\x81\n", "no text in UTF-8 in row 101, column 'b'"),
        ("1.5,\0\n", "holds NUL characters in row 101, column 'b'"),
    ],
)
def test_a_late_row_that_contradicts_the_first_ones_is_named_and_nothing_is_written(
    saved, tmp_path, capsys, monkeypatch, late, sentence
):
    X = np.arange(200.0).reshape(100, 2) / 8
    predicted = saved(DecisionTreeRegressor(max_depth=2).fit(X, X[:, 0]))
    early = "a,b\n" + "".join(f"{a},{b}\n" for a, b in X.tolist())
    late = late if isinstance(late, bytes) else late.encode()
    written(tmp_path, early.encode() + late + early[4:].encode())
    before = sorted(os.listdir(tmp_path))
    for _ in range(2):  # in the first block, and in a later one
        assert predicted("table.csv", "--out", str(tmp_path / "out.csv")) == 2
        said = capsys.readouterr().err
        assert re.fullmatch(r"lifecycle: .*\n", said)
        if b"\x81" not in late and b"\0" not in late:  # whose columns are not known yet in the first block
            assert sentence in said
        assert sorted(os.listdir(tmp_path)) == before
        small_chunks(monkeypatch, block=200)
    assert sentence in said


def test_files_are_read_while_predictions_are_written(saved, tmp_path, monkeypatch):
    small_chunks(monkeypatch)
    X = np.arange(20_000.0).reshape(-1, 2)
    model = DecisionTreeRegressor(max_depth=2).fit(X, X[:, 0])
    pandas.DataFrame(X).to_csv(tmp_path / "rows.csv", index=False)
    np.save(tmp_path / "rows.npy", X)
    for name in ("rows.csv", "rows.npy"):
        with row_files.open_rows(tmp_path / name, model) as rows:
            parts = iter(rows.parts)
            n_read = [next(parts)[1] for _ in range(5)]
            assert sum(n_read) < rows.size / 10
            assert sum(n_read) + sum(n for _, n in parts) == rows.size


def test_progress_is_shown_on_stderr_where_predictions_are_not(saved, tmp_path, monkeypatch):
    X, y = load_iris(return_X_y=True)
    predicted = saved(DecisionTreeClassifier(max_depth=2).fit(X, y))
    pandas.DataFrame(X).to_csv(tmp_path / "rows.csv", index=False)
    told = []
    bar = row_files.progress_bar

    def recorded(size, name, progress):
        told.append((size, progress))
        return bar(size, name, progress)

    monkeypatch.setattr(row_files, "progress_bar", recorded)
    for on_terminal in (True, False):
        monkeypatch.setattr("sys.stdout.isatty", lambda on_terminal=on_terminal: on_terminal, raising=False)
        assert predicted("rows.csv") == 0
        assert predicted("rows.csv", "--out", str(tmp_path / "out.csv")) == 0
    size = (tmp_path / "rows.csv").stat().st_size
    assert told == [(size, False), (size, None), (size, None), (size, None)]


def test_a_terminal_obeys_no_label_of_a_file_and_a_file_keeps_it(saved, tmp_path, capsys, monkeypatch):
    X, y = load_iris(return_X_y=True)
    label = "\x1b[2J\u202ec"
    predicted = saved(DecisionTreeClassifier(max_depth=2).fit(X, np.array(["a", "b", label])[y]))
    pandas.DataFrame(X).to_csv(tmp_path / "rows.csv", index=False)
    for on_terminal in (True, False):
        monkeypatch.setattr("sys.stdout.isatty", lambda on_terminal=on_terminal: on_terminal, raising=False)
        assert predicted("rows.csv") == 0
        said = capsys.readouterr().out
        assert (label in said) is not on_terminal
        assert said.replace("\n", "").isprintable() is on_terminal
        assert len(said.splitlines()) == 151
    (tmp_path / f"{label}.csv").write_text("x\n")
    assert predicted(f"{label}.csv") == 2
    assert capsys.readouterr().err.strip().isprintable()


def test_files_that_hold_no_rows_of_numbers(saved, tmp_path, capsys):
    X, y = load_iris(return_X_y=True)
    predicted = saved(DecisionTreeClassifier(max_depth=2).fit(X, y))
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "words.npy", np.array(["a"]))
    np.save(tmp_path / "scalar.npy", 1.0)
    np.save(tmp_path / "none.npy", X[:0])
    np.save(tmp_path / "torn.npy", X)
    (tmp_path / "torn.npy").write_bytes((tmp_path / "torn.npy").read_bytes()[:-8])
    (tmp_path / "raw.npy").write_bytes(b"\x80\x04N.")  # a pickle alone
    np.savez(tmp_path / "several.npz", X)
    (tmp_path / "several.npz").rename(tmp_path / "several.npy")
    for name, sentence in [
        ("pickle", "is damaged, or holds Python objects, which are not read"),
        ("raw", "is damaged, or holds Python objects, which are not read"),
        ("torn", "is damaged"),
        ("words", "must hold one array of numbers"),
        ("scalar", "must hold one array of numbers"),
        ("several", "must hold one array of numbers"),
        ("none", "has no row"),
    ]:
        assert predicted(f"{name}.npy") == 2
        said = capsys.readouterr()
        assert re.fullmatch(rf"lifecycle: {name}\.npy .*{re.escape(sentence)}.*\n", said.err), said.err
        assert said.out == ""


def test_columns_of_parquet_have_types(table, saved, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    frame, model = table
    predicted = saved(model)
    sizes = frame["size"].fillna(0).round()
    for column in (
        sizes.astype("float32"),
        sizes.astype("int8"),
        sizes.astype("Int64").mask(frame["size"].isna()),
        sizes.map(lambda v: Decimal(int(v))),
        sizes > 0,
        sizes.astype(int).astype("category"),
    ):
        rows = frame.assign(size=column)
        rows.assign(**{"site, side": frame["site, side"].astype("category")}).to_parquet(tmp_path / "rows.parquet")
        assert predicted("rows.parquet", "--out", str(tmp_path / "out.csv")) == 0
        expected = model.predict(rows.assign(size=column.to_numpy(float, na_value=np.nan)))
        assert pandas.read_csv(tmp_path / "out.csv")["prediction"].tolist() == expected.tolist()
    capsys.readouterr()
    for rows, sentence in [
        (frame.assign(size="1.5"), "the column 'size' must hold numbers; in rows.parquet its type is"),
        (
            frame.assign(**{"site, side": 1}),
            "the column 'site, side' must hold words; in rows.parquet its type is int64",
        ),
        (frame.drop(columns="size"), "the table lacks 'size'; it has"),
        (frame[:0].astype({"size": float, "area": float}), "rows.parquet has no row"),
        (frame.assign(size=np.inf), "the column 'size' holds infinite values, the first in row 1"),
    ]:
        rows.to_parquet(tmp_path / "rows.parquet")
        assert predicted("rows.parquet") == 2
        assert f"lifecycle: {sentence}" in capsys.readouterr().err
    for data in (b"", b"PAR1", (tmp_path / "rows.parquet").read_bytes()[:-20], b"size\n1\n"):
        (tmp_path / "rows.parquet").write_bytes(data)
        assert predicted("rows.parquet") == 2
        assert re.fullmatch(r"lifecycle: rows\.parquet is no parquet file, .*\n", capsys.readouterr().err)


def test_without_pyarrow_a_sentence_names_the_extra(saved, tmp_path, capsys, monkeypatch):
    X, y = load_iris(return_X_y=True)
    predicted = saved(DecisionTreeClassifier(max_depth=2).fit(X, y))
    pandas.DataFrame(X).to_csv(tmp_path / "rows.csv", index=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for arguments in (["none.parquet"], ["rows.csv", "--out", str(tmp_path / "out.parquet")]):
        assert predicted(*arguments) == 2
        assert "needs pyarrow: pip install 'lifecycle-ml[parquet]'" in capsys.readouterr().err
    assert not (tmp_path / "out.parquet").exists()


def test_outputs_of_a_bare_module(saved, tmp_path, capsys, monkeypatch):
    torch = pytest.importorskip("torch")
    lt = pytest.importorskip("lifecycle.torch")
    small_chunks(monkeypatch)
    X = np.random.default_rng(0).normal(size=(20, 1, 8, 8)).astype(np.float32)
    np.save(tmp_path / "rows.npy", X.astype(">f4"))
    net = lt.CNN(1, 3, 8, channels=(4,), hidden=(8,)).eval()
    predicted = saved(net)
    assert predicted("rows.npy", "--out", str(tmp_path / "out.csv")) == 0
    found = pandas.read_csv(tmp_path / "out.csv")
    assert list(found.columns) == ["prediction 1", "prediction 2", "prediction 3"]
    np.testing.assert_allclose(found, net(torch.from_numpy(X)).detach(), rtol=1e-5, atol=1e-6)
    written(tmp_path, "a\n1\n")
    capsys.readouterr()
    assert predicted("table.csv") == 2
    assert "a bare CNN, which has no predict for tables: give its inputs as a .npy file" in capsys.readouterr().err
    for rows, sentence in [(X[:, 0, 0, :5], r"Linear takes no rows of shape \(5,\): "), (X[:0], "a row or more")]:
        with pytest.raises(ValueError, match=sentence):
            predict(torch.nn.Linear(4, 2), rows)
    with pytest.raises(ValueError, match="this RNN returns no single tensor"):
        predict(torch.nn.RNN(8, 2), X[:, 0])


class Several:
    def __init__(self, outputs):
        self.outputs = outputs

    def predict(self, X):
        return self.outputs


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        ((np.zeros(3), np.zeros(3)), "the model has 2 outputs"),
        (np.zeros((3, 2, 2)), r"the shape \(3, 2, 2\) for 3 rows"),
        (np.zeros(2), r"the shape \(2,\) for 3 rows"),
    ],
)
def test_outputs_that_are_no_columns(outputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        predict(Several(outputs), np.zeros((3, 1)))


def test_a_module_that_only_its_class_can_load_predicts_by_its_graph(saved, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    X = np.random.default_rng(0).normal(size=(20, 2, 3)).astype(np.float32)
    np.save(tmp_path / "rows.npy", X)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2)).eval()
    predicted = saved(net, example=X)
    assert predicted("rows.npy", "--out", str(tmp_path / "out.npy")) == 0
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), net(torch.from_numpy(X)).detach(), rtol=1e-5, atol=1e-6)
    with pytest.warns(UserWarning, match="into="):
        predicted = saved(net)
    capsys.readouterr()
    assert predicted("rows.npy") == 2
    assert "; without that, predictions need a file that was saved with example=rows" in capsys.readouterr().err


def test_a_network_predicts_without_torch(tmp_path):
    lt = pytest.importorskip("lifecycle.torch")
    pytest.importorskip("onnxruntime")
    X, y = load_iris(return_X_y=True)
    frame = pandas.DataFrame(X.astype(np.float32), columns=list("abcd"))
    model = lt.TorchClassifier(max_epochs=1, random_state=0).fit(frame, y)
    lc.save(model, tmp_path / "model", example=frame)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    code = "import sys; sys.modules['torch'] = None; from lifecycle.cli import main; main(['predict', *sys.argv[1:]])"
    command = [sys.executable, "-c", code, "model", "rows.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = pandas.read_csv(io.StringIO(done.stdout))
    np.testing.assert_array_equal(found["prediction"], model.predict(frame))
    np.testing.assert_allclose(found.iloc[:, 1:], model.predict_proba(frame), rtol=1e-4, atol=1e-5)


def test_predictions_are_written_whole(tmp_path):
    def fails():
        yield {"prediction": np.zeros(3)}
        raise ValueError("a later row")

    for name in ("out.csv", "out.npy"):
        with pytest.raises(ValueError, match="a later row"):
            write_predictions(fails(), tmp_path / name)
        with pytest.raises(OSError, match="no folder"):
            write_predictions(fails(), tmp_path / "no" / name)
    assert os.listdir(tmp_path) == []


def test_the_usage_and_the_documentation_name_the_formats(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    page = os.path.join(os.path.dirname(os.path.dirname(__file__)), "docs", "api", "command-line.md")
    with open(page, encoding="utf-8") as file:
        for text in (capsys.readouterr().out, file.read()):
            assert all(word in text for word in ("CSV", ".parquet", ".npy"))
