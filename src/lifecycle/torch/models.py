"""Three small networks: a multilayer perceptron, a convolutional network and a recurrent one."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import rnn

from lifecycle._check import integer, number, one_of

__all__ = ["CNN", "MLP", "RNN"]

_CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def _widths(name: str, value: Any) -> list[int]:
    """A list of positive integers, from such a sequence or one integer."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        value = [value]
    return [integer(name, v, low=1) for v in value]


def _rate(dropout: Any) -> float:
    return number("dropout", dropout, low=0.0, below=1.0)


def _dense(widths: list[int], n_out: int, dropout: float, *, first: bool) -> list[nn.Module]:
    """Linear layers with ReLU between them and dropout before each (`first`: before the first one too)."""
    layers: list[nn.Module] = []
    for i, (n, m) in enumerate(zip(widths, [*widths[1:], n_out], strict=True)):
        if i:
            layers.append(nn.ReLU())
        if dropout and (i or first):
            layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(n, m))
    return layers


class MLP(nn.Module):
    """Multilayer perceptron: linear layers with ReLU between them.

    Parameters
    ----------
    n_in, n_out : int
        Values per sample, and outputs.
    hidden : int or sequence of int
        Width of each hidden layer; empty: a linear model.
    dropout : float
        Share of each hidden layer's values that is dropped in training.
    """

    config: dict[str, Any]

    def __init__(self, n_in: int, n_out: int, hidden: int | Sequence[int] = (128,), dropout: float = 0.0):
        super().__init__()
        n_in, n_out = integer("n_in", n_in, low=1), integer("n_out", n_out, low=1)
        widths, dropout = _widths("hidden", hidden), _rate(dropout)
        self.config = {"n_in": n_in, "n_out": n_out, "hidden": widths, "dropout": dropout}
        self.layers = nn.Sequential(*_dense([n_in, *widths], n_out, dropout, first=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, …) with n_in values per sample -> (n, n_out)."""
        n_in = self.config["n_in"]
        if x.ndim < 2 or math.prod(x.shape[1:]) != n_in:
            raise ValueError(f"this MLP takes {n_in} values per sample; got a batch of shape {tuple(x.shape)}")
        return self.layers(x.flatten(1))


class CNN(nn.Module):
    """Convolutional network: per entry of `channels` a 3×3 convolution (padding 1), ReLU and 2×2 max pooling.

    Parameters
    ----------
    n_in, n_out : int
        Channels of the image, and outputs.
    image_size : int or (int, int)
        Height and width of the image; an int: both.
    channels : int or sequence of int
        Channels after each convolution; each halves the image.
    hidden : int or sequence of int
        Width of each hidden layer behind the convolutions.
    dropout : float
        Share of the values before each linear layer that is dropped in training.

    Raises
    ------
    ValueError
        If the image is too small for that many poolings.
    """

    config: dict[str, Any]

    def __init__(
        self,
        n_in: int,
        n_out: int,
        image_size: int | Sequence[int],
        channels: int | Sequence[int] = (32, 64, 128),
        hidden: int | Sequence[int] = (),
        dropout: float = 0.0,
    ):
        super().__init__()
        n_in, n_out = integer("n_in", n_in, low=1), integer("n_out", n_out, low=1)
        sides = _widths("image_size", image_size)
        if len(sides) not in (1, 2):
            raise ValueError(f"image_size must be an int or (height, width); got {image_size!r}")
        height, width = sides[0], sides[-1]
        depths, widths, dropout = _widths("channels", channels), _widths("hidden", hidden), _rate(dropout)
        if not depths:
            raise ValueError("channels must name one convolution at least; without any, use MLP")
        fits = min(height, width).bit_length() - 1
        if len(depths) > fits:
            raise ValueError(
                f"an image of {height}×{width} can be halved {fits} times, but channels={tuple(depths)} asks for "
                f"{len(depths)} poolings: use at most {fits} channel counts, or larger images"
            )
        self.config = {"n_in": n_in, "n_out": n_out, "image_size": [height, width], "channels": depths}
        self.config |= {"hidden": widths, "dropout": dropout}
        layers: list[nn.Module] = []
        for n, m in zip([n_in, *depths], depths, strict=False):
            layers += [nn.Conv2d(n, m, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        flat = depths[-1] * (height >> len(depths)) * (width >> len(depths))
        self.head = nn.Sequential(nn.Flatten(), *_dense([flat, *widths], n_out, dropout, first=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (n, n_in, height, width), (n, height, width) of one channel, or flat rows -> (n, n_out)."""
        n_in, (height, width) = self.config["n_in"], self.config["image_size"]
        shape, flat = (n_in, height, width), n_in * height * width
        if tuple(x.shape[1:]) == (flat,) or (n_in == 1 and tuple(x.shape[1:]) == (height, width)):
            x = x.reshape(-1, *shape)
        if tuple(x.shape[1:]) != shape:
            grey = f", (n, {height}, {width})" if n_in == 1 else ""
            raise ValueError(
                f"this CNN takes (n, {n_in}, {height}, {width}){grey} or (n, {flat}); "
                f"got a batch of shape {tuple(x.shape)}"
            )
        return self.head(self.features(x))


class RNN(nn.Module):
    """Recurrent network over sequences, with a linear layer on its last output or on the output of every step.

    Parameters
    ----------
    n_in, n_out : int
        Features of a step (with `n_tokens`: the width of the embedding), and outputs.
    cell : {"lstm", "gru", "rnn"}
    hidden_size : int
        Values that a layer carries from step to step, for each direction.
    num_layers : int
    dropout : float
        Share of the values between two layers, and before the linear one, that is dropped in training.
    bidirectional : bool
        A second direction, from the end to the start; the last output joins the last ones of both directions.
    per_step : bool
        An output for every step instead of one for the sequence.
    n_tokens : int, optional
        The input is token ids below this number, each of which gets a learned vector of `n_in` values.
    """

    config: dict[str, Any]

    def __init__(
        self,
        n_in: int,
        n_out: int,
        cell: str = "lstm",
        hidden_size: int = 64,
        num_layers: int = 2,
        dropout: float = 0.0,
        bidirectional: bool = False,
        per_step: bool = False,
        n_tokens: int | None = None,
    ):
        super().__init__()
        n_in, n_out = integer("n_in", n_in, low=1), integer("n_out", n_out, low=1)
        cell = one_of("cell", cell, _CELLS)
        hidden_size = integer("hidden_size", hidden_size, low=1)
        num_layers, dropout = integer("num_layers", num_layers, low=1), _rate(dropout)
        bidirectional = one_of("bidirectional", bidirectional, (True, False))
        per_step = one_of("per_step", per_step, (True, False))
        n_tokens = None if n_tokens is None else integer("n_tokens", n_tokens, low=1)
        self.config = {"n_in": n_in, "n_out": n_out, "cell": cell, "hidden_size": hidden_size}
        self.config |= {"num_layers": num_layers, "dropout": dropout, "bidirectional": bidirectional}
        self.config |= {"per_step": per_step, "n_tokens": n_tokens}
        self.embedding = None if n_tokens is None else nn.Embedding(n_tokens, n_in)
        options: Any = {"bidirectional": bidirectional, "dropout": dropout if num_layers > 1 else 0.0}
        self.cells = _CELLS[cell](n_in, hidden_size, num_layers, batch_first=True, **options)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size * (1 + bidirectional), n_out)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """(n, steps, n_in), or token ids (n, steps) -> (n, n_out), with per_step (n, steps, n_out).

        `lengths` (n,): how many steps of each sequence are real; the padding behind them has no influence.
        """
        n_in, n_tokens = self.config["n_in"], self.config["n_tokens"]
        if x.ndim == 2 and n_tokens is None and n_in == 1:
            x = x.unsqueeze(-1)
        if (x.ndim != 2) if n_tokens is not None else (x.ndim != 3 or x.shape[-1] != n_in):
            wanted = f"token ids (n, steps) below {n_tokens}" if n_tokens is not None else f"(n, steps, {n_in})"
            hint = "; rows that are series of one feature need n_in=1" if n_tokens is None and x.ndim == 2 else ""
            raise ValueError(f"this RNN takes {wanted}; got a batch of shape {tuple(x.shape)}{hint}")
        if self.embedding is not None:
            if x.is_floating_point() and not torch.equal(x, x.trunc()):
                raise ValueError(f"token ids must be whole numbers; got fractions in {x.dtype}")
            try:
                x = self.embedding(x.long())
            except IndexError:
                span = f"{int(x.min())}…{int(x.max())}"
                raise ValueError(f"token ids must lie in 0…{n_tokens - 1}; got one in {span}") from None
        steps = x.shape[1]
        if lengths is None:
            outputs, state = self.cells(x)
        else:
            packed = rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            outputs, state = self.cells(packed)
        if self.config["per_step"]:
            if lengths is not None:
                outputs = rnn.pad_packed_sequence(outputs, batch_first=True, total_length=steps)[0]
            return self.head(self.dropout(outputs))
        last = state[0] if self.config["cell"] == "lstm" else state
        both = torch.cat((last[-2], last[-1]), dim=1) if self.config["bidirectional"] else last[-1]
        return self.head(self.dropout(both))
