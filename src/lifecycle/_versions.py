"""What a bug report needs to say of the machine."""

import platform
import sys
from importlib import metadata

_PACKAGES = (
    "numpy", "numba", "llvmlite", "scipy", "scikit-learn", "safetensors", "tqdm", "joblib", "torch", "onnx",
    "onnxruntime", "matplotlib", "pandas",
)  # fmt: skip


def show_versions() -> None:
    """Print the versions of Python, of lifecycle and of what it uses, and how many threads it uses."""
    from lifecycle import __version__, _threads

    facts = {
        "lifecycle": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        **{name: _version(name) for name in _PACKAGES},
        "threads": _threads.num_threads(),
    }
    width = max(map(len, facts))
    sys.stdout.write("".join(f"{name:<{width}}  {fact}\n" for name, fact in facts.items()))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
