"""The README is true: its examples run and arrive, its versions are those of pyproject.toml."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_numpy_example_runs():
    names: dict = {}
    exec(BLOCKS[0], names)
    np.testing.assert_allclose(names["weights"], [1, 2, 3], atol=0.1)


def test_torch_example_moves_the_weights_and_quantizes():
    import lifecycle as lc

    names: dict = {}
    exec(BLOCKS[1], names)
    assert len(names["optimizer"].state) == 2
    assert lc.size_of(names["small"]) < lc.size_of(names["model"])


def test_scikit_learn_example_validates_and_saves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(BLOCKS[2], names)
    X, y = names["X"], names["y"]
    assert names["result"]["test_score"].mean() > 0.8
    assert (tmp_path / "iris.safetensors").exists()
    np.testing.assert_array_equal(names["again"].predict(X), names["model"].predict(X))
    assert names["again"].score(X, y) > 0.8


def test_examples_are_short():
    assert len(BLOCKS) == 3
    assert all(len(block.splitlines()) <= 10 for block in BLOCKS)


def test_versions_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    bounds = dict(d.split(">=") for d in [*project["dependencies"], *extras["torch"]])
    pins = dict(d.split("==") for d in extras["dev"] if "==" in d)
    rows = re.findall(r"^\| ([\w-]+)[^|]*\| ([\d.]+) \| ([\d.]+) \|$", README, re.MULTILINE)
    assert dict(row[:2] for row in rows)["Python"] == project["requires-python"].removeprefix(">=")
    assert {name: (low, used) for name, low, used in rows if name != "Python"} == {
        name: (bounds[name], pins[name]) for name in ("numpy", "numba", "scikit-learn", "torch")
    }


def test_links_lead_somewhere():
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if "://" not in t]
    assert [t for t in targets if not (ROOT / t).exists()] == []
