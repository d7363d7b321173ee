"""The documentation is true: its code runs, what its pages add passes the tests, the navigation holds every page."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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


PAGES_WITH_EXAMPLES = "index optimizers validation compression shipping api/optimizers".split()


@pytest.mark.parametrize("page", [f"{name}.md" for name in PAGES_WITH_EXAMPLES])
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for text in python(page):
        exec(compile(text, page, "exec"), names)


def patched(text: str, diff: str, page: str) -> str:
    """The text after the hunks of a diff without line numbers."""
    for hunk in diff.split("@@\n")[1:]:
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(old) == 1, f"docs/{page} changes lines that are not there exactly once:\n{old}"
        text = text.replace(old, new)
    return text


def apply_blocks(page: str, folder: Path) -> None:
    """Write the blocks of a page that have a file as their title: new files, lines at the end of a file, or diffs."""
    for language, title, text in blocks(page):
        if title:
            path = folder / title
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            after = patched(before, text, page) if language == "diff" else (before and before + "\n\n") + text
            path.write_text(after, encoding="utf-8")


# of each page: what it adds, the tests that run over the registry, and a use of it through the public API
ADDITIONS = {
    "add-a-rule.md": (
        "signum",
        ["test_every_rule.py", "test_torch_optimizers.py"],
        """
import lifecycle.torch as lt
from sklearn.datasets import load_iris
assert lc.Signum(lr=0.1).rule.doc.startswith("Signum") and lt.Signum.__name__ == "Signum"
assert "Signum" in lc.__all__ and "Signum" in lt.__all__
X, y = load_iris(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)
for model in (lc.LinearClassifier(optimizer=lc.Signum(lr=0.01), random_state=0, max_iter=50),
              lt.TorchClassifier(optimizer="signum", lr=0.003, max_epochs=20, random_state=0)):
    score = model.fit(X.astype(np.float32), y).score(X.astype(np.float32), y)
    assert score > 0.9, (model, score)
""",
    ),
    "add-a-loss.md": (
        "log_cosh",
        ["test_every_loss.py"],
        """
from scipy.optimize import minimize
X = np.random.default_rng(0).normal(size=(300, 3)); y = X @ [1.0, -2.0, 0.5] + 0.1 * np.sin(9 * X[:, 0])
best = minimize(lambda w: np.log(np.cosh(X @ w[:3] + w[3] - y)).mean() + 0.005 * w[:3] @ w[:3], np.zeros(4), tol=1e-10)
for optimizer in ("newton", "gd"):
    model = lc.LinearRegressor(loss="log_cosh", alpha=0.01, optimizer=optimizer, max_iter=5000, tol=1e-12).fit(X, y)
    assert np.allclose([*model.coef_, model.intercept_], best.x, atol=1e-4), (model, model.coef_, best.x)
""",
    ),
    "add-a-penalty.md": (
        "reverse_huber",
        ["test_every_penalty.py"],
        """
X = np.random.default_rng(0).normal(size=(300, 3)); y = X @ [3.0, -0.5, 0.01]
w = lc.LinearRegressor(penalty="reverse_huber", alpha=0.1, optimizer="gd", max_iter=5000, tol=1e-12).fit(X, y).coef_
slope = (X - X.mean(0)).T @ ((X - X.mean(0)) @ w - (y - y.mean())) / 300
assert w[2] == 0 and abs(slope[2]) <= 0.1, w
assert np.allclose(slope[:2], [-0.1 * w[0], 0.1], atol=1e-5), (w, slope)
""",
    ),
    "add-a-splitter.md": (
        "GapKFold",
        ["test_every_split.py"],
        """
from lifecycle.splits import GapKFold
from sklearn.dummy import DummyClassifier
assert lc.GapKFold is GapKFold and "GapKFold" in lc.__all__
result = lc.cross_validate(DummyClassifier(), np.zeros((30, 1)), np.arange(30) % 2, cv=lc.GapKFold(3, gap=2))
assert len(result["test_score"]) == 3
""",
    ),
    "add-a-criterion.md": (
        "ria",
        ["test_every_mask.py"],
        """
