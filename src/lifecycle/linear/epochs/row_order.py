"""The order in which mini-batches visit the rows, and how many steps that makes."""

from collections.abc import Iterator

import numpy as np

from lifecycle.linear.data.design_matrix import DesignMatrix


class RowOrder:
    """Iterates over an epoch: pieces of X that are read at once, with their rows in an order drawn anew each time."""

    def __init__(self, design: DesignMatrix, shuffle: bool, random_state: np.random.RandomState):
        self.shuffle, self.random_state = shuffle, random_state
        self.chunks = design.file_chunks()
        self._orders = [np.arange(end - begin) for begin, end in self.chunks]
        self._chunk_order = np.arange(len(self.chunks))

    def __iter__(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """First and last row (not included) of a piece, and the order of its rows, counted from the first."""
        if self.shuffle:
            if len(self._chunk_order) > 1:
                self.random_state.shuffle(self._chunk_order)
            for order in self._orders:
                self.random_state.shuffle(order)
        for k in self._chunk_order:
            yield *self.chunks[k], self._orders[k]


def n_steps(n_rows: int, batch_size: int) -> int:
    """Steps that so many rows make, the last one on fewer than `batch_size` rows."""
    return -(-n_rows // batch_size)


def first_averaged_step(average: int, batch_size: int) -> int:
    """The step from which on coefficients are averaged, `average` rows after the start; 0: never."""
    return max(1, n_steps(average, batch_size)) if average else 0
