"""`show_versions`: the versions that a bug report needs."""

import platform
import sys
from importlib import metadata

_PACKAGES = (
    "numpy numba llvmlite scipy scikit-learn tqdm joblib torch onnx onnxruntime matplotlib pandas pyarrow"
).split()


def show_versions() -> None:
    """Print the versions of Python, of lifecycle and of its dependencies, and the number of threads."""
    from lifecycle import __version__, _threads

    versions = {
        "lifecycle": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        **{name: _version(name) for name in _PACKAGES},
        "threads": _threads.num_threads(),
    }
    width = max(map(len, versions))
    sys.stdout.write("".join(f"{name:<{width}}  {version}\n" for name, version in versions.items()))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
