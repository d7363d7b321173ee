"""X as tensors, once, and batches of them: rows of one tensor, or sequences of different lengths."""

from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle.torch.quantized import Int8Embedding, QuantizedModule

_MULTIPLE = 8  # rows that a matrix product computes at once


class TensorRows:
    """One tensor with a row per sample."""

    def __init__(self, values: torch.Tensor):
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The module's input for these rows, and its keyword arguments; a copy, so that a module may write to it."""
        return self.values.index_select(0, rows), {}

    def pad(self, rows: torch.Tensor) -> torch.Tensor:
        """`rows`, the last one repeated so that a row's outputs do not depend on how many others are in its batch.

        Matrix products round the rows beyond a multiple differently. Images are not padded: it would cost much.
        """
        missing = -len(rows) % _MULTIPLE if self.values.ndim == 2 else 0
        return torch.cat((rows, rows[-1:].expand(missing))) if missing else rows


class Sequences:
    """Sequences of different lengths, end to end in one tensor; a batch is padded to its longest with zeros."""

    def __init__(self, values: torch.Tensor, lengths: torch.Tensor):
        self.values, self.lengths = values, lengths
        self.starts = torch.cumsum(lengths, 0) - lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """As `TensorRows.take`; the keyword argument is `lengths`."""
        lengths = self.lengths.index_select(0, rows)
        steps = torch.arange(int(lengths.max()), device=lengths.device)
        indices = self.starts.index_select(0, rows)[:, None] + torch.minimum(steps, lengths[:, None] - 1)
        padded = self.values[indices]
        padded[steps >= lengths[:, None]] = 0
        return padded, {"lengths": lengths}

    def pad(self, rows: torch.Tensor) -> torch.Tensor:
        """`rows` unchanged; see `TensorRows.pad`."""
        return rows


def as_array(values: Any) -> Any:
    """A tensor as a numpy array; anything else as it is."""
    if not isinstance(values, torch.Tensor):
        return values
    values = values.detach().cpu()
    return (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()


def as_sequences(X: Any, equal_lengths: bool) -> list[np.ndarray] | None:
    """X as sequences, (steps,) or (steps, features) each; None if it is no list of sequences.

    Those of one length are a table of rows, unless `equal_lengths` says that they are sequences.
    """
    if not isinstance(X, (list, tuple)) and not (isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1):
        return None
    try:
        sequences = [np.asarray(as_array(x)) for x in X]
    except ValueError:
        raise ValueError("each sequence must be an array of (steps,) or (steps, features) numbers") from None
    dims = {a.ndim for a in sequences}
    if not sequences or not dims <= {1, 2} or (not equal_lengths and len({a.shape for a in sequences}) == 1):
        return None
    if any(a.dtype.kind not in "biuf" for a in sequences):
        if not equal_lengths and dims == {1}:
            return None  # a table with text or missing values: the check of tables says what is wrong
        raise ValueError("each sequence must be an array of (steps,) or (steps, features) numbers")
    widths = {a.shape[1:] for a in sequences}
    if len(widths) > 1:
        sizes = sorted({a.shape[1] if a.ndim == 2 else 1 for a in sequences})
        raise ValueError(
            f"the steps of all sequences must have the same number of features; got {', '.join(map(str, sizes))}"
            + (" (and sequences of one and of two dimensions)" if len(dims) > 1 else "")
        )
    if any(len(a) == 0 for a in sequences):
        raise ValueError("a sequence is empty; each needs one step at least")
    if not all(np.isfinite(a).all() for a in sequences):
        raise ValueError("X contains NaN or infinity; impute missing values first")
    return sequences


def to_batches(X: np.ndarray | list[np.ndarray], net: nn.Module) -> TensorRows | Sequences:
    """Checked data as tensors of the module's dtype, on its device."""
    dtype, device = input_dtype_and_device(net)
    if isinstance(X, np.ndarray):
        return TensorRows(_to_tensor(X, net, dtype).to(device))
    lengths = torch.tensor([len(a) for a in X], device=device)
    return Sequences(_to_tensor(np.concatenate(X), net, dtype).to(device), lengths)


def input_dtype_and_device(net: nn.Module) -> tuple[torch.dtype, torch.device]:
    """The floating-point dtype in which a module takes its input, and its device."""
    tensors = [*net.parameters(), *net.buffers()]
    floating = next((t for t in tensors if t.is_floating_point()), None)
    dtype = torch.get_default_dtype() if floating is None else floating.dtype
    return dtype, tensors[0].device if tensors else torch.device("cpu")


def _to_tensor(array: np.ndarray, net: nn.Module, dtype: torch.dtype) -> torch.Tensor:
    """Numbers in the module's dtype; integers stay integers in front of an embedding."""
    if array.dtype.kind in "iu" and isinstance(_first_layer(net), nn.Embedding | Int8Embedding):
        return torch.from_numpy(array.astype(np.int64))
    wide = np.float64 if dtype == torch.float64 else np.float32
    with np.errstate(over="ignore"):
        # a stride of 0 in a dimension of length 1 is contiguous, and for torch a sign of channels that are last
        values = np.ascontiguousarray(array, dtype=wide).reshape(-1).reshape(array.shape)
    if wide is np.float32 and array.dtype.itemsize > 4 and not np.isfinite(values).all():
        raise ValueError("X contains infinity or a value too large for dtype('float32'): scale it first")
    # a tensor on read-only memory warns
    return torch.from_numpy(values if values.flags.writeable else values.copy()).to(dtype)


def _first_layer(net: nn.Module) -> nn.Module | None:
    for module in net.modules():
        has_weights = isinstance(module, QuantizedModule) or next(module.parameters(), None) is not None
        if has_weights and next(module.children(), None) is None:
            return module
    return None
