"""The documentation is true: its code runs, its new rule passes its tests, its pages are all there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```', re.DOTALL | re.MULTILINE)


def blocks(page: str) -> list[tuple[str, str, str]]:
    """(language, title, text) of each fenced block."""
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def python(page: str) -> list[str]:
    return [text for language, title, text in blocks(page) if language == "python" and not title]


def test_the_tour_runs_and_arrives(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for k, text in enumerate(python("tour.md")):
        exec(compile(text, f"tour.md, block {k + 1}", "exec"), names)
    y_test = names["y_test"]
    assert names["model"].score(names["X_test"], y_test) > 0.95
    assert names["low"] < names["result"]["test_score"].mean() < names["high"]
    assert names["lc"].size_of(names["small"]) < names["lc"].size_of(names["pruned"])
    assert names["lc"].size_of(names["pruned"]) < names["lc"].size_of(names["model"])
    assert names["changed"] <= 0.05 * len(y_test)
    assert names["scores"].shape == (len(names["y"]), 10)
    guess = np.argmax(names["flat_test"] @ names["weights"] + names["bias"], axis=1)
    assert (guess == y_test).mean() > 0.9
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["index.md", "optimizers.md", "validation.md", "api/optimizers.md"])
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for text in python(page):
        exec(compile(text, page, "exec"), names)


def patched(text: str, diff: str) -> str:
    """The text after the hunks of a diff without line numbers."""
    for hunk in diff.split("@@\n")[1:]:
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(old) == 1, f"docs/add-a-rule.md changes lines that are not there once:\n{old}"
        text = text.replace(old, new)
    return text


def test_the_new_rule_passes_its_tests_in_every_face(tmp_path):
    pytest.importorskip("torch")
    parts = {title: (language, text) for language, title, text in blocks("add-a-rule.md") if title}
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, (language, text) in parts.items():
        target = tmp_path / path
        if language == "diff":
            target.write_text(patched(target.read_text(encoding="utf-8"), text), encoding="utf-8")
        else:
            before = target.read_text(encoding="utf-8") + "\n\n" if target.exists() else ""
            target.write_text(before + text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    tests = ["tests/test_every_rule.py", "tests/test_torch_optimizers.py", "tests/test_layers.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "signum or layers", *tests],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    faces = """
import numpy as np, lifecycle as lc, lifecycle.torch as lt
from sklearn.datasets import load_iris
assert str(tmp) in lc.__file__, lc.__file__
assert lc.Signum(lr=0.1).rule.doc.startswith("Signum") and lt.Signum.__name__ == "Signum"
X, y = load_iris(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)
for model in (lc.LinearClassifier(optimizer=lc.Signum(lr=0.01), random_state=0, max_iter=50),
              lt.TorchClassifier(optimizer="signum", lr=0.003, max_epochs=20, random_state=0)):
    score = model.fit(X.astype(np.float32), y).score(X.astype(np.float32), y)
    assert score > 0.9, (model, score)
"""
    done = subprocess.run(
        [sys.executable, "-c", f"tmp = {str(tmp_path)!r}\n{faces}"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_new_rule_from_outside_the_package(tmp_path):
    rule = next(text for _, title, text in blocks("add-a-rule.md") if title == "src/lifecycle/rules/signum.py")
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "signum.py").write_text(rule.replace("from .._jit", "from lifecycle._jit"), encoding="utf-8")
    (example,) = python("add-a-rule.md")
    code = example + "assert np.allclose(weights, [0.99, 1.01, 0.99]), weights\n"
    search = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": search}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_page_is_in_the_navigation_and_every_rule_finds_its_page():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    pages = {str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md")}
    assert set(re.findall(r"[\w/.-]+\.md", nav)) == pages
    decisions = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    for page in (DOCS / "decisions").glob("0*.md"):
        assert f"({page.name})" in decisions


def test_every_public_name_is_in_the_api_reference():
    import lifecycle as lc

    pages = "".join(p.read_text(encoding="utf-8") for p in (DOCS / "api").glob("*.md"))
    handed_on = set(lc._SKLEARN_SPLITTERS)
    assert [name for name in lc.__all__ if name not in handed_on and not re.search(rf"\b{name}\b", pages)] == []


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    from lifecycle.rules import list_rules

    page = (tmp_path / "api" / "optimizers.html").read_text(encoding="utf-8")
    assert all(f'id="{rule.class_name.lower()}"' in page for rule in list_rules().values())
    loaded = r'<(?:script|img|iframe)[^>]+src="https?:|<link[^>]+(?:stylesheet|preconnect)[^>]+https?:'
    assert [p.name for p in tmp_path.rglob("*.html") if re.search(loaded, p.read_text(encoding="utf-8"))] == []
