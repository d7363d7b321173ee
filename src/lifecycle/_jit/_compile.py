"""Compile options, inlining, and the stamps by which the disk cache tells kernels apart.

No `parallel=True`: its layers abort or kill processes that thread or fork.
"""

import hashlib
import inspect
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numba
from numba.core import types
from numba.extending import register_jitable

# kernels call the functions of this folder, of which the intrinsic ones show no code that could be hashed
_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
_OWN_SOURCE = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).digest()


def kernel(function: Callable, mark: str = "", *, reassociate: bool = False, contract: bool = False) -> Any:
    """Compile a serial loop: releases the GIL, cached on disk, IEEE division, no fast-math.

    `mark`: the `stamp` of the functions that it takes from its closure; it must stand in its closure too.
    `reassociate`: a sum may be taken in another order, the same at each call, which lets it be vectorized.
    `contract`: a product and a sum may be one operation with one rounding.
    """
    return _cached(numba.njit, _named(function, mark), nogil=True, **_options(reassociate, contract))


def native(function: Callable, mark: str = "", *, reassociate: bool = False, arguments: int = 3) -> Any:
    """Compile a function of int64 arguments as a C function with an `address`, which any kind of thread may call.

    A loop takes (arguments, begin, end): where the addresses and lengths of its arrays stand, and its range.
    """
    signature = types.void(*[types.int64] * arguments)
    made = _cached(partial(numba.cfunc, signature), _named(function, mark), **_options(reassociate))
    made.call = made.ctypes  # releases the GIL
    return made


def _options(reassociate: bool, contract: bool = False) -> dict[str, Any]:
    allowed = {flag for flag, wanted in (("reassoc", reassociate), ("contract", contract)) if wanted}
    return {"error_model": "numpy", "fastmath": allowed or False}


def _cached(compiler: Callable, function: Callable, **options: Any) -> Any:
    try:
        return compiler(cache=True, **options)(function)
    except RuntimeError as error:  # numba found no folder that it may write to
        if "no locator" not in str(error):
            raise
        _warn_once(
            "compiled kernels cannot be kept, as neither the package's folder nor the user's cache is writable: every "
            "process compiles them again; NUMBA_CACHE_DIR names another folder"
        )
        return compiler(**options)(function)


@cache
def _warn_once(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)


# an inlined function, by the compiler; numba's own inlining trips over conditional expressions
INLINED: Any = {"forceinline": True}


def element(function: Callable, mark: str = "") -> Any:
    """Mark a function that kernels call; it stays a plain Python function outside of them. `mark` as in `kernel`.

    It is always inlined: a loop that calls a function does not vectorize.
    """
    return register_jitable(**INLINED)(_named(function, mark))


def _named(function: Callable, mark: str) -> Callable:
    """The function under a name that it has with no other closure.

    numba links compiled code by name, and two kernels out of its disk cache that were compiled in different
    processes may bear the same one: without this, one rule or loss would silently run in place of another.
    """
    if mark:
        function.__qualname__ += f"_{mark[:16]}"
    return function


def stamp(*parts: Any) -> str:
    """Hash of what functions do, and the functions that they call, and of constants, for the closure of a kernel.

    numba's disk cache looks at a kernel's own source only; with this string in its closure the kernel
    is compiled again after a function that it calls, or a constant that it uses, was edited. It is made of the
    compiled code that runs, not of the source on the disk, which may be another one by now. Whatever else makes two
    kernels of one function differ belongs into it too: numba tells them apart by their closures within a file that
    two processes may write at once, and by nothing once they are loaded.
    """
    found = hashlib.sha256(_OWN_SOURCE)
    seen: set[int] = set()
    for part in parts:
        _add_to_hash(part, found, seen)
    return found.hexdigest()


def _add_to_hash(value: Any, found: Any, seen: set[int]) -> None:
    if inspect.isfunction(value):
        if id(value) in seen or value.__module__.partition(".")[0] in ("numpy", "numba", "math"):
            found.update(value.__qualname__.encode())
            return
        seen.add(id(value))
        _add_code(value.__code__, value, found, seen)
        for part in (value.__defaults__, value.__kwdefaults__):
            found.update(repr(part).encode())
        for cell in value.__closure__ or ():
            _add_to_hash(cell.cell_contents, found, seen)
    elif not inspect.ismodule(value):
        found.update(repr(value).encode())


def _add_code(code: Any, function: Any, found: Any, seen: set[int]) -> None:
    found.update(code.co_code + repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        if inspect.iscode(constant):
            _add_code(constant, function, found, seen)
        else:
            plain = sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant
            found.update(repr(plain).encode())
    for name in code.co_names:
        value = function.__globals__.get(name)
        _add_to_hash(value, found, seen)
        if inspect.ismodule(value) and value.__name__.partition(".")[0] == function.__module__.partition(".")[0]:
            for attribute in code.co_names:  # module.function
                _add_to_hash(getattr(value, attribute, None), found, seen)
