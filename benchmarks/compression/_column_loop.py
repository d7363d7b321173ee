"""The column loop of OBS and GPTQ beside the same algorithm in torch operations, as the papers' programs have it."""

from typing import Any

import numpy as np
import torch

from lifecycle.codecs import choose_scales, list_codecs, max_code
from lifecycle.solvers.obs import cholesky_factor, compress_columns

from .._harness import alternate, quartiles
from ._timing import at_least

BITS, BLOCK = 4, 128


def measure(n_outputs: int, n_inputs: int, rounds: int, scale: float) -> dict:
    """Quantization to 4 bits with a scale for each row, the Cholesky factorization included on both sides."""
    generator = np.random.default_rng(0)
    mixing = np.eye(n_inputs) + 0.5 * generator.standard_normal((n_inputs, n_inputs)) / n_inputs**0.5
    inputs = generator.standard_normal((4096, n_inputs)) @ mixing
    moments = (inputs.T @ inputs / len(inputs)).astype(np.float32)
    weight = (generator.standard_normal((n_outputs, n_inputs)) / n_inputs**0.5).astype(np.float32)
    scales = choose_scales(weight, list_codecs()["absmax"].scales, BITS)
    found: dict[str, Any] = {}

    def ours() -> None:
        factor = cholesky_factor(moments)
        found["lifecycle"] = compress_columns(weight, factor, scales=lambda w: scales, max_code=max_code(BITS)).weight

    def theirs() -> None:
        done = in_torch(torch.from_numpy(weight), torch.from_numpy(moments), torch.from_numpy(scales)[:, None])
        found["torch operations"] = done.numpy()

    seconds = alternate({"lifecycle": ours, "torch operations": theirs}, rounds)
    largest = max_code(BITS)
    found["nearest codes"] = np.clip(np.rint(weight / scales[:, None]), -largest, largest) * scales[:, None]
    errors = {who: float(np.einsum("ij,jk,ik", weight - w, moments, weight - w)) for who, w in found.items()}
    medians = {who: quartiles(values)[1] for who, values in seconds.items()}
    rows = {
        who: {
            "milliseconds": 1e3 * medians[who] if who in medians else None,
            "speed": medians["torch operations"] / medians[who] if who in medians else None,
            "error of the outputs": error / errors["nearest codes"],
        }
        for who, error in errors.items()
    }
    about = f"{BITS} bits, one scale a row; {rounds} alternating rounds. Errors are relative to the nearest codes'."
    return {
        "rows": rows,
        "targets": [at_least("both factorized anew", seconds, "torch operations", "lifecycle", 4.0)],
        "about": about,
    }


@torch.no_grad()
def in_torch(weight: torch.Tensor, moments: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """GPTQ (Frantar et al., 2023) in blocks of 128 columns, as `compress_columns`."""
    w, out, largest = weight.clone(), torch.empty_like(weight), max_code(BITS)
    moments = moments + 0.01 * moments.diagonal().mean() * torch.eye(len(moments))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments))
    factor = torch.linalg.cholesky(inverse, upper=True)
    for start in range(0, w.shape[1], BLOCK):
        end = min(start + BLOCK, w.shape[1])
        block, lost = w[:, start:end].clone(), torch.empty(len(w), end - start)
        inner = factor[start:end, start:end]
        for j in range(end - start):
            column = block[:, j : j + 1]
            rounded = (column / scales).round_().clamp_(-largest, largest) * scales
            error = (column - rounded) / inner[j, j]
            block[:, j:] -= error @ inner[j : j + 1, j:]
            out[:, start + j] = rounded[:, 0]
            lost[:, j] = error[:, 0]
        w[:, end:] -= lost @ factor[start:end, end:]
    return out
