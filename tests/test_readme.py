"""The README's examples run, and the first one arrives."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)


def test_numpy_example_runs():
    names: dict = {}
    exec(BLOCKS[0], names)
    np.testing.assert_allclose(names["weights"], [1, 2, 3], atol=0.1)


def test_torch_example_moves_the_weights():
    names: dict = {}
    exec(BLOCKS[1], names)
    assert len(names["optimizer"].state) == 2
