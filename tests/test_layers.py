"""A floor imports only from floors below it; the imports are read, not run."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lifecycle

SOURCE = Path(lifecycle.__file__).parent
GROUND_ROOMS = {"rules", "loops", "losses", "penalties", "splits", "masks", "codecs", "formats", "solvers"}
FOUNDATION = {"_jit", "_threads", "_check"}
SECOND_FLOOR = {"torch", "onnx"}
ROOF = {"reporting", "_demo", "__main__"}
LATE = {"sklearn", "scipy", "pandas", "matplotlib"}  # inside functions, so that `import lifecycle` stays light
ON_DEMAND = {"estimators", "lanes"} | SECOND_FLOOR  # rooms that are themselves imported late
SUBCLASSES = {"validation/_search.py"}  # of scikit-learn's classes; imported on the first use of its room
FRAMEWORKS = {"torch", "onnx", "onnxruntime", "onnxscript", "skl2onnx", "keras"}


def imports(path: Path, text: str | None = None):
    """(top-level package or lifecycle room, is inside a function) of every import of a file."""
    tree = ast.parse(path.read_text() if text is None else text)
    functions = (f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef))
    late = {id(node) for function in functions for node in ast.walk(function)}
    package = ["lifecycle", *path.relative_to(SOURCE).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield (
                (f"lifecycle.{parts[1]}" if parts[0] == "lifecycle" and len(parts) > 1 else parts[0]),
                id(node) in late,
            )


def faults(path: Path, text: str | None = None) -> list[str]:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    found = []
    for name, late in imports(path, text):
        if room == "splits" and name == "sklearn" and late:
            continue  # a splitter speaks scikit-learn's protocol of metadata to whoever has it
        inner = name.removeprefix("lifecycle.") if name.startswith("lifecycle.") else None
        if name in FRAMEWORKS and room not in SECOND_FLOOR:
            found.append(f"{path.name} imports {name}")
        own_class = name == "sklearn" and path.relative_to(SOURCE).as_posix() in SUBCLASSES
        if name in LATE and not late and room not in ON_DEMAND and not own_class:
            found.append(f"{path.name} imports {name} at module level")
        if room in GROUND_ROOMS | FOUNDATION:
            if inner is not None and inner not in FOUNDATION | {room}:
                found.append(f"{path.name} imports lifecycle.{inner}")
            own = {"threadpoolctl"} if room == "_threads" else set()
            if inner is None and name not in {"numpy", "numba", "llvmlite"} | own | sys.stdlib_module_names:
                found.append(f"{path.name} imports {name}")
        elif inner in ROOF and room not in ROOF:
            found.append(f"{path.name} imports lifecycle.{inner}")
        elif inner in SECOND_FLOOR and room not in ROOF | {inner}:
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
        ("rules/adam.py", "from ..loops import plain"),
        ("loops/plain.py", "from lifecycle.optim import Adam"),
        ("optim.py", "import torch"),
        ("store.py", "from sklearn.base import clone"),
        ("validation/_folds.py", "try:\n    import pandas\nexcept ImportError:\n    pass"),
        ("validation/_search.py", "import pandas"),
        ("optim.py", "def f():\n    from .torch import optimizers"),
        ("optim.py", "from . import reporting"),
        ("torch/models.py", "from .. import onnx"),
    ],
)
def test_the_test_can_fail(file, text):
    assert faults(SOURCE / file, text)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("rules/adam.py", "from .._jit import sqrt"),
        ("splits/kfold.py", "def f():\n    import sklearn"),
        ("optim.py", "from .rules import Rule"),
        ("store.py", "class A:\n    def f(self):\n        import scipy.stats"),
        ("estimators/_linear.py", "from sklearn.base import clone"),
        ("torch/models.py", "import torch"),
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
