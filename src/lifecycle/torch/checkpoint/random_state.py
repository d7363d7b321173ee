"""The state of the random generators of Python, numpy and torch."""

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """State of Python's generator, of numpy's global one and of torch's, on the CPU and on CUDA devices."""
    state = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state_all()} if torch.cuda.is_available() else {})


def check_random_state(state: dict[str, Any]) -> None:
    """Raise where a state is malformed."""
    random.Random().setstate(state["python"])
    name, key, position, *_ = state["numpy"]
    np.random.RandomState().set_state(state["numpy"])
    # numpy reads beyond the end of the key where the position is outside of it
    if name != "MT19937" or type(position) is not int or not 0 <= position <= len(key):
        raise ValueError("the state of numpy's random generator is malformed")
    torch.Generator().set_state(state["torch"])
    for device_state in state.get("cuda", ()):
        if not isinstance(device_state, torch.Tensor) or device_state.dtype != torch.uint8 or device_state.ndim != 1:
            raise ValueError("the state of a CUDA device's random generator is malformed")


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the generators; those of CUDA devices only where there are as many devices."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state.get("cuda", ())) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
