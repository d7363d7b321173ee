"""save_checkpoint and load_checkpoint: a training run as one file, by parameter name, which contains no code."""

import os
from pathlib import Path
from typing import Any

from lifecycle._check import CorruptBundle
from lifecycle.store import adapters, bundle_reader
from lifecycle.store.bundle import write

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(
    path: str | os.PathLike,
    *,
    model: Any,
    optimizer: Any = None,
    scheduler: Any = None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Write a training run into one file, from which it continues with the same bits.

    The file holds the parameters and buffers of the model, the state of the optimizer by the names of its parameters
    (slots of any type, averages of the weights), the state of the scheduler, and the state of the random generators of
    Python, numpy (the global one) and torch (CPU and CUDA). It is written under a temporary name and renamed, so that
    it is never incomplete. It is not a pickle and contains no code.

    Parameters
    ----------
    path : str or os.PathLike
    model : torch.nn.Module
    optimizer : torch.optim.Optimizer, optional
        Of this library or of torch, over parameters of `model`.
    scheduler : torch.optim.lr_scheduler.LRScheduler, optional
    metadata : dict, optional
        Any JSON, such as the epoch; `load_checkpoint` returns it.

    Raises
    ------
    UnsupportedModel
        `model` is not a module, or a state holds a value that is neither a tensor nor plain.
    ValueError
        The optimizer has a parameter that the model does not have, or `metadata` is not JSON.
    """
    config, arrays = adapters.checkpoint_adapter_for(model).serialize(model, optimizer, scheduler)
    write(Path(path), {"kind": adapters.CHECKPOINT, **config}, arrays, metadata, small=False)


def load_checkpoint(
    path: str | os.PathLike,
    *,
    model: Any,
    optimizer: Any = None,
    scheduler: Any = None,
    random_state: bool = True,
) -> dict[str, Any]:
    """Restore a run that `save_checkpoint` wrote into a model, optimizer and scheduler that are made as they were.

    The state of a parameter is assigned by its name, so the order of the parameters may differ (the bits of stochastic
    rounding depend on the order). Everything is compared before anything is changed. The options of the file replace
    those of the optimizer: options of the groups (lr, state_dtype, …), max_grad_norm and nonfinite; change them
    afterwards. A compiled model, or one in DistributedDataParallel, stands for the model that it wraps.

    Parameters
    ----------
    path : str or os.PathLike
    model : torch.nn.Module
    optimizer, scheduler : optional
        Without one, its state in the file is not used. An optimizer of this library accepts the state of the torch
        optimizer of the same name, and the other way round.
    random_state : bool
        Restore the state of the random generators too.

    Returns
    -------
    dict
        The metadata that was saved.

    Raises
    ------
    CorruptBundle
        The file is truncated, altered, or not a checkpoint.
    FileNotFoundError
        The file does not exist.
    ValueError
        The run does not fit; the message names what is missing and what is unexpected. Nothing is changed then.
    """
    adapter, path = adapters.checkpoint_adapter_for(model), Path(path)
    with bundle_reader.reading(path.name, "a checkpoint"):
        bundle = bundle_reader.read(path)
        config, metadata = bundle.manifest["config"], bundle.manifest["metadata"]
        if config["kind"] != adapters.CHECKPOINT:
            kind = config["kind"]
            raise CorruptBundle(f"{path.name} holds a model ({kind}), not a checkpoint: lifecycle.load reads it")
        run = adapter.deserialize(config, bundle_reader.arrays_of(bundle))
        del bundle  # its memory, where no array of the run is in it
    with bundle_reader.reading(path.name, "a checkpoint", keep=(ValueError, TypeError)):
        adapter.restore(run, model, optimizer, scheduler, random_state)
    return metadata or {}
