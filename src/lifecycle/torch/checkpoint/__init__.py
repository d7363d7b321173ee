"""A training run as JSON and arrays, by parameter name, and restored into live objects."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle.torch import modules
from lifecycle.torch.checkpoint import comparison, optimizer_state, random_state
from lifecycle.torch.checkpoint.state_values import deserialize_state, serialize_state
from lifecycle.torch.optimizers import RuleOptimizer
from lifecycle.torch.tensors import check_state


def serialize(model: Any, optimizer: Any, scheduler: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Config and arrays of a run."""
    model = modules.unwrap(model)
    _check_types(model, optimizer, scheduler)
    if getattr(optimizer, "averaging", False):
        raise ValueError("inside averaged_weights() the model holds the averages: save it outside the block")
    state = modules.state_tensors(model)
    arrays: dict[str, np.ndarray] = {}
    config: dict[str, Any] = {"class": type(model).__name__}
    config["model"] = serialize_state(state, "model", arrays)
    config["random"] = serialize_state(random_state.random_state(), "random", arrays)
    if optimizer is not None:
        by_name = serialize_state(optimizer_state.state_by_name(model, optimizer), "optimizer", arrays)
        config["optimizer"] = {"class": type(optimizer).__name__, "state": by_name}
        if isinstance(optimizer, RuleOptimizer):
            config["optimizer"]["own"] = {name: getattr(optimizer, name) for name in optimizer_state.ATTRIBUTES}
    if scheduler is not None:
        state = serialize_state(dict(scheduler.state_dict()), "scheduler", arrays)
        config["scheduler"] = {"class": type(scheduler).__name__, "state": state}
    return config, arrays


def deserialize(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What `serialize` was given, checked as far as possible without the model."""
    run: dict[str, Any] = {name: deserialize_state(config[name], arrays) for name in ("model", "random")}
    for name in ("optimizer", "scheduler"):
        if name in config:
            run[name] = (str(config[name]["class"]), deserialize_state(config[name]["state"], arrays))
    if not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in run["model"].items()):
        raise ValueError("the model's state holds a value that is not a tensor")
    if "optimizer" in run:
        run["attributes"] = config["optimizer"].get("own", {})
        optimizer_state.check_malformed(run["optimizer"][1], run["attributes"])
    if "scheduler" in run:
        comparison.check_malformed_scheduler(run["scheduler"][1])
    random_state.check_random_state(run["random"])
    return run


def restore(run: dict[str, Any], model: Any, optimizer: Any, scheduler: Any, with_random_state: bool) -> None:
    """Compare everything, then change the model, the optimizer, the scheduler and the random generators."""
    model = modules.unwrap(model)
    _check_types(model, optimizer, scheduler)
    state = modules.state_tensors(model)
    name_of = modules.names_of_file(model, run["model"])
    stored = {name_of(name): value for name, value in run["model"].items()}
    check_state(stored, state)
    modules.check_writable(state)
    for name, given in (("optimizer", optimizer), ("scheduler", scheduler)):
        if given is not None and name not in run:
            raise ValueError(f"the checkpoint holds no {name}: leave {name}= out")
    numbered = (
        None
        if optimizer is None
        else optimizer_state.state_by_number(optimizer_state.renamed(run["optimizer"], name_of), model, optimizer)
    )
    if scheduler is not None:
        class_name, scheduler_state = run["scheduler"]
        comparison.check_class("scheduler", class_name, scheduler)
        of_torch = type(scheduler).__module__.startswith("torch.")
        comparison.check_scheduler(scheduler_state, scheduler.state_dict(), same_kinds=of_torch)
    if getattr(optimizer, "averaging", False):
        raise ValueError("inside averaged_weights() the model holds the averages: load it outside the block")
    with _undone_on_error(model, optimizer, scheduler):
        if optimizer is not None:
            optimizer.load_state_dict(numbered)
        if scheduler is not None:
            scheduler.load_state_dict(scheduler_state)
        modules.load_state(model, stored)
    if isinstance(optimizer, RuleOptimizer):
        for name in run["attributes"].keys() & optimizer_state.ATTRIBUTES:
            setattr(optimizer, name, run["attributes"][name])
    if with_random_state:
        random_state.restore_random_state(run["random"])


@contextmanager
def _undone_on_error(model: nn.Module, optimizer: Any, scheduler: Any) -> Iterator[None]:
    """Undo a load that fails halfway, as a user's hook or scheduler may make it."""
    # loading replaces the tensors of an optimizer, and changes those of a scheduler
    copies = ((optimizer, copy.copy), (scheduler, copy.deepcopy))
    states = [(owner, keep(owner.state_dict())) for owner, keep in copies if owner is not None]
    try:
        with modules.undone_on_error(model, "the checkpoint"):
            yield
    except BaseException:
        for owner, state in states:
            owner.load_state_dict(state)
        raise


def _check_types(model: Any, optimizer: Any, scheduler: Any) -> None:
    for name, value, cls in (("model", model, nn.Module), ("optimizer", optimizer, torch.optim.Optimizer)):
        if not isinstance(value, cls) and (value is not None or name == "model"):
            raise TypeError(f"{name} must be a torch {cls.__name__}; got a {type(value).__name__}")
    modules.check_values(model)
    if scheduler is not None and not hasattr(scheduler, "load_state_dict"):
        raise TypeError(f"scheduler must have a state_dict and load_state_dict; got a {type(scheduler).__name__}")
