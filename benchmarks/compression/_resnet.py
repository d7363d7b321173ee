"""A residual network of the shape of ResNet-20 (He et al., 2016), its training and its cost."""

import numpy as np
import torch
from torch import nn

BATCH = 128


class Block(nn.Module):
    """Two 3×3 convolutions and a residual connection, which a 1×1 convolution adapts where the shape changes."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(n_out)
        self.conv2, self.norm2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out)
        changes = stride > 1 or n_in != n_out
        self.shortcut = (
            nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
            if changes
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class ResNet(nn.Module):
    """Images of one channel to ten classes: a convolution, three stages of `depth` blocks, a linear layer."""

    def __init__(self, width: int, depth: int = 3):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        blocks, n_in = [], width
        for stage in range(3):
            for k in range(depth):
                n_out = width * 2**stage
                blocks.append(Block(n_in, n_out, 2 if stage and not k else 1))
                n_in = n_out
        self.blocks, self.pool = nn.Sequential(*blocks), nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(n_in, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(torch.relu(self.norm(self.stem(x))))
        return self.head(torch.flatten(self.pool(x), 1))


def train(net: nn.Module, X: torch.Tensor, y: torch.Tensor, epochs: int, lr: float, seed: int) -> nn.Module:
    """The network, in place, after SGD with momentum and a learning rate that falls to zero."""
    generator = torch.Generator().manual_seed(seed)
    n_steps = epochs * -(-len(X) // BATCH)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(X), generator=generator).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(X[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def hits(net: nn.Module, X: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """Which images are classified right."""
    net.eval()
    return torch.cat([net(part).argmax(1) for part in X.split(500)]).eq(y).numpy()


@torch.no_grad()
def count_macs(net: nn.Module, example: torch.Tensor) -> int:
    """Multiplications of the convolutions and linear layers for one image."""
    total = 0

    def add(module: nn.Module, _: tuple, out: torch.Tensor) -> None:
        nonlocal total
        total += out[0].numel() * module.weight[0].numel()  # type: ignore[operator, union-attr, index]

    handles = [m.register_forward_hook(add) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    net.eval()(example)
    for handle in handles:
        handle.remove()
    return total
