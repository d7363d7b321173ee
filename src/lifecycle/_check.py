"""Checks of arguments, and the errors that have names."""

import math
import numbers
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

_PLAIN = frozenset({float, int, bool, str, type(None)})


class CorruptBundle(ValueError):
    """A file that is not a bundle, or a bundle that is truncated or altered."""


class NonFiniteGradient(ValueError):
    """A gradient with NaN or infinity, raised where the optimizer has nonfinite="raise"."""


class ModelsFailed(ValueError):
    """Some of many models could not be fitted: `errors` holds the exception of each, by its index; `models` holds the
    fitted models, and None for those with errors."""

    def __init__(self, models: list[Any], errors: dict[int, Exception]):
        first = min(errors)
        super().__init__(f"{len(errors)} of {len(models)} models could not be fitted; model {first}: {errors[first]}")
        self.models, self.errors = models, errors

    def __reduce__(self) -> tuple:
        return type(self), (self.models, self.errors)


class UnsupportedModel(TypeError):
    """A model of a kind that the function does not support."""


def to_scalar(value: Any) -> Any:
    """A numpy scalar, or an array or tensor without dimensions, as a Python number; anything else as it is."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, np.generic) or (getattr(value, "ndim", None) == 0 and hasattr(value, "item")):
        return value.item()
    return value


def one_of(name: str, value: Any, options: Iterable) -> Any:
    """The option that equals `value`, which may be a numpy scalar (of a grid); else a ValueError lists them."""
    options = list(options)
    given = to_scalar(value)
    for option in options:
        if given is option or (type(given) is type(option) and given == option):
            return option
    raise ValueError(f"{name} must be one of {', '.join(repr(o) for o in options)}; got {value!r}")


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    low: float | None = None,
    below: float | None = None,
    high: float | None = None,
) -> float:
    """A finite real number with above < value, low <= value, value < below, value <= high, as a float."""
    given = to_scalar(value)
    is_number = type(given) is float or (isinstance(given, numbers.Real) and not isinstance(given, bool))
    if is_number:
        x = float(given)
        if (
            math.isfinite(x)
            and (above is None or x > above)
            and (low is None or x >= low)
            and (below is None or x < below)
            and (high is None or x <= high)
        ):
            return x
    bounds = [(above, "> {}"), (low, ">= {}"), (below, "< {}"), (high, "<= {}")]
    range_text = " and ".join(text.format(bound) for bound, text in bounds if bound is not None)
    must_be = f"number {range_text}" if range_text else "number"
    if not is_number:
        raise TypeError(f"{name} must be a {must_be}; got {value!r}")
    raise ValueError(f"{name} must be a finite {must_be}; got {value!r}")


def integer(name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """An integer within [low, high], as an int."""
    given = to_scalar(value)
    if isinstance(given, bool) or not isinstance(given, numbers.Integral):
        raise TypeError(f"{name} must be an integer; got {value!r}")
    value = int(given)
    if (low is not None and value < low) or (high is not None and value > high):
        range_text = " and ".join(f"{sign} {b}" for sign, b in ((">=", low), ("<=", high)) if b is not None)
        raise ValueError(f"{name} must be {range_text}; got {value!r}")
    return value


def random_state(seed: Any) -> np.random.RandomState:
    """int, RandomState, Generator or None -> RandomState (None: numpy's global one, as in scikit-learn)."""
    if seed is None:
        return np.random.mtrand._rand
    if isinstance(seed, np.random.RandomState):
        return seed
    if isinstance(seed, np.random.Generator):
        return np.random.RandomState(seed.bit_generator)
    if isinstance(seed, numbers.Integral) and not isinstance(seed, bool):
        return np.random.RandomState(int(seed))
    raise ValueError(f"random_state must be an int, a RandomState, a Generator or None; got {seed!r}")


def check_column_names(names: list[str], expected: list[str]) -> None:
    """ValueError unless the columns of a table are those that a model was trained on, in their order."""
    if names == expected:
        return
    parts = {
        "missing": _without(expected, names),
        "unknown": _without(names, expected),
    }
    details = [f"{what}: {', '.join(map(repr, found[:5]))}" for what, found in parts.items() if found]
    raise ValueError(
        "the columns of X are not those that the model was trained on, in their order"
        + (f" ({'; '.join(details)})" if details else "")
    )


def _without(names: list[str], others: list[str]) -> list[str]:
    known = set(others)
    return [name for name in names if name not in known]


def require_name(what: str, name: str) -> str:
    """A name that may be that of a folder: letters, digits, "-", "_" and ".", and not a dot first."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", name):
        raise ValueError(f'{what} must be letters, digits, "-", "_" and "."; got {name!r}')
    return name
