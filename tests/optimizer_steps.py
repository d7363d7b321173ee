"""Helpers of the tests of the torch optimizers: parameters, single steps and short training runs."""

import torch

import lifecycle.torch as lt
from lifecycle.rules import list_rules


def ours(name):
    return getattr(lt, list_rules()[name].class_name)


def parameters(arrays, dtype):
    return [torch.nn.Parameter(torch.tensor(a, dtype=dtype)) for a in arrays]


def step(optimizer, params, grads):
    for p, g in zip(params, grads, strict=True):
        p.grad = None if g is None else g.to(p.dtype)
    optimizer.step()


def distance(a, b):
    a, b = (torch.cat([p.detach().double().ravel() for p in x]) for x in (a, b))
    return float((a - b).norm() / b.norm())


def small_net(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(20, 300), torch.nn.Tanh(), torch.nn.Linear(300, 3))


def train(net, optimizer, steps, *, before=lambda: None, after=lambda: None, seed=1):
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        x = torch.randn(64, 20, generator=generator)
        loss = torch.nn.functional.cross_entropy(net(x), x[:, :3].argmax(dim=1))
        optimizer.zero_grad()
        loss.backward()
        before()
        optimizer.step()
        after()
        losses.append(loss.item())
    return losses