from sklearn.datasets import load_digits
X, y = load_digits(return_X_y=True)
model = lc.prune(lc.LinearClassifier(max_iter=5).fit(X, y), 0.5, method="ria", calibration=X)
assert np.count_nonzero(model.coef_ == 0) == 320
""",
    ),
    "add-a-codec.md": (
        "run_length",
        ["test_every_codec.py"],
        """
from sklearn.datasets import load_digits
model = lc.LinearClassifier(max_iter=5).fit(*load_digits(return_X_y=True))
model.coef_ = np.repeat(np.float64([0, 1]), 320).reshape(10, 64)
lc.save(model, tmp + "/file")
assert lc.size_of(model) < 200
assert np.array_equal(lc.load(tmp + "/file").coef_, model.coef_)
""",
    ),
    "add-a-format.md": (
        "tf32",
        ["test_every_format.py"],
        """
from lifecycle.formats import list_formats
from lifecycle.loops import elementwise
form, float32, update = list_formats()["tf32"], list_formats()["float32"], lc.GD().rule.variant({}).update
p, g = np.ones(100_000, np.float32), np.full(100_000, 1e-4, np.float32)
addresses, scalars = np.array([[p.ctypes.data, g.ctypes.data]]), np.float32([[1.0, 0.0, 1.0, 1.0, 0.0]])
elementwise.prepare(update, (), form, float32, addresses, np.array([p.size]), scalars, np.uint32([7]), False)()
assert set(np.unique(p)) == {np.float32(1 - 2**-11), np.float32(1)}
assert abs(p.mean(dtype=np.float64) - 0.9999) < 1e-5
""",
    ),
}


@pytest.mark.parametrize("page", ADDITIONS)
def test_what_a_page_adds_passes_its_tests_and_is_in_the_api(page, tmp_path):
    pytest.importorskip("torch")
    name, tests, use = ADDITIONS[page]
    for folder in ("src", "tests", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    apply_blocks(page, tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    files = [f"tests/{file}" for file in (*tests, "test_layers.py", "test_registry.py", "test_glossary.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    chosen = f"{name} or layers or implementation or glossary or public_name or names_of_classes"
    done = subprocess.run([*command, "-k", chosen], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    code = (
        f"import numpy as np, lifecycle as lc\ntmp = {str(tmp_path)!r}\nassert tmp in lc.__file__, lc.__file__\n{use}"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_new_rule_from_outside_the_package(tmp_path):
    rule = next(text for _, title, text in blocks("add-a-rule.md") if title == "src/lifecycle/rules/signum.py")
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "signum.py").write_text(rule, encoding="utf-8")
    (example,) = python("add-a-rule.md")
    code = example + "assert np.allclose(weights, [0.99, 1.01, 0.99]), weights\n"
    search = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": search}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_page_is_in_the_navigation_and_every_decision_in_their_index():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    pages = {str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md")}
    assert set(re.findall(r"[\w/.-]+\.md", nav)) == pages
    decisions = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    for page in (DOCS / "decisions").glob("0*.md"):
        assert f"({page.name})" in decisions


def test_every_public_name_is_in_the_api_reference():
    pytest.importorskip("griffe")
    import lifecycle as lc

    spec = importlib.util.spec_from_file_location("hooks", DOCS / "_hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page = SimpleNamespace(file=SimpleNamespace(src_uri="api/page.md"))
    texts = [p.read_text(encoding="utf-8") for p in (DOCS / "api").glob("*.md")]
    reference = "".join(hooks.on_page_markdown(text, page=page) for text in texts)
    names = set(lc.__all__) - set(lc._SKLEARN_SPLITTERS)
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", reference)] == []


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
