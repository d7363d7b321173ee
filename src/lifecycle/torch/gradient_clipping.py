"""Clipping by the norm of all gradients together, which a process that holds only a shard of them cannot compute."""

import inspect


class Sharded(ValueError):
    """Parameters of which this process holds only a shard, where all of them are needed."""

    def __init__(self, where: str, instead: str):
        super().__init__(f"max_grad_norm {where} would clip by this rank's own norm: leave it out and call {instead}")


def clip_factor(norm: float, max_grad_norm: float) -> float:
    """The number that `torch.nn.utils.clip_grad_norm_` multiplies the gradients by."""
    factor = max_grad_norm / (norm + 1e-6)
    return factor if not factor >= 1.0 else 1.0  # NaN stays NaN


def refuse_zero_redundancy() -> None:
    """ZeroRedundancyOptimizer gives each rank only some of the parameters, and only the caller's frame shows it."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_qualname.startswith("ZeroRedundancyOptimizer."):
            raise Sharded("inside ZeroRedundancyOptimizer", "torch.nn.utils.clip_grad_norm_ before the step")
        frame = frame.f_back
