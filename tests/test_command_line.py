"""The command line: what it prints, what it writes, and one sentence and status 2 where the input is at fault."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris, load_wine

import lifecycle as lc
from lifecycle.__main__ import main

pytest.importorskip("torch")
pandas = pytest.importorskip("pandas")

STAGES = ["build", "train", "validate", "compress", "ship", "apply"]


def quick(monkeypatch):
    """The demo with few epochs."""
    from lifecycle.cli import demo

    train = demo._training
    monkeypatch.setattr(demo, "_training", lambda **epochs: train(**{**epochs, "max_epochs": 4}))


def stages(text):
    return re.findall(r"^(\w+) .* \d+\.\d$", text, re.MULTILINE)


def test_the_demo_on_digits(tmp_path, capsys, monkeypatch):
    quick(monkeypatch)
    assert main(["demo", "--out", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out
    assert stages(said) == STAGES
    assert "360 of 360 predictions are equal" in said
    assert float(re.search(r"accuracy on 360 test rows ([\d.]+)", said)[1]) > 0.85
    assert max(map(len, said.splitlines()[:-2])) < 100
    assert sorted(os.listdir(tmp_path / "new")) == ["lifecycle-model.safetensors", "lifecycle-report.html"]
    page = (tmp_path / "new" / "lifecycle-report.html").read_text(encoding="utf-8")
    for part in ("The life of this model", "Training", "Cross-validation", "What compression changed", "Confusion"):
        assert part in page
    assert not re.search(r"<script|(?:src|href)=[\"']?https?:", page)
    model = lc.load(tmp_path / "new" / "lifecycle-model.safetensors")
    size = (tmp_path / "new" / "lifecycle-model.safetensors").stat().st_size
    assert f"one file of {size:,} bytes" in said
    assert hasattr(model, "predict_proba")


@pytest.fixture(params=["classes", "quantity"])
def table(request, tmp_path):
    """A table with holes, words and a column of names."""
    load = load_wine if request.param == "classes" else load_diabetes
    data = load(as_frame=True)
    frame = data.frame.rename(columns={"target": "what it is"})
    frame["site"] = np.where(np.arange(len(frame)) % 3, "north", "south")
    frame["label"] = [f"bottle {k}" for k in range(len(frame))]
    frame.iloc[::9, 0] = np.nan
    frame.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_the_demo_on_a_table_and_predictions_from_its_file(table, tmp_path, capsys, monkeypatch):
    quick(monkeypatch)
    assert main(["demo", "--data", str(table), "--target", "what it is", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert stages(said) == STAGES
    assert "columns left out: label" in said
    assert re.search(r"a linear model, the best of 13 penalties: -?[\d.]+ at alpha = ", said)
    assert "slightly optimistic: this penalty was chosen on these folds" in said
    difference, better = re.search(r"network - linear ([+-][\d.]+), p = .*: the ([a-z ]+) is shipped", said).groups()
    assert better == ("network" if float(difference) > 0 else "linear model")
    assert "shipped as it is: max_drop=0.03 with 95 % confidence needs at least" in said  # these tables are small
    assert "<h2>Comparison" in (tmp_path / "lifecycle-report.html").read_text(encoding="utf-8")
    n, m = re.search(r"(\d+) of (\d+) predictions are equal", said).groups()
    assert n == m
    file, out = tmp_path / "lifecycle-model.safetensors", tmp_path / "answers.csv"
    rows = pandas.read_csv(table).drop(columns=["what it is", "label"])
    rows.to_csv(tmp_path / "rows.csv", index=False)
    assert main(["predict", str(file), str(tmp_path / "rows.csv"), "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["predict", str(file), str(tmp_path / "rows.csv")]) == 0
    assert capsys.readouterr().out == out.read_text(encoding="utf-8")
    answers = pandas.read_csv(out)
    rows["site"] = rows["site"].astype(object)
    np.testing.assert_array_equal(answers["prediction"], lc.load(file).predict(rows))
    assert main(["inspect", str(file)]) == 0
    assert "Pipeline (sklearn.pipeline)" in capsys.readouterr().out


@pytest.fixture
def table_with_decimal_commas(tmp_path):
    """A table of areas with decimal commas and points between thousands, and a target that depends on both columns."""
    rng = np.random.default_rng(0)
    size, area = rng.integers(1, 40, 120) / 2, rng.integers(10, 99, 120) * 1000 + 586
    lines = [
        f"{s};{a:,};{s + a / 1e4:.2f}".translate(str.maketrans(".,", ",."))
        for s, a in zip(size.tolist(), area.tolist(), strict=True)
    ]
    (tmp_path / "areas.csv").write_text("\n".join(["size;area;price", *lines]) + "\n")
    return tmp_path / "areas.csv"


def test_predict_reads_numbers_as_the_demo_did(table_with_decimal_commas, tmp_path, capsys, monkeypatch):
    quick(monkeypatch)
    assert main(["demo", "--data", str(table_with_decimal_commas), "--target", "price", "--out", str(tmp_path)]) == 0
    assert "in a new process 24 of 24 predictions are equal" in capsys.readouterr().out
    file = tmp_path / "lifecycle-model.safetensors"
    assert lc.inspect(file).metadata["number_format"] == {"decimal": ",", "thousands": "."}
    (tmp_path / "new.csv").write_text("size;area\n3;76.586\n4;12.586\n")  # no value has a decimal comma
    assert main(["predict", str(file), str(tmp_path / "new.csv"), "--out", str(tmp_path / "out.csv")]) == 0
    assert "'12.586' in 'area' is read with decimal commas, as in the training data" in capsys.readouterr().err
    expected = lc.load(file).predict(pandas.DataFrame({"size": [3.0, 4.0], "area": [76586.0, 12586.0]}))
    np.testing.assert_allclose(pandas.read_csv(tmp_path / "out.csv")["prediction"], expected, rtol=1e-12)


def test_a_check_that_fails_loses_no_model(table_with_decimal_commas, tmp_path, capsys, monkeypatch):
    quick(monkeypatch)
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "none"))  # no other Python process starts
    arguments = ["demo", "--data", str(table_with_decimal_commas), "--target", "price", "--out", str(tmp_path)]
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert re.fullmatch(r"lifecycle: .* are written, but the check in a new process failed: .+\n", said.err)
    assert lc.load(tmp_path / "lifecycle-model.safetensors").predict(pandas.DataFrame({"size": [3.0], "area": [2.0]}))
    assert "the check in a new process failed" in (tmp_path / "lifecycle-report.html").read_text(encoding="utf-8")


def test_what_was_decided_about_a_file_is_said(tmp_path, capsys):
    X, y = load_iris(return_X_y=True)
    lc.save(lc.LinearClassifier(random_state=0).fit(X, y), tmp_path / "iris")
    pandas.DataFrame(X[:5]).to_csv(tmp_path / "points.csv", index=False)
    pandas.DataFrame(X[:5]).to_csv(tmp_path / "commas.csv", index=False, sep=";", decimal=",")
    assert main(["predict", str(tmp_path / "iris"), str(tmp_path / "points.csv")]) == 0
    points = capsys.readouterr()
    assert main(["predict", str(tmp_path / "iris"), str(tmp_path / "commas.csv")]) == 0
    commas = capsys.readouterr()
    assert commas.out == points.out
    assert points.err == ""
    assert re.fullmatch(r"lifecycle: .*commas\.csv: numbers have decimal commas, such as '4,6' in '0'\n", commas.err)


def test_faults_are_one_sentence_and_leave_nothing(tmp_path, capsys):
    X, y = load_iris(return_X_y=True)
    lc.save(lc.LinearClassifier(random_state=0).fit(X, y), tmp_path / "iris")
    (tmp_path / "torn").write_bytes((tmp_path / "iris").read_bytes()[:100])
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "one.csv").write_text("x,y\n" + "1,a\n2,a\n" * 40)
    (tmp_path / "text.csv").write_text("a,b,c,d\n1,2,x,4\n")
    before = sorted(os.listdir(tmp_path))

    def at(name):
        return str(tmp_path / name)

    cases = [
        (["demo", "--data", at("none.csv"), "--target", "y"], "No such file"),
        (["demo", "--data", at(""), "--target", "y"], "directory"),
        (["demo", "--data", at("empty.csv"), "--target", "y"], "empty.csv is empty"),
        (["demo", "--data", at("one.csv"), "--target", "z"], "no column 'z'"),
        (["demo", "--data", at("one.csv"), "--target", "y"], "two classes"),
        (["demo", "--data", at("one.csv")], "--data and --target go together"),
        (["demo", "--target", "y"], "--data and --target go together"),
        (["demo", "--out", at("one.csv")], "is a file"),
        (["demo", "--keep", "x"], "--keep names columns of --data"),
        (["demo", "--data", at("one.csv"), "--target", "y", "--keep", "z"], "no column 'z'"),
        (["inspect", at("none")], "No such file"),
        (["inspect", at("torn")], "truncated"),
        (["inspect", at("one.csv")], "not a safetensors file"),
        (["predict", at("torn"), at("one.csv")], "truncated"),
        (["predict", at("iris"), at("none.csv")], "No such file"),
        (["predict", at("iris"), at("one.csv")], "takes 4 columns"),
        (["predict", at("iris"), at("text.csv")], "must hold numbers"),
        (["predict", at("iris"), at("text.csv"), "--out", at("iris")], "would overwrite what is read"),
    ]
    for arguments, sentence in cases:
        assert main(arguments) == 2, arguments
        said = capsys.readouterr()
        assert re.fullmatch(rf"lifecycle: .*{re.escape(sentence)}.*\n", said.err), (arguments, said.err)
        assert said.out == ""
    assert sorted(os.listdir(tmp_path)) == before


def test_no_traceback_in_a_process_of_its_own_and_help_is_light(tmp_path):
    done = subprocess.run([sys.executable, "-m", "lifecycle", "inspect", "none"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "lifecycle: none: No such file or directory\n"
    code = "import sys\nfrom lifecycle.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print({'torch', 'numba', 'sklearn', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")
    assert all(word in done.stdout for word in ("demo", "inspect", "predict"))


def test_a_closed_pipe_is_no_fault(tmp_path):
    X, y = load_iris(return_X_y=True)
    lc.save(lc.LinearClassifier(random_state=0).fit(X, y), tmp_path / "iris")
    pandas.DataFrame(np.tile(X, (200, 1))).to_csv(tmp_path / "rows.csv", index=False)
    command = f"{sys.executable} -m lifecycle predict iris rows.csv | head -2"
    done = subprocess.run(command, cwd=tmp_path, shell=True, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


def test_versions(capsys):
    lc.show_versions()
    said = capsys.readouterr().out
    assert re.search(rf"^numpy +{re.escape(np.__version__)}$", said, re.MULTILINE)
    assert {"lifecycle", "python", "torch", "threads"} <= {line.split()[0] for line in said.splitlines()}
