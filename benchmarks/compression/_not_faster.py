"""What makes a linear layer smaller and not faster: zeros, 4-bit weights computed in float, and int8 where it is small.

No target stands here: the rows say what not to expect.
"""

from typing import Any

import torch
from torch import nn

import lifecycle as lc

from ._timing import cells, seconds_of

BASELINE = "float32"


def measure(rounds: int, scale: float, width: int = 1024) -> dict:
    """A large layer with zeros or 4-bit weights, and small layers in int8, each beside float32 of the same size."""
    large = _layer(width)
    ways: dict[int, dict[str, nn.Module]] = {
        width: {
            BASELINE: large,
            "50 % zeros": lc.prune(large, 0.5),
            "90 % zeros": lc.prune(large, 0.9),
            "2:4 zeros": lc.prune(large, structure="2:4"),
            "4 bits in groups of 64": lc.quantize(large, bits=4, group_size=64, activations=None),
        }
    }
    for small in (16, 64):
        layer = _layer(small)
        ways[small] = {BASELINE: layer, "int8": lc.quantize(layer, activations="dynamic")}
    rows: dict[str, dict[str, Any]] = {}
    for size, nets in ways.items():
        for batch in (1, 64):
            x = torch.randn(batch, size, generator=torch.Generator().manual_seed(1))
            seconds = seconds_of({who: lambda net=net, x=x: net(x) for who, net in nets.items()}, rounds)
            with torch.no_grad():
                outputs = {who: net(x) for who, net in nets.items()}
            for who, net in nets.items():
                rows[f"{size} → {size}, batch {batch}: {who}"] = {
                    **cells(seconds, who, BASELINE),
                    "relative error of the outputs": float(
                        (outputs[who] - outputs[BASELINE]).norm() / outputs[BASELINE].norm()
                    ),
                    "bytes": lc.size_of(net),
                }
    about = (
        "Zeros and 4-bit codes save memory and files; torch multiplies such a weight as any other. The inputs of a "
        "small int8 layer take longer to quantize than its products save. Weights and inputs are normally distributed, "
        f"without training, hence the large errors of the zeros. {rounds} alternating rounds."
    )
    return {"rows": rows, "about": about}


def _layer(size: int) -> nn.Module:
    layer = nn.Linear(size, size)
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_(0, size**-0.5, generator=torch.Generator().manual_seed(size))
    return nn.Sequential(layer).eval()
