"""Torch tensors as numpy arrays of a file, and back: dtypes, complex numbers, bfloat16, memory order."""

import numpy as np
import torch

from lifecycle._check import UnsupportedModel

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
    )
}


def dtype_name(name: str, tensor: torch.Tensor, *, allow_complex: bool = True) -> str:
    """The tensor's dtype as it is called in a file; UnsupportedModel if a file cannot hold the tensor."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES or tensor.layout is not torch.strided or (tensor.is_complex() and not allow_complex):
        raise UnsupportedModel(f"{name} is a {dtype} tensor ({tensor.layout}), which cannot be stored")
    return dtype


def memory_order(tensor: torch.Tensor) -> list[int]:
    """The axes of a tensor in the order of its memory, the slowest first."""
    return sorted(range(tensor.ndim), key=lambda axis: (-tensor.stride()[axis], axis))


def has_channels_last(tensor: torch.Tensor) -> bool:
    """Whether the strides are those of torch.channels_last, by which convolutions choose the order of their outputs.

    One channel, or one place, is contiguous in both orders: only the strides tell.
    """
    if tensor.ndim != 4 or tensor.layout is not torch.strided:
        return False
    other = torch.empty(tensor.shape, device="meta")
    return tensor.stride() == other.to(memory_format=torch.channels_last).stride() != other.stride()


def in_channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of four dimensions with the strides of torch.channels_last, in its own memory where that has the order.

    `Tensor.to` copies one with one channel, or one place, whose memory is in both orders.
    """
    if not tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.to(memory_format=torch.channels_last)
    other = torch.empty(tensor.shape, device="meta")
    return tensor.as_strided(tensor.shape, other.to(memory_format=torch.channels_last).stride())


def to_array(tensor: torch.Tensor) -> np.ndarray:
    """The numbers in C order, complex ones as pairs, bfloat16 as its bits; it may share the tensor's memory."""
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def from_array(name: str, array: np.ndarray, dtype: str) -> torch.Tensor:
    """The tensor of a `to_array`, in the array's memory; ValueError if the array is of another dtype."""
    tensor = torch.from_numpy(array)
    if DTYPES[dtype].is_complex:
        tensor = torch.view_as_complex(tensor)
    elif dtype == "bfloat16" and tensor.dtype == torch.uint16:
        tensor = tensor.view(torch.bfloat16)
    if tensor.dtype != DTYPES[dtype]:
        raise ValueError(f"{name} is stored as {array.dtype}, not as {dtype}")
    return tensor


def check_state(stored: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """ValueError that lists how names, shapes and dtypes of a stored state differ from those of a module."""
    differences = [f"{name} is missing in the file" for name in wanted if name not in stored]
    differences += [f"{name} is not in the module" for name in stored if name not in wanted]
    for name, tensor in wanted.items():
        if name in stored and tensor.shape != stored[name].shape:
            shapes = f"{tuple(stored[name].shape)} in the file and {tuple(tensor.shape)} in the module"
            differences.append(f"{name} has the shape {shapes}")
        elif name in stored and tensor.dtype != stored[name].dtype:
            differences.append(f"{name} is {stored[name].dtype} in the file and {tensor.dtype} in the module")
    if differences:
        more = f" (and {len(differences) - 5} more)" if len(differences) > 5 else ""
        raise ValueError(f"the file does not fit the module: {'; '.join(differences[:5])}{more}")
