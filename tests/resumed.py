"""A run that is stopped and continued: `python -m tests.resumed STATE RULE CHECKPOINT OUT` is its second half."""

import json
import random
import sys

import numpy as np
import torch
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt


def build(state, rule):
    """Convolutions in channels_last, batch norm, dropout; two groups, clipping, averages, a schedule."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(8 * 36, 10)
    ).to(memory_format=torch.channels_last)
    decay = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim == 1]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "lr": 5e-3}]
    optimizer = getattr(lt, rule)(groups, lr=1e-2, state_dtype=state, max_grad_norm=1.0, ema_decay=0.9, seed=5)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.02, 0.01], total_steps=20)
    return net, optimizer, scheduler


def train(net, optimizer, scheduler, steps):
    """Steps on data that depend on all three random generators."""
    for _ in range(steps):
        x = torch.randn(16, 1, 8, 8) + float(np.random.rand()) + random.random()
        loss = nn.functional.cross_entropy(net(x), torch.randint(10, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()


def bits(net, optimizer, scheduler):
    """Every byte of the model and of the optimizer's state, and the rates."""
    tensors = list(net.state_dict().values())
    for p in net.parameters():
        tensors += [value for name, value in sorted(optimizer.state[p].items()) if isinstance(value, torch.Tensor)]
    flat = [t.detach().contiguous().view(-1) for t in tensors]
    return [t.view(torch.uint8).tolist() for t in flat], scheduler.get_last_lr()


def main(state, rule, checkpoint, out):
    net, optimizer, scheduler = build(None if state == "None" else state, rule)
    metadata = lc.load_checkpoint(checkpoint, model=net, optimizer=optimizer, scheduler=scheduler)
    train(net, optimizer, scheduler, metadata["left"])
    with open(out, "w") as file:
        json.dump(bits(net, optimizer, scheduler), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
