"""`nn.LSTM`, `nn.GRU` and their cells with int8 weights and activations."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from lifecycle.torch.quantized.base import Grids, QuantizedModule
from lifecycle.torch.quantized.kernels import (
    eight_bits,
    is_differentiated,
    is_finite,
    prepack_linear,
    range_with_zero,
    span_is_rounded_well,
)

_ASSUMED_STEPS = 32
State = tuple[torch.Tensor, ...]  # of an LSTM: hidden and cell state; of a GRU: hidden state


class Int8Recurrent(QuantizedModule):
    """A recurrent layer with int8 weights, one scale per row, and int8 activations at each step.

    The inputs of a step share one scale, and so do the hidden states of a step: each output has an error in proportion
    to the largest value of the whole batch. Buffers: for each weight its codes and scales, ``weight_ih_l0_codes`` and
    so on, and the biases.

    Samples with NaN or infinity (of sequences of different lengths: all), inputs and states that the kernel does not
    round well because they are small or huge, and dropout in training are computed in float32.
    """

    kind = "recurrent"
    n_states: ClassVar[int]
    arguments: ClassVar[tuple[str, ...]]  # of the floating-point layer, which are attributes here too

    input_size: int
    hidden_size: int

    def __init__(self, arguments: Mapping[str, Any], grids: Grids, biases: Mapping[str, torch.Tensor]) -> None:
        super().__init__(grids, biases)
        for name in self.arguments:
            setattr(self, name, arguments[name])

    @classmethod
    def weights_of(cls, module: nn.Module) -> list[str]:
        return [name for name in module._parameters if name.startswith("weight_")]

    @classmethod
    def from_float(cls, module: Any, grids: Grids) -> Self:
        given = {name: p for name, p in module._parameters.items() if name.startswith("bias_") and p is not None}
        biases = {name: p.detach().clone() for name, p in given.items()}
        ordered = {name: grids[name] for name in cls.weights_of(module)}
        return cls({name: getattr(module, name) for name in cls.arguments}, ordered, biases).train(module.training)

    @classmethod
    def example(cls) -> tuple[Self, tuple]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = cls.replaces(4, 4, dtype=torch.float32)
            x = torch.randn(*[3] * (cls.replaces in (nn.LSTM, nn.GRU)), 2, 4, dtype=torch.float32)
        grids = {}
        for name in cls.weights_of(net):
            weight = getattr(net, name).detach()
            codes = (weight * 127 / weight.abs().max()).round().to(torch.int8)
            grids[name] = codes, torch.full((len(weight),), 0.01, dtype=torch.float32)
        return cls.from_float(net, grids), (x, None)

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._outside_graphs(input, hx)

    def _values(self, arguments: tuple) -> torch.Tensor:
        x = arguments[0]
        return x.data if isinstance(x, PackedSequence) else x

    def _is_differentiated(self, arguments: tuple) -> bool:
        state = arguments[1]
        states = () if state is None else (state,) if isinstance(state, torch.Tensor) else tuple(state)
        return any(is_differentiated(x) for x in (self._values(arguments), *states))

    def _dtype_of_autocast(self, dtype: torch.dtype) -> torch.dtype:
        given = super()._dtype_of_autocast(dtype)
        return given if dtype == given else torch.float32

    def _float_layer(self) -> nn.Module:
        """The floating-point layer with the decoded weights."""
        with torch.device("meta"):
            layer = self.replaces(**{name: getattr(self, name) for name in self.arguments}).requires_grad_(False)
        tensors = {name: getattr(self, name) for name, p in layer._parameters.items() if p is not None}
        layer.load_state_dict(tensors, assign=True)
        return layer.train(self.training)

    def _forward_float(self, *arguments: Any) -> Any:
        return self._float_layer()(*arguments)

    def _split_state(self, state: Any) -> State:
        return (state,) if self.n_states == 1 else tuple(state)

    def _joined_state(self, state: State) -> Any:
        return state[0] if self.n_states == 1 else state

    def _cells(self) -> list[Any] | None:
        """The packed weights of each layer and direction; None if sums of the kernel could overflow."""

        def pack() -> list[Any] | None:
            if self._sums_overflow():
                return None
            return [self._pack_cell(ih, hh) for ih, hh in zip(*[iter(self.weight_names)] * 2, strict=True)]

        return cast("list[Any] | None", self._cached("cells", pack))

    def _pack_cell(self, *weights: str) -> Any:
        packed, biases = [], []
        for name in weights:
            codes, scales = self.grid(name)
            bias = self._buffers.get(name.replace("weight", "bias"))
            packed.append(prepack_linear(codes, scales, bias))
            biases.append(torch.zeros(len(codes), dtype=torch.float32) if bias is None else bias)
        return torch.ops.quantized.make_quantized_cell_params_dynamic(*packed, *biases, not eight_bits())

    def _run(self, x: torch.Tensor, sizes: torch.Tensor | None, state: State, directions: int) -> tuple | None:
        """Outputs and state of all layers; None where the kernel would not round well, or cannot be used.

        `x`: (steps, batch, inputs), or the data of a packed sequence with its batch sizes.
        """
        cells = self._cells()
        if cells is None:
            self._overflow_warning()
            return None
        finite = all(bool(torch.isfinite(s).all()) for s in state)
        if not (finite and _is_rounded_well(x) and _is_rounded_well(state[0])):
            return None
        states = []
        for start in range(0, len(cells), directions):
            part = slice(start, start + directions)
            x, *new = self._kernel(x, sizes, [s[part] for s in state], cells[part], directions == 2)
            # outputs of a step are inputs of the next
            if not _is_rounded_well(x):
                return None
            states.append(new)
        return x, tuple(torch.cat(of_layers) for of_layers in zip(*states, strict=True))

    def _kernel(
        self, x: torch.Tensor, sizes: torch.Tensor | None, state: list[torch.Tensor], cells: list[Any], both: bool
    ) -> tuple:
        data = (x,) if sizes is None else (x, sizes)
        hx: Any = state if self.n_states == 2 else state[0]
        options: tuple[Any, ...] = (True, 1, 0.0, False, both) + (() if sizes is not None else (False,))
        if self.n_states == 1:
            return torch.quantized_gru(*data, hx, cells, *options)
        return torch.quantized_lstm(*data, hx, cells, *options, dtype=torch.qint8, use_dynamic=True)

    def extra_repr(self) -> str:
        options = [f"{name}={getattr(self, name)}" for name in self.arguments[2:]]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *options])


def _is_rounded_well(x: torch.Tensor) -> bool:
    low, high = range_with_zero(x) if x.numel() else (0.0, 0.0)
    return is_finite(low, high) and span_is_rounded_well(low, high)


class _Int8Network(Int8Recurrent):
    """`nn.LSTM` and `nn.GRU`."""

    arguments = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
    num_layers: int
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size = 0

    @classmethod
    def supports(cls, module: Any) -> bool:
        return super().supports(module) and not module.proj_size

    def flatten_parameters(self) -> None:
        """Nothing, as the weights are packed in another way."""

    def assumed_input(self, batch_size: int) -> torch.Tensor:
        sizes = (batch_size, _ASSUMED_STEPS) if self.batch_first else (_ASSUMED_STEPS, batch_size)
        return torch.randn(*sizes, self.input_size, generator=torch.Generator().manual_seed(0), dtype=torch.float32)

    def _forward_quantized(self, x: Any, hx: Any) -> Any:
        if self.training and self.dropout and self.num_layers > 1:
            return self._forward_float(x, hx)
        if isinstance(x, PackedSequence):
            found = self._forward_packed(x, hx)
        elif x.ndim == 2:  # one sequence, without a batch dimension
            return self._forward_unbatched(x, hx)
        else:
            found = self._forward_batch(x, hx) if x.ndim == 3 else None
        return self._forward_float(x, hx) if found is None else found

    def _forward_unbatched(self, x: torch.Tensor, hx: Any) -> Any:
        dim = 0 if self.batch_first else 1
        state = None if hx is None else self._joined_state(tuple(s.unsqueeze(1) for s in self._split_state(hx)))
        out, new = self._forward_quantized(x.unsqueeze(dim), state)
        return out.squeeze(dim), self._joined_state(tuple(s.squeeze(1) for s in self._split_state(new)))

    def _forward_packed(self, x: PackedSequence, hx: Any) -> Any:
        state = self._state(x.data, hx, int(x.batch_sizes[0]))
        if state is None:
            return None
        if x.sorted_indices is not None:
            state = tuple(s.index_select(1, x.sorted_indices) for s in state)
        found = self._run(x.data, x.batch_sizes, state, 1 + self.bidirectional)
        if found is None:
            return None
        out, new = found
        if x.unsorted_indices is not None:
            new = tuple(s.index_select(1, x.unsorted_indices) for s in new)
        packed = PackedSequence(out, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        return packed, self._joined_state(new)

    def _forward_batch(self, x: torch.Tensor, hx: Any) -> Any:
        steps_first = x.transpose(0, 1) if self.batch_first else x
        state = self._state(x, hx, steps_first.shape[1])
        if state is None:
            return None
        finite = _finite_samples(steps_first, state)
        if not finite.all():
            return self._forward_finite_samples(x, state, finite)
        found = self._run(steps_first.contiguous(), None, state, 1 + self.bidirectional)
        if found is None:
            return None
        return found[0].transpose(0, 1) if self.batch_first else found[0], self._joined_state(found[1])

    def _state(self, x: torch.Tensor, hx: Any, batch: int) -> State | None:
        """The initial state; None if the shapes of input and state do not fit."""
        shape = (self.num_layers * (1 + self.bidirectional), batch, self.hidden_size)
        if x.shape[-1] != self.input_size:
            return None
        if hx is None:
            return (torch.zeros(shape, dtype=torch.float32),) * self.n_states
        state = self._split_state(hx)
        fits = len(state) == self.n_states and all(s.shape == shape and s.dtype == torch.float32 for s in state)
        return state if fits else None

    def _forward_finite_samples(self, x: torch.Tensor, state: State, finite: torch.Tensor) -> Any:
        """The layer where samples with NaN or infinity have floating-point activations."""
        dim = 0 if self.batch_first else 1
        out, new = self._forward_float(x, self._joined_state(state))
        if finite.any():
            rows = finite.nonzero()[:, 0]
            part = self._joined_state(tuple(s.index_select(1, rows) for s in state))
            quantized, of_rows = self._forward_quantized(x.index_select(dim, rows), part)
            out = out.index_copy(dim, rows, quantized)
            pairs = zip(self._split_state(new), self._split_state(of_rows), strict=True)
            new = self._joined_state(tuple(a.index_copy(1, rows, b) for a, b in pairs))
        return out, new


def _finite_samples(x: torch.Tensor, state: State) -> torch.Tensor:
    """Which samples of a batch (steps, batch, inputs) have finite inputs and states."""
    finite = torch.isfinite(x).all(2).all(0)
    for s in state:
        finite = finite & torch.isfinite(s).all(2).all(0)
    return finite


class _Int8Cell(Int8Recurrent):
    """`nn.LSTMCell` and `nn.GRUCell`: one step of the network of one layer."""

    arguments = ("input_size", "hidden_size", "bias")

    def assumed_input(self, batch_size: int) -> torch.Tensor:
        return torch.randn(batch_size, self.input_size, generator=torch.Generator().manual_seed(0), dtype=torch.float32)

    def _forward_quantized(self, x: torch.Tensor, hx: Any) -> Any:
        if x.ndim == 1:
            state = None if hx is None else self._joined_state(tuple(s[None] for s in self._split_state(hx)))
            new = self._forward_quantized(x[None], state)
            return self._joined_state(tuple(s[0] for s in self._split_state(new)))
        shape = (len(x), self.hidden_size) if x.ndim == 2 else ()
        state = (torch.zeros(shape, dtype=torch.float32),) * self.n_states if hx is None else self._split_state(hx)
        if x.shape[1:] != (self.input_size,) or any(s.shape != shape or s.dtype != torch.float32 for s in state):
            return self._forward_float(x, hx)
        state = tuple(s[None] for s in state)
        finite = _finite_samples(x[None], state)
        if not finite.all():
            return self._forward_finite_samples(x, state, finite)
        found = self._run(x[None].contiguous(), None, state, 1)
        return self._forward_float(x, hx) if found is None else self._joined_state(tuple(s[0] for s in found[1]))

    def _forward_finite_samples(self, x: torch.Tensor, state: State, finite: torch.Tensor) -> Any:
        new = self._forward_float(x, self._joined_state(tuple(s[0] for s in state)))
        if finite.any():
            part = self._forward_quantized(x[finite], self._joined_state(tuple(s[0, finite] for s in state)))
            for whole, rows in zip(self._split_state(new), self._split_state(part), strict=True):
                whole[finite] = rows
        return new


class Int8LSTM(_Int8Network):
    """`nn.LSTM` without projections: see `Int8Recurrent`."""

    replaces, n_states = nn.LSTM, 2


class Int8GRU(_Int8Network):
    """`nn.GRU`: see `Int8Recurrent`."""

    replaces, n_states = nn.GRU, 1


class Int8LSTMCell(_Int8Cell):
    """`nn.LSTMCell`: see `Int8Recurrent`."""

    replaces, n_states = nn.LSTMCell, 2


class Int8GRUCell(_Int8Cell):
    """`nn.GRUCell`: see `Int8Recurrent`."""

    replaces, n_states = nn.GRUCell, 1
