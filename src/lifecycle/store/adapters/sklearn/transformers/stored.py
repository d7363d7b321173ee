"""How a class of transformers is stored: its arguments, what its fit leaves, and how an object is made of these again.

`load` makes an object of the class with the arguments, lets it fit a few synthetic rows, which checks the arguments and
sets what this version of scikit-learn keeps in private attributes, and then replaces what it learned.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import one_of
from lifecycle.store.adapters.labels import check_feature_names

ONE_ROW, TWO_ROWS = ((1.0,),), ((0.0,), (1.0,))  # of one column: what is learned of them is replaced
N_FEATURES, FEATURE_NAMES = "n_features_in_", "feature_names_in_"
_FLAGS = (bool, np.bool_)


class Numbers(NamedTuple):
    """An array of numbers that a fit leaves, or one number where `shape` is empty.

    `shape`: names of the dimensions, none of them of size 0; "n" is `n_features_in_`, and equal names have equal sizes.
    `kinds`: of the dtype. `nan`, `inf`: whether it may hold these. `none`: whether it may be None, always or where the
    argument of this name is false. `or_number`: whether it may be one number. `required`: whether every fit leaves it.
    """

    shape: tuple[str, ...] = ()
    kinds: str = "f"
    nan: bool = False
    inf: bool = False
    none: bool | str = False
    or_number: bool = False
    required: bool = True

    def check(self, step: Any, name: str, value: Any, sizes: dict[str, int]) -> None:
        """ValueError unless the value is such an array, of these sizes; sizes of other names are added to them."""
        if value is None and (self.none is True or (self.none and not getattr(step, str(self.none)))):
            return
        is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, _FLAGS)
        shape = () if self.or_number and is_number else self.shape
        array = np.asarray(value) if is_number else value
        if not isinstance(array, np.ndarray) or array.ndim != len(shape) or array.dtype.kind not in self.kinds:
            raise ValueError(f"{name} is malformed")
        if any(size == 0 or sizes.setdefault(key, size) != size for key, size in zip(shape, array.shape, strict=True)):
            raise ValueError(f"{name} has the shape {array.shape}, which does not fit the others")
        if (
            array.dtype.kind == "f"
            and not (np.isfinite(array) | (self.nan and np.isnan(array)) | (self.inf and np.isinf(array))).all()
        ):
            raise ValueError(f"{name} holds a value that is not finite")


class Flag(NamedTuple):
    """A truth value that a fit leaves."""

    required: bool = True

    def check(self, step: Any, name: str, value: Any, sizes: dict[str, int]) -> None:
        if not isinstance(value, _FLAGS):
            raise ValueError(f"{name} is malformed")


_MODULES = {"numpy": "numpy", "sklearn.feature_selection": "sklearn.feature_selection"}  # of functions


class Functions(NamedTuple):
    """The functions of a module that an argument may be: a file has their names."""

    module: str  # a key of the table
    names: tuple[str, ...]

    def named(self, name: Any) -> Any:
        return getattr(import_module(_MODULES[self.module]), one_of("the function", name, self.names))

    def name_of(self, function: Any) -> str | None:
        """The name of a function; None if it is none of these."""
        return next((name for name in self.names if self.named(name) is function), None)


def refit(
    step: Any, learned: dict[str, Any], rows: Any = ONE_ROW, y: Any = None, during: Mapping[str, Any] | None = None
) -> Any:
    """The step, fitted to rows with some arguments replaced `during` that fit, and with these attributes."""
    given = {k: getattr(step, k) for k in during or {}}
    step.set_params(**(during or {}))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of the few rows
        step.fit(rows, y)
    for k in (N_FEATURES, FEATURE_NAMES):  # where the fit that is stored had none
        vars(step).pop(k, None)
    vars(step).update(learned)
    return step.set_params(**given)


@dataclass(frozen=True)
class Stored:
    """How a class is stored.

    Attributes
    ----------
    module : of scikit-learn
    params : arguments that a file may hold
    learned : attributes that a fit leaves, and what they must be; `n_features_in_` and `feature_names_in_` besides
    functions : of the arguments that are functions, those that can be stored
    fitted : an attribute that tells whether the step was fitted; None for one that needs no fit
    n_outputs : how many columns a fitted step makes; None: as many as it takes
    read : what is stored of a fitted step in place of attributes, or in another form
    check : a ValueError where arguments and learned values do not fit each other, or ask for too much
    restore : makes the step with its arguments what it was, of what was stored
    """

    module: str
    params: tuple[str, ...]
    learned: Mapping[str, Any] = field(default_factory=dict)
    functions: Mapping[str, Functions] = field(default_factory=dict)
    fitted: str | None = N_FEATURES
    n_outputs: Callable[[Any], int] | None = None
    read: Callable[[Any], dict[str, Any]] | None = None
    check: Callable[[Any, dict[str, Any]], None] | None = None
    restore: Callable[[Any, dict[str, Any]], Any] = refit

    def values_of(self, step: Any) -> dict[str, Any]:
        """What a fitted step learned, as it is stored."""
        names = (*self.learned, N_FEATURES, FEATURE_NAMES)
        values = {k: getattr(step, k) for k in names if hasattr(step, k)}
        return values if self.read is None else values | self.read(step)

    def check_values(self, step: Any, values: dict[str, Any]) -> None:
        """ValueError unless a fit of a step with these arguments can leave these values."""
        n = values.get(N_FEATURES)
        if N_FEATURES in values or self.fitted == N_FEATURES:
            if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
                raise ValueError(f"the number of columns of a {type(step).__name__} is malformed")
            n = int(n)
        sizes = {} if n is None else {"n": n}
        for name, rule in self.learned.items():
            if name in values:
                rule.check(step, name, values[name], sizes)
            elif rule.required:
                raise ValueError(f"{name} of a {type(step).__name__} is missing")
        if values.get(FEATURE_NAMES) is not None:
            check_feature_names(values[FEATURE_NAMES], -1 if n is None else n)
        dtype = getattr(step, "dtype", None)
        if dtype is not None and np.dtype(dtype).kind not in "biuf":
            raise ValueError(f"the dtype {dtype} of a {type(step).__name__} is not one of numbers")
        if self.check is not None:
            self.check(step, values)
