"""Numbers of the channels of a network, in groups of which all channels stay or go: a union-find structure."""

import numpy as np


class ChannelNumbers:
    """Numbers from 0 on; those that are joined make a group, and those that are frozen stay.

    `space[number]` is the layer that gave the channel its number, `reasons` why channels are frozen.
    """

    def __init__(self) -> None:
        self.parent: list[int] = []
        self.space: list[int] = []
        self.frozen: set[int] = set()
        self.reasons: dict[str, None] = {}

    def new(self, n: int) -> np.ndarray:
        """The numbers of n more channels, of one layer."""
        start = len(self.parent)
        self.parent += range(start, start + n)
        self.space += [len(set(self.space))] * n if n else []
        return np.arange(start, start + n)

    def root(self, number: int) -> int:
        """The number that stands for its group."""
        while self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def join(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Make the groups of a[i] and b[i] one; returns a."""
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            x, y = self.root(x), self.root(y)
            self.parent[max(x, y)] = min(x, y)
        return a

    def freeze(self, numbers: np.ndarray, reason: str) -> None:
        """Keep these channels, and with them those of their groups."""
        self.frozen |= set(numbers.tolist())
        self.reasons[reason] = None

    def groups(self) -> tuple[np.ndarray, np.ndarray]:
        """The group of each number, and (groups,) whether it is frozen."""
        roots = np.array([self.root(number) for number in range(len(self.parent))], dtype=int)
        names, group_of = np.unique(roots, return_inverse=True)
        frozen = np.zeros(len(names), bool)
        frozen[group_of[sorted(self.frozen)]] = True
        return group_of, frozen
