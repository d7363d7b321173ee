"""numba's disk cache of compiled kernels, without which everything still works: it is never the reason of a failure."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from numba.core.caching import FunctionCache, NullCache

KERNELS_NOT_KEPT = "compiled kernels cannot be kept"

_warned: set[str] = set()  # the problems that were reported in this process


class CacheUsage(NamedTuple):
    """Kernels that this process has saved in the disk cache and loaded from it, and the folders where they lie."""

    n_saved: int
    n_loaded: int
    folders: frozenset[str]


_usage = CacheUsage(0, 0, frozenset())


def cache_usage() -> CacheUsage:
    """The use of the disk cache so far."""
    return _usage


def _count(cache: FunctionCache, *, n_saved: int = 0, n_loaded: int = 0) -> None:
    global _usage
    folders = _usage.folders | {str(cache.cache_path)}
    _usage = CacheUsage(_usage.n_saved + n_saved, _usage.n_loaded + n_loaded, folders)


def disk_cache(function: Callable) -> Any:
    """The cache of a function; one that keeps nothing where numba has no folder that it may write to."""
    try:
        return _DiskCache(function)
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
        _warn_not_kept("neither the package's folder nor the user's cache is writable")
        return NullCache()


class _DiskCache(FunctionCache):
    """Kernels whose files cannot be read are compiled again; those that cannot be written are not kept."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            loaded = super().load_overload(sig, target_context)
            if loaded is not None:
                _count(self, n_loaded=1)
            return loaded
        except OSError as error:
            _warn_not_kept(str(error))
        except Exception as error:  # pickle raises nearly every one of them for a truncated or overwritten file
            _warn_once(
                "a damaged file of compiled kernels is replaced",
                f" (in {self.cache_path}; {type(error).__name__}: {error}): the kernel is compiled again",
            )
            with suppress(OSError):
                self.flush()  # also of an index that names a damaged file: else no process could ever replace it
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
            _count(self, n_saved=1)
        except Exception as error:  # of the disk, or of an index that is damaged and could not be replaced
            _warn_not_kept(str(error))


def _warn_not_kept(reason: str) -> None:
    _warn_once(
        KERNELS_NOT_KEPT,
        f", as {reason}: every process compiles them again; NUMBA_CACHE_DIR names another folder",
    )


def _warn_once(problem: str, details: str) -> None:
    if problem not in _warned:
        _warned.add(problem)
        warnings.warn(problem + details, stacklevel=3)
