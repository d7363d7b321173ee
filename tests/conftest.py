import os
import tempfile

# numba's cache key ignores compile options: every run compiles again, into a new folder
os.environ.setdefault("NUMBA_CACHE_DIR", tempfile.mkdtemp(prefix="lifecycle-numba-"))
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("MPLBACKEND", "agg")
