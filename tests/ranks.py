"""One of two ranks: `python -m tests.ranks MEETING RANK`, where MEETING is a file that does not exist yet."""

import os
import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import lifecycle.torch as lt

OPTIONS = {"lr": 1e-2, "max_grad_norm": 0.5, "ema_decay": 0.9, "state_dtype": "bfloat16"}


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def train(net, optimizer, rows):
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        x, y = torch.randn(8, 6, generator=generator), torch.randint(3, (8,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()


def data_parallel(rank):
    net = DistributedDataParallel(small_net())
    optimizer = lt.AdamW(net.parameters(), **OPTIONS)
    train(net, optimizer, slice(4 * rank, 4 * rank + 4))
    mine = torch.cat([p.detach().ravel() for p in net.parameters()])
    both = [torch.empty_like(mine) for _ in range(2)]
    dist.all_gather(both, mine)
    assert torch.equal(*both), "the ranks went apart"
    alone = small_net()
    other = lt.AdamW(alone.parameters(), **OPTIONS)
    train(alone, other, slice(None))
    assert abs(optimizer.last_grad_norm - other.last_grad_norm) < 1e-5
    torch.testing.assert_close(mine, torch.cat([p.detach().ravel() for p in alone.parameters()]), rtol=0, atol=1e-4)


def refused(error, text, call):
    with pytest.raises(error, match=text):
        call()


def sharded():
    """Of whatever shards parameters or their owners, the norm of one rank is not the norm."""
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.optim import ZeroRedundancyOptimizer

    x = torch.randn(4, 6)
    for originals in (False, True):
        net = FullyShardedDataParallel(small_net(), device_id=torch.device("cpu"), use_orig_params=originals)
        net(x).sum().backward()
        refused(ValueError, "this rank's own norm", lt.AdamW(net.parameters(), max_grad_norm=1.0).step)
        lt.AdamW(net.parameters()).step()

    net = small_net()
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    fully_shard(net, mesh=mesh)
    net(x).sum().backward()
    refused(TypeError, "is a DTensor", lt.AdamW(net.parameters(), max_grad_norm=1.0).step)

    net = DistributedDataParallel(small_net())
    refused(ValueError, "ZeroRedundancyOptimizer", lambda: ZeroRedundancyOptimizer(
        net.parameters(), optimizer_class=lt.AdamW, max_grad_norm=1.0))  # fmt: skip
    optimizer = ZeroRedundancyOptimizer(net.parameters(), optimizer_class=lt.AdamW, lr=1e-2)
    train(net, optimizer, slice(None))


if __name__ == "__main__":
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=int(sys.argv[2]), world_size=2)
    data_parallel(int(sys.argv[2]))
    sharded()
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # threads of gloo may end after what they use, which aborts the process
