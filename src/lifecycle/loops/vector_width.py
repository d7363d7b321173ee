"""How many models of a block stand side by side in SIMD vectors."""

from typing import Any

import numpy as np

NARROW, WIDE = 32, 64  # models of a block; fewer are unrolled by the compiler before it sees that they are a vector


def vector_width(n_models: int, dtype: Any, in_tiles: bool) -> int:
    """Width of a tile for so many models, which are all in one tile or in several."""
    if n_models <= NARROW or (in_tiles and dtype == np.float64):
        return NARROW
    return WIDE if n_models <= WIDE or in_tiles else -(-n_models // NARROW) * NARROW
