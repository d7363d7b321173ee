"""save_checkpoint and load_checkpoint: a training run as one file, in which nothing can run; by parameter name."""

import os
from pathlib import Path
from typing import Any

from lifecycle._check import CorruptBundle
from lifecycle.store import adapters, bundle
from lifecycle.store.json_values import one_file

__all__ = ["load_checkpoint", "save_checkpoint"]

KIND = "checkpoint"


def save_checkpoint(
    path: str | os.PathLike,
    *,
    model: Any,
    optimizer: Any = None,
    scheduler: Any = None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Write a training run into one file, from which it goes on with the same bits.

    It holds the parameters and buffers of the model, the state of the optimizer by the names of its parameters (slots
    of any type, averages of the weights), the state of the scheduler, and the state of the random generators of
    Python, numpy (the global one) and torch (CPU and CUDA). The file is written beside its place and renamed, so that
    nobody ever finds half of it. It is no pickle: nothing in it can run.

    Parameters
    ----------
    path : str or os.PathLike
    model : torch.nn.Module
    optimizer : torch.optim.Optimizer, optional
        One of ours or of torch, over parameters of `model`.
    scheduler : torch.optim.lr_scheduler.LRScheduler, optional
    metadata : dict, optional
        Anything that is JSON, such as the epoch; `load_checkpoint` returns it.

    Raises
    ------
    UnsupportedModel
        `model` is no module, or a part holds what is neither tensor nor plain value.
    ValueError
        The optimizer has a parameter that is none of the model's; `metadata` is not JSON.
    """
    config, arrays = adapters.checkpoints_of(model).take_apart(model, optimizer, scheduler)
    bundle.write(Path(path), {"kind": KIND, **config}, arrays, metadata, small=False)


def load_checkpoint(
    path: str | os.PathLike,
    *,
    model: Any,
    optimizer: Any = None,
    scheduler: Any = None,
    random_state: bool = True,
) -> dict[str, Any]:
    """Put a run that `save_checkpoint` wrote back into a model, optimizer and scheduler that are made as they were.

    The state of each parameter is found by its name, in whatever order the parameters come now (the bits of stochastic
    rounding hang on the order). All is compared before anything is changed. The options of the file hold from then on,
    those of the groups (lr, state_dtype, …), max_grad_norm and nonfinite too: change them afterwards. A compiled model
    and one in DistributedDataParallel are taken for the model inside.

    Parameters
    ----------
    path : str or os.PathLike
    model : torch.nn.Module
    optimizer, scheduler : optional
        Left out, their part of the file is not used. An optimizer of ours takes the state of its twin in torch, and the
        other way round.
    random_state : bool
        Put the state of the random generators back too.

    Returns
    -------
    dict
        The metadata that was saved.

    Raises
    ------
    CorruptBundle
        The file is truncated, altered, or no checkpoint.
    FileNotFoundError
        There is no such file.
    ValueError
        It does not fit: the sentence names what is missing and what is unexpected. Nothing was changed then.
    """
    room, path = adapters.checkpoints_of(model), Path(path)
    manifest, tensors = bundle.parse(path.name, bundle.read(path))
    config = manifest["config"]
    if config["kind"] != KIND:
        raise CorruptBundle(f"{path.name} holds a model ({config['kind']}), no checkpoint: lifecycle.load reads it")
    try:
        with one_file():
            found = room.decode(config, bundle.arrays_of(manifest, tensors))
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RuntimeError) as error:
        raise CorruptBundle(f"the manifest of {path.name} does not describe a checkpoint: {error}") from error
    room.put_back(found, model, optimizer, scheduler, random_state)
    return manifest.get("metadata") or {}
