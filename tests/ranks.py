"""One of two ranks: `python -m tests.ranks FILE RANK`; the ranks meet at FILE, which must not exist before."""

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
    weights = torch.cat([p.detach().ravel() for p in net.parameters()])
    of_ranks = [torch.empty_like(weights) for _ in range(2)]
    dist.all_gather(of_ranks, weights)
    assert torch.equal(*of_ranks), "the ranks have different weights"
    single_net = small_net()
    single = lt.AdamW(single_net.parameters(), **OPTIONS)
    train(single_net, single, slice(None))
    assert abs(optimizer.last_grad_norm - single.last_grad_norm) < 1e-5
    expected = torch.cat([p.detach().ravel() for p in single_net.parameters()])
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-4)


def sharded():
    """Where parameters or their optimizers are sharded, the norm of one rank is not the norm of all gradients."""
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.optim import ZeroRedundancyOptimizer

    x = torch.randn(4, 6)
    for use_orig_params in (False, True):
        net = FullyShardedDataParallel(small_net(), device_id=torch.device("cpu"), use_orig_params=use_orig_params)
        net(x).sum().backward()
        with pytest.raises(ValueError, match="this rank's own norm"):
            lt.AdamW(net.parameters(), max_grad_norm=1.0).step()
        lt.AdamW(net.parameters()).step()

    net = small_net()
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    fully_shard(net, mesh=mesh)
    net(x).sum().backward()
    with pytest.raises(TypeError, match="is a DTensor"):
        lt.AdamW(net.parameters(), max_grad_norm=1.0).step()

    net = DistributedDataParallel(small_net())
    with pytest.raises(ValueError, match="ZeroRedundancyOptimizer"):
        ZeroRedundancyOptimizer(net.parameters(), optimizer_class=lt.AdamW, max_grad_norm=1.0)
    optimizer = ZeroRedundancyOptimizer(net.parameters(), optimizer_class=lt.AdamW, lr=1e-2)
    train(net, optimizer, slice(None))


if __name__ == "__main__":
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=int(sys.argv[2]), world_size=2)
    data_parallel(int(sys.argv[2]))
    sharded()
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads may end after the objects that they use, which aborts the process
