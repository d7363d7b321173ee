"""all-MiniLM-L6-v2, a BERT encoder with 22.7 million parameters (Devlin et al., 2018; Wang et al., 2020)."""

import math
from pathlib import Path

import torch
from torch import nn

from .. import _data

N_TOKENS = 64
EMBEDDINGS = ("words", "positions", "segments")


class Attention(nn.Module):
    """Self-attention of several heads."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dense = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1 / math.sqrt(q.shape[-1]))
        return self.dense(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and two linear layers, each with a residual connection and a normalization behind it."""

    def __init__(self, width: int, heads: int, inner: int):
        super().__init__()
        self.attention, self.norm_attention = Attention(width, heads), nn.LayerNorm(width, eps=1e-12)
        self.intermediate, self.output = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm_output = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.norm_attention(x + self.attention(x, mask))
        return self.norm_output(x + self.output(nn.functional.gelu(self.intermediate(x))))


class MiniLM(nn.Module):
    """Token numbers (n, steps), 0 for padding, to sentence embeddings (n, width) of length 1."""

    def __init__(self, vocabulary: int = 30522, width: int = 384, heads: int = 12, inner: int = 1536, depth: int = 6):
        super().__init__()
        self.words, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(512, width)
        self.segments, self.norm = nn.Embedding(2, width), nn.LayerNorm(width, eps=1e-12)
        self.blocks = nn.ModuleList(Block(width, heads, inner) for _ in range(depth))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mask = tokens != 0
        x = self.words(tokens) + self.positions.weight[: tokens.shape[1]] + self.segments.weight[0]
        x = self.norm(x)
        for block in self.blocks:
            x = block(x, mask[:, None, None])
        kept = mask[:, :, None].to(x.dtype)
        return nn.functional.normalize((x * kept).sum(1) / kept.sum(1).clamp(min=1), dim=1)


_NAMES = {  # of a file -> of the modules
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "segments",
    "embeddings.LayerNorm": "norm",
    "encoder.layer": "blocks",
    "attention.self.": "attention.",
    "attention.output.dense": "attention.dense",
    "attention.output.LayerNorm": "norm_attention",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
    "output.LayerNorm": "norm_output",
}


def load(folder: Path) -> MiniLM:
    """The pretrained model of a folder with model.safetensors."""
    from safetensors.torch import load_file

    state = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        for old, new in _NAMES.items():
            name = name.replace(old, new)
        if not name.startswith("pooler") and name != "embeddings.position_ids":
            state[name] = tensor
    net = MiniLM()
    net.load_state_dict(state)
    return net.eval()


def tokenize(folder: Path, texts: list[str], n_tokens: int = N_TOKENS) -> torch.Tensor:
    """Token numbers of texts, cut and padded to `n_tokens`."""
    _data.require("tokenizers")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(n_tokens)
    tokenizer.enable_padding(length=n_tokens)
    return torch.tensor([encoded.ids for encoded in tokenizer.encode_batch(texts)])
