"""numba's disk cache of compiled kernels, without which everything still works: it is never the reason of a failure."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numba.core.caching import FunctionCache, NullCache

_warned: set[str] = set()  # the problems that were reported in this process


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
            return super().load_overload(sig, target_context)
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
        except Exception as error:  # of the disk, or of an index that is damaged and could not be replaced
            _warn_not_kept(str(error))


def _warn_not_kept(reason: str) -> None:
    _warn_once(
        "compiled kernels cannot be kept",
        f", as {reason}: every process compiles them again; NUMBA_CACHE_DIR names another folder",
    )


def _warn_once(problem: str, details: str) -> None:
    if problem not in _warned:
        _warned.add(problem)
        warnings.warn(problem + details, stacklevel=3)
