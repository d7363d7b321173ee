"""One linear layer in int8, beside float32 and the int8 layers of torch.ao and torchao, at several batch sizes."""

from typing import Any

import torch
from torch import nn

import lifecycle as lc

from .. import _data
from . import _minilm, _peers
from ._timing import about_vnni, at_least, cells, seconds_of

OURS, BASELINE, TORCH_AO, TORCHAO = "lifecycle", "float32", "torch.ao", "torchao, eager"
LARGEST = 4096


def of_minilm(rounds: int, scale: float) -> dict:
    """The first layer from 384 to 1536 inputs, with the inputs that it has for texts."""
    folder = _data.path("MINILM")
    net = _minilm.load(folder)
    texts, _ = _data.newsgroup_texts("NEWSGROUPS", 200)
    tokens = _minilm.tokenize(folder, texts)
    layer, seen = net.blocks[0].intermediate, []
    handle = layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        net(tokens)
    handle.remove()
    inputs = seen[0].flatten(0, 1)[tokens.flatten() != 0]  # padding is no input
    return measure(layer, inputs, "A layer of MiniLM, and its inputs for texts of 20 Newsgroups.", rounds, scale)


def of_normal_weights(n_inputs: int, n_outputs: int, rounds: int, scale: float) -> dict:
    """A layer with random weights and inputs."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(n_inputs, n_outputs)
    with torch.no_grad():
        layer.weight.normal_(0, n_inputs**-0.5, generator=generator)
        layer.bias.normal_(0, 1, generator=generator)
    inputs = torch.randn(LARGEST, n_inputs, generator=generator)
    return measure(layer, inputs, "Weights and inputs are normally distributed.", rounds, scale)


def measure(layer: nn.Linear, inputs: torch.Tensor, data: str, rounds: int, scale: float) -> dict:
    """Batches of 1, 64 and 4096 rows."""
    nets, left_out = _versions_of(layer)
    rows: dict[str, dict[str, Any]] = {}
    targets = []
    for batch in (1, 64, max(128, round(scale * LARGEST))):
        x = inputs.repeat(-(-batch // len(inputs)), 1)[:batch].contiguous()
        seconds = seconds_of({who: lambda net=net, x=x: net(x) for who, net in nets.items()}, rounds)
        with torch.no_grad():
            outputs = {who: net(x) for who, net in nets.items()}
        for who, out in outputs.items():
            error = float((out - outputs[BASELINE]).norm() / outputs[BASELINE].norm())
            rows[f"batch {batch}: {who}"] = cells(seconds, who, BASELINE) | {"relative error of the outputs": error}
        for slow, least in ((BASELINE, 1.5 if batch == 1 else 3.0), (TORCH_AO, 0.95), (TORCHAO, 1.0)):
            if slow in nets:
                targets.append(at_least(f"batch {batch}", seconds, slow, OURS, least))
    about = f"{data} {rounds} alternating rounds. {about_vnni()}" + _peers.about_missing(left_out)
    return {"rows": rows, "targets": targets, "about": about}


def _versions_of(layer: nn.Linear) -> tuple[dict[str, nn.Module], list[str]]:
    """The layer, and each library's int8 layer; the libraries that are not there."""
    net = nn.Sequential(layer).eval()
    nets = {BASELINE: net, OURS: lc.quantize(net, activations="dynamic")}
    left_out = _peers.missing("torchao")
    quantized = _peers.torch_ao(net)
    if quantized is None:
        left_out.append("torch.ao.quantization.quantize_dynamic")
    else:
        nets[TORCH_AO] = quantized
    if "torchao" not in left_out:
        nets[TORCHAO] = _peers.torchao_eager(net)
    return nets, left_out
