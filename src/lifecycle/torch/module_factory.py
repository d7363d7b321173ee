"""From the argument `module` and the data to a module."""

import copy
import functools
import inspect
import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from lifecycle.torch.models import MLP


def build(module: Any, given: dict[str, Any], shape: tuple[int, ...], n_out: int) -> nn.Module:
    """A copy of a module, or what a callable makes of `given` and of what it takes of n_in, n_out and image_size.

    `shape` is that of one sample, or of one step of a sequence.
    """
    if isinstance(module, nn.Module):
        if given:
            raise ValueError(
                f"module__{next(iter(given))} has no effect on a module that is made already: pass the class instead, "
                f"module={type(module).__name__}"
            )
        return copy.deepcopy(module)
    if isinstance(module, functools.partial) and not module.args:
        return build(module.func, module.keywords | given, shape, n_out)
    maker = MLP if module is None else module
    if not callable(maker):
        raise TypeError(f"module must be None, a torch module, or a callable that returns one; got {module!r}")
    name = getattr(maker, "__name__", type(maker).__name__)
    takes = inspect.signature(maker).parameters
    kinds = inspect.Parameter
    named = [k for k, p in takes.items() if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    if not any(p.kind is kinds.VAR_KEYWORD for p in takes.values()):
        for key in given:
            if key not in named:
                raise ValueError(f"module__{key} is no argument of {name}; it takes: {', '.join(named) or 'none'}")
    filled = {"n_out": n_out, **_sizes(maker, named, given, shape)}
    arguments = {k: v for k, v in filled.items() if k in named} | given
    for key in named:
        if takes[key].default is kinds.empty and key not in arguments:
            raise ValueError(f"{name} needs the argument {key}: pass module__{key}")
    made = maker(**arguments)
    if not isinstance(made, nn.Module):
        raise TypeError(f"module must return a torch module; {name} returned {type(made).__name__}")
    return made


def _sizes(maker: Any, named: Sequence[str], given: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """n_in, and image_size where it is taken, as far as they are not given."""
    if "image_size" in named:
        return _image(given, shape)
    if given.get("n_tokens") is not None and "n_in" not in given:
        raise ValueError("with token ids n_in is the width of the embedding, not found in the data: pass module__n_in")
    if isinstance(maker, type) and issubclass(maker, MLP):
        return {"n_in": math.prod(shape)}
    # images (channels, height, width), steps of a sequence (…, features), or one feature a step
    return {"n_in": shape[0] if len(shape) == 3 else shape[-1] if shape else 1}


def _image(given: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    if "image_size" in given and "n_in" in given:
        return {}
    if len(shape) == 3:
        return {"n_in": shape[0], "image_size": shape[1:]}
    if len(shape) == 2:
        return {"n_in": 1, "image_size": shape}
    if len(shape) != 1:
        raise ValueError("this module takes images, (n, channels, height, width), (n, height, width) or flat rows")
    if "image_size" in given:
        size = given["image_size"]
        area = math.prod(size) if isinstance(size, Sequence) else size**2
        n_in, rest = divmod(shape[0], area)
        if rest or not n_in:
            raise ValueError(f"rows of {shape[0]} values are no images of image_size={size!r}")
        return {"n_in": n_in}
    n_in = given.get("n_in", 1)
    side = math.isqrt(shape[0] // n_in)
    if n_in * side**2 != shape[0]:
        raise ValueError(
            f"rows of {shape[0]} values are no square images of {n_in} channel{'s' * (n_in > 1)}: pass "
            "module__image_size=(height, width), or X as (n, channels, height, width)"
        )
    return {"n_in": n_in, "image_size": (side, side)}
