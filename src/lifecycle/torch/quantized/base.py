"""What all layers with integer weights share: buffers, packed weights, and what is computed in floating point."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from lifecycle.torch.quantized.kernels import is_differentiated, pass_over_deprecation, sums_overflow, warn_slow

Grids = Mapping[str, tuple[torch.Tensor, torch.Tensor]]  # codes and scales, by the name of the weight


def buffer_names(weight: str) -> tuple[str, str]:
    """The names of the buffers with the codes and the scales of a weight."""
    return ("codes", "scales") if weight == "weight" else (f"{weight}_codes", f"{weight}_scales")


def floating_shapes(tensors: Mapping[str, torch.Tensor | None]) -> dict[str, list[int]]:
    """The shapes that the tensors of a layer have, or would have if its weights were not quantized, by their names."""
    shapes = {}
    for name, tensor in tensors.items():
        if tensor is not None and name not in ("scales", "input_range") and not name.endswith("_scales"):
            shapes["weight" if name == "codes" else name.removesuffix("_codes")] = list(tensor.shape)
    return shapes


class QuantizedModule(nn.Module, ABC):
    """A layer with weights of 4 or 8 bits, which takes the place of a floating-point one; for inference only.

    Each weight is two buffers: codes (int8, the weight's shape) and scales (float32, one for each output channel).
    The attribute of the weight's name decodes them.

    Where a derivative is asked for, in ``torch.func`` and ``vmap``, for empty inputs, and on machines without the
    kernel, it computes in float32 with the decoded weights, which have no gradient. Under ``torch.autocast`` inputs are
    made float32, and outputs have the dtype that those of the floating-point layer would have.

    The kernel reads a packed copy of the codes. It is made again after a buffer was replaced, moved, loaded, read for a
    state dict, or written to. torch does not count what is written through ``.data`` or numpy, or in
    ``torch.inference_mode``: call `repack` after it.
    """

    replaces: ClassVar[type[nn.Module]]  # the floating-point layer
    kind: ClassVar[str]  # of the weights, as in an adapter's `Layer`
    quantizes_inputs: ClassVar[bool] = True

    weight_names: tuple[str, ...]
    _made: "_Made | None"

    def __init__(self, grids: Grids, others: Mapping[str, torch.Tensor | None]) -> None:
        super().__init__()
        self.weight_names = tuple(grids)
        for weight, grid in grids.items():
            for name, value in zip(buffer_names(weight), grid, strict=True):
                self.register_buffer(name, value)
        for name, other in others.items():
            self.register_buffer(name, other)
        self._made = None

    @classmethod
    def supports(cls, module: nn.Module) -> bool:
        """Whether this class can replace the floating-point layer."""
        return type(module) is cls.replaces

    @classmethod
    def supports_codes(cls, codes: torch.Tensor, scales: torch.Tensor) -> bool:
        """Whether the class has a kernel for these codes, whose sums do not overflow."""
        return cls.fits(codes, scales) and not sums_overflow(codes)

    @classmethod
    def fits(cls, codes: torch.Tensor, scales: torch.Tensor) -> bool:
        """Whether the class takes codes and scales of these shapes."""
        return scales.shape == codes.shape[:1]

    @classmethod
    def weights_of(cls, module: nn.Module) -> list[str]:
        """The names of the weights of the floating-point layer that become codes."""
        return ["weight"]

    @classmethod
    @abstractmethod
    def from_float(cls, module: Any, grids: Grids) -> Self:
        """A layer of this class with the same geometry, biases and training mode as a floating-point one."""

    @classmethod
    @abstractmethod
    def example(cls) -> tuple[Self, tuple]:
        """A small layer and arguments of a call, to see whether its kernel works."""

    def geometry_key(self) -> tuple:
        """What the time of a call depends on, besides its input."""
        shapes = (tuple(getattr(self, name).shape) for names in map(buffer_names, self.weight_names) for name in names)
        return type(self), *shapes, self.extra_repr()

    @abstractmethod
    def assumed_input(self, batch_size: int) -> torch.Tensor:
        """An input of usual size, for layers whose inputs are not known."""

    def grid(self, weight: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes and scales of a weight."""
        codes, scales = buffer_names(weight)
        return getattr(self, codes), getattr(self, scales)

    def set_grid(self, weight: str, codes: torch.Tensor, scales: torch.Tensor) -> None:
        """Replace the codes and scales of a weight."""
        for name, value in zip(buffer_names(weight), (codes, scales), strict=True):
            setattr(self, name, value)

    def decoded(self, weight: str) -> torch.Tensor:
        """The weight of that name, float32."""
        codes, scales = self.grid(weight)
        return codes.float() * scales.view(-1, *[1] * (codes.ndim - 1))

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("weight_names", ()):
            return self.decoded(name)
        return super().__getattr__(name)

    def forward(self, input: Any) -> Any:  # the name that the replaced layers have for it
        return self._outside_graphs(input)

    def _outside_graphs(self, *arguments: Any) -> Any:
        # torch.compile cannot trace the kernels: its graph ends here. A call outside of it pays for the check alone
        if torch.compiler.is_compiling():
            return _forward_outside_graphs(self, *arguments)
        return self._forward(*arguments)

    def _forward(self, *arguments: Any) -> Any:
        x = self._values(arguments)
        if x.dtype in _CAST and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return _cast(self._forward(*_cast(arguments, torch.float32)), self._dtype_of_autocast(x.dtype))
        if x.dtype != torch.float32 or x.device.type != "cpu":
            raise ValueError(
                f"an int8 layer takes float32 tensors on the CPU; got {x.dtype} on {x.device}: convert the input"
            )
        if self._is_differentiated(arguments) or not x.numel():
            # the kernels have no derivative, and return other memory where there is nothing to multiply
            return self._forward_float(*arguments)
        if not kernel_works(type(self), self.is_static):
            warn_slow(f"torch has no int8 kernel for {type(self).__name__} on this machine: computed in float32")
            return self._forward_float(*arguments)
        try:
            return self._forward_quantized(*arguments)
        except (RuntimeError, IndexError):
            self._forward_float(*arguments)  # raises an error that says what is wrong with the shape
            raise

    def _dtype_of_autocast(self, dtype: torch.dtype) -> torch.dtype:
        """The dtype of the outputs under `torch.autocast`, for inputs of a dtype, as that of the replaced layer."""
        return torch.get_autocast_dtype("cpu")

    @property
    def is_static(self) -> bool:
        """Whether the range of the inputs is kept, not computed from each input."""
        return False

    def _values(self, arguments: tuple) -> torch.Tensor:
        """The tensor of inputs among the arguments of a call."""
        x: torch.Tensor = arguments[0]
        return x

    def _is_differentiated(self, arguments: tuple) -> bool:
        return is_differentiated(arguments[0])

    @abstractmethod
    def _forward_float(self, *arguments: Any) -> Any:
        """The layer in float32 with decoded weights, for all that the kernel does not support."""

    @abstractmethod
    def _forward_quantized(self, *arguments: Any) -> Any:
        """The layer with the kernel of torch."""

    def _forward_samples(self, x: torch.Tensor, n_dimensions: int) -> torch.Tensor:
        """The layer where samples with NaN or infinity have floating-point activations, and no part in a scale.

        The samples are those of the first dimension, or of all but the last `n_dimensions` if that is 1.
        """
        samples = x.flatten(0, -2) if n_dimensions == 1 else x
        finite = torch.isfinite(samples).flatten(1).all(1)
        out: torch.Tensor = self._forward_float(samples)
        if finite.any():
            out[finite] = self._forward_quantized(samples[finite])
        return out.unflatten(0, x.shape[:-1]) if n_dimensions == 1 else out

    def _cached(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` makes of the buffers; made again after one of them was replaced or written to."""
        made = self._made
        if made is None or not made.is_current(self._buffers):
            self._made = made = _Made(self._buffers)
        if key not in made.values:
            made.values[key] = make()
        return made.values[key]

    def repack(self) -> None:
        """Forget the packed weights: the next call packs the codes as they are then."""
        self._made = None

    def _overflow_warning(self) -> None:
        warn_slow(f"32-bit sums of {type(self).__name__} with this weight could overflow: computed in float32")

    def _sums_overflow(self) -> bool:
        return any(sums_overflow(self.grid(name)[0]) for name in self.weight_names)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        # `half` and `double` of a whole model must not round the scales: the kernel needs these dtypes
        def keep_dtype(t: torch.Tensor) -> torch.Tensor:
            changed = fn(t)
            return changed if changed.dtype == t.dtype else t.to(changed.device)

        return super()._apply(keep_dtype, recurse)

    def _load_from_state_dict(self, *arguments: Any, **keywords: Any) -> None:
        super()._load_from_state_dict(*arguments, **keywords)
        self.repack()  # in inference mode torch does not count what was written

    def _save_to_state_dict(self, *arguments: Any, **keywords: Any) -> None:
        super()._save_to_state_dict(*arguments, **keywords)
        self.repack()  # so that the layer computes what is stored

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}


class _Made:
    """What was made of the buffers of a layer, and the buffers as they were."""

    def __init__(self, buffers: Mapping[str, torch.Tensor | None]) -> None:
        self.values: dict[Any, Any] = {}
        self.seen = dict(buffers)
        # tensors that were made in inference mode have no version
        self.versions = [(t, t._version) for t in buffers.values() if t is not None and not t.is_inference()]

    def is_current(self, buffers: Mapping[str, torch.Tensor | None]) -> bool:
        """Whether none of the buffers was replaced or written to since."""
        for name, tensor in self.seen.items():
            if buffers[name] is not tensor:
                return False
        for written, version in self.versions:
            if written._version != version:
                return False
        return True


@torch._disable_dynamo
def _forward_outside_graphs(layer: QuantizedModule, *arguments: Any) -> Any:
    return layer._forward(*arguments)


def holds_quantized(net: nn.Module) -> bool:
    """Whether a module is, or has, a layer with integer weights."""
    return any(isinstance(module, QuantizedModule) for module in net.modules())


@cache
def kernel_works(cls: type[QuantizedModule], is_static: bool = False) -> bool:
    """Whether torch on this machine runs layers of that class with the right result."""
    layer, arguments = cls.example()
    if is_static:
        layer.input_range = torch.tensor([-1.0, 4.0], dtype=torch.float32)
    try:
        pass_over_deprecation()
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            got, want = layer._forward_quantized(*arguments), layer._forward_float(*arguments)
    except (RuntimeError, AttributeError, NotImplementedError):  # a torch without this operator, or without its engine
        return False
    pairs = zip(_tensors(got), _tensors(want), strict=True)
    return all(bool(torch.allclose(a, b, atol=0.05 * float(b.abs().max()))) for a, b in pairs)


_CAST = (torch.float32, torch.bfloat16, torch.float16)  # what autocast converts


def _cast(values: Any, dtype: torch.dtype) -> Any:
    """Arguments or outputs of a layer in another dtype."""
    if isinstance(values, tuple | list) and not isinstance(values, PackedSequence):
        return tuple(_cast(value, dtype) for value in values)
    return None if values is None else values.to(dtype)


def _tensors(values: Any) -> list[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        return [values]
    return [tensor for value in values for tensor in _tensors(value)]
