"""The GRU encoder and decoder of g2p_en, which spell words in phonemes, in float32 and int8."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import lifecycle as lc

from .. import _data
from . import _peers
from ._probe import accuracy_cells
from ._timing import cells, seconds_of

N_WORDS, N_STEPS, BATCH = 2000, 20, 32
LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
PHONEMES = (
    "<pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH "
    "EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 "
    "P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH"
).split()
START, END = PHONEMES.index("<s>"), PHONEMES.index("</s>")


class Speller(nn.Module):
    """Letters (n, steps) to phonemes (n, 20): a GRU reads the word, a GRU cell gives one phoneme after another."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.letters, self.phonemes = nn.Embedding(len(LETTERS), width), nn.Embedding(len(PHONEMES), width)
        self.encoder, self.decoder = nn.GRU(width, hidden, batch_first=True), nn.GRUCell(width, hidden)
        self.head = nn.Linear(hidden, len(PHONEMES))

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        _, last = self.encoder(self.letters(letters))
        state = last[0]
        chosen = torch.full((len(letters),), START)
        found = []
        for _ in range(N_STEPS):
            state = self.decoder(self.phonemes(chosen), state)
            chosen = self.head(state).argmax(1)
            found.append(chosen)
        return torch.stack(found, 1)


def load(path: Path) -> Speller:
    """The pretrained network of g2p_en's checkpoint."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    state = {"letters.weight": arrays["enc_emb"], "phonemes.weight": arrays["dec_emb"]}
    for short, name, end in (("enc", "encoder", "_l0"), ("dec", "decoder", "")):
        for part, its in (("w", "weight"), ("b", "bias")):
            state |= {f"{name}.{its}_{which}{end}": arrays[f"{short}_{part}_{which}"] for which in ("ih", "hh")}
    state |= {"head.weight": arrays["fc_w"], "head.bias": arrays["fc_b"]}
    net = Speller(arrays["enc_emb"].shape[1], arrays["enc_w_hh"].shape[1])
    net.load_state_dict(state)
    return net.eval()


def encode(words: list[str]) -> torch.Tensor:
    """Numbers of the letters of words of one length, and of the end."""
    return torch.tensor([[LETTERS.index(letter) for letter in word] + [LETTERS.index("</s>")] for word in words])


@torch.no_grad()
def spell(net: nn.Module, words: list[str]) -> list[tuple[str, ...]]:
    """Phonemes of words; those of one length make a batch."""
    found: dict[str, tuple[str, ...]] = {}
    for length in {len(word) for word in words}:
        batch = [word for word in words if len(word) == length]
        for word, numbers in zip(batch, net(encode(batch)).tolist(), strict=True):
            end = numbers.index(END) if END in numbers else N_STEPS
            found[word] = tuple(PHONEMES[number] for number in numbers[:end])
    return [found[word] for word in words]


def measure(rounds: int, scale: float) -> dict:
    """Words of the CMU dictionary; right is a word with one of its pronunciations."""
    net = load(_data.path("G2P"))
    dictionary = _data.pronunciations()
    everything = sorted(dictionary)
    rows_of = np.random.RandomState(0).choice(len(everything), max(50, round(scale * N_WORDS)), replace=False)
    words = [everything[i] for i in rows_of]
    nets: dict[str, Any] = {
        "float32": net,
        "lifecycle, dynamic": lc.quantize(net, activations="dynamic"),
        "lifecycle, auto": lc.quantize(net),
        "torch.ao": _peers.torch_ao(net),
    }
    nets = {who: one for who, one in nets.items() if one is not None}
    lengths = [len(word) for word in words]
    usual = max(set(lengths), key=lengths.count)
    batch = encode([word for word in words if len(word) == usual][:BATCH])
    hits = {who: np.array([said in dictionary[word] for word, said in zip(words, spell(one, words), strict=True)])
            for who, one in nets.items()}  # fmt: skip
    rows: dict[str, dict[str, Any]] = {}
    for size in (1, len(batch)):
        x = batch[:size].contiguous()
        seconds = seconds_of({who: lambda one=one, x=x: one(x) for who, one in nets.items()}, rounds)
        for who, one in nets.items():
            rows[f"batch {size}: {who}"] = {
                **cells(seconds, who, "float32"),
                **accuracy_cells(hits["float32"], hits[who]),
                "bytes": lc.size_of(one) if who != "torch.ao" else None,
            }
    about = (
        f"Accuracy: words whose phonemes are all right, of {len(words)} words of the CMU Pronouncing Dictionary; the "
        f"drop with the 95 % interval of the paired words. Times of words of {usual} letters, {N_STEPS} phonemes each; "
        f"{rounds} alternating rounds. “Dynamic” has int8 layers wherever there are any, “auto” where they "
        "were measured to be faster, in batches of one row."
    )
    return {"rows": rows, "about": about}
