"""A layer imports only from the layers below it (see docs/contributing.md); the imports are read, not run."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lifecycle

SOURCE = Path(lifecycle.__file__).parent
FOUNDATION = {"_jit", "_threads", "_check", "_registry"}
LAYER_1 = {"rules", "trees", "loops", "losses", "penalties", "splits", "masks", "codecs", "formats", "solvers"}
FRAMEWORK_PACKAGES = {"torch", "onnx"}  # layer 3
LAYER_4 = {"reporting", "cli", "__main__"}
LATE = {"sklearn", "scipy", "pandas", "matplotlib"}  # inside functions, so that `import lifecycle` stays light
ON_DEMAND = {"linear"} | FRAMEWORK_PACKAGES  # packages that are themselves imported late
SUBCLASSES = {"validation/_search.py"}  # of scikit-learn's classes; imported on the first use of the package
FRAMEWORKS = {"torch", "onnx", "onnxruntime", "onnxscript", "skl2onnx", "keras"}


def imports(path: Path, text: str | None = None):
    """(dotted name, is inside a function, is relative) of every import of a file."""
    tree = ast.parse(path.read_text() if text is None else text)
    functions = (f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef))
    late = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in late, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{a.name}", id(node) in late, node.level > 0) for a in node.names)


def faults(path: Path, text: str | None = None) -> list[str]:
    package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    found = []
    for dotted, late, relative in imports(path, text):
        first, _, rest = dotted.partition(".")
        inner = rest.partition(".")[0] if first == "lifecycle" else None
        if relative:
            found.append(f"{path.name} has a relative import; the library imports by full names")
            continue
        if package == "splits" and first == "sklearn" and late:
            continue  # a splitter speaks scikit-learn's protocol of metadata to whoever has it
        if first in FRAMEWORKS and package not in FRAMEWORK_PACKAGES:
            found.append(f"{path.name} imports {first}")
        if first == "torch" and package == "onnx" and path.name != "torch_module.py":
            found.append(f"{path.name} imports {first}")  # a predictor runs without it
        own_class = first == "sklearn" and path.relative_to(SOURCE).as_posix() in SUBCLASSES
        if first in LATE and not late and package not in ON_DEMAND and not own_class:
            found.append(f"{path.name} imports {first} at module level")
        if package in LAYER_1 | FOUNDATION:
            if inner is not None and inner not in FOUNDATION | {package}:
                found.append(f"{path.name} imports lifecycle.{inner}")
            own = {"threadpoolctl"} if package == "_threads" else set()
            if inner is None and first not in {"numpy", "numba", "llvmlite"} | own | sys.stdlib_module_names:
                found.append(f"{path.name} imports {first}")
        elif inner in LAYER_4 and package not in LAYER_4:
            found.append(f"{path.name} imports lifecycle.{inner}")
        elif inner in FRAMEWORK_PACKAGES and package not in LAYER_4 | {inner} and (package, inner) != ("onnx", "torch"):
            found.append(f"{path.name} imports lifecycle.{inner}")
    return found


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(f.relative_to(SOURCE)) for f in FILES])
def test_imports_point_downwards(path):
    assert faults(path) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("rules/adam.py", "import sklearn"),
        ("rules/adam.py", "def f():\n    import sklearn"),
        ("splits/kfold.py", "import sklearn"),
        ("rules/adam.py", "from lifecycle.loops import elementwise"),
        ("loops/elementwise.py", "from lifecycle.optim import Adam"),
        ("optim.py", "import torch"),
        ("store/models.py", "from sklearn.base import clone"),
        ("validation/_folds.py", "try:\n    import pandas\nexcept ImportError:\n    pass"),
        ("validation/_search.py", "import pandas"),
        ("optim.py", "def f():\n    from lifecycle.torch import optimizers"),
        ("optim.py", "from lifecycle import reporting"),
        ("torch/models.py", "from lifecycle import onnx"),
        ("torch/models.py", "from . import base"),
        ("onnx/export.py", "import torch"),
    ],
)
def test_the_test_can_fail(file, text):
    assert faults(SOURCE / file, text)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("rules/adam.py", "from lifecycle._jit import sqrt"),
        ("splits/kfold.py", "def f():\n    import sklearn"),
        ("optim.py", "from lifecycle.rules import Rule"),
        ("store/models.py", "class A:\n    def f(self):\n        import scipy.stats"),
        ("linear/base_estimator.py", "from sklearn.base import clone"),
        ("torch/models.py", "import torch"),
        ("onnx/converters/torch_module.py", "import torch\nfrom lifecycle.torch import models"),
    ],
)
def test_what_is_allowed_passes(file, text):
    assert faults(SOURCE / file, text) == []


def test_import_is_light():
    code = "import lifecycle, sys; print({'torch', 'sklearn', 'numba', 'onnx', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_no_module_bears_the_name_of_a_public_function():
    taken = {name for name in lifecycle.__all__ if (SOURCE / f"{name}.py").exists() or (SOURCE / name).is_dir()}
    assert taken == set()
