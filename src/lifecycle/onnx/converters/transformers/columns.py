"""Columns of a table inside of a graph, on which operators of Python append nodes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.onnx.graph import ML, GraphBuilder, utf8
from lifecycle.onnx.interface import TEXT


class Columns:
    """A tensor (rows, width), of numbers or of strings."""

    def __init__(self, build: GraphBuilder, name: str, dtype: str, width: int):
        self.build, self.name, self.dtype, self.width = build, name, dtype, width

    def apply(
        self, op: str, *operands: Any, dtype: str | None = None, width: int | None = None, **attributes: Any
    ) -> "Columns":
        """What an operator makes of these columns and others, or arrays in their dtype."""
        names = [self._operand(one) for one in operands]
        name = self.build.node(op, self.name, *names, **attributes)
        return Columns(self.build, name, dtype or self.dtype, self.width if width is None else width)

    def _operand(self, other: Any) -> str:
        if isinstance(other, Columns):
            return other.name
        return self.build.constant(np.asarray(other, object if self.dtype == TEXT else self.dtype))

    def __add__(self, other: Any) -> "Columns":
        return self.apply("Add", other)

    def __sub__(self, other: Any) -> "Columns":
        return self.apply("Sub", other)

    def __mul__(self, other: Any) -> "Columns":
        return self.apply("Mul", other)

    def __truediv__(self, other: Any) -> "Columns":
        return self.apply("Div", other)

    def __matmul__(self, matrix: np.ndarray) -> "Columns":
        return self.apply("MatMul", matrix, width=matrix.shape[1])

    def compare(self, op: str, other: Any) -> "Columns":
        """Truth values: of Equal, Greater, GreaterOrEqual, Less, or LessOrEqual."""
        return self.apply(op, other, dtype="bool")

    def is_nan(self) -> "Columns":
        return self.apply("IsNaN", dtype="bool")

    def as_type(self, dtype: str) -> "Columns":
        return (
            self if dtype == self.dtype else Columns(self.build, self.build.cast(self.name, dtype), dtype, self.width)
        )

    def where(self, condition: "Columns", other: Any) -> "Columns":
        """These where the condition does not hold, the other where it does."""
        name = self.build.node("Where", condition.name, self._operand(other), self.name)
        return Columns(self.build, name, self.dtype, self.width)

    def where_constant(self, condition: np.ndarray, other: "Columns") -> "Columns":
        """These where the condition, one truth value a column, does not hold, the other where it does."""
        if not condition.any():
            return self
        return self.where(Columns(self.build, self.build.constant(condition), "bool", self.width), other)

    def reduce(self, op: str) -> "Columns":
        """The sum or the maximum of each row, one column."""
        axes = self.build.constant(np.array([1]))
        return Columns(self.build, self.build.node(op, self.name, axes, keepdims=1), self.dtype, 1)

    def take(self, places: Sequence[int] | np.ndarray) -> "Columns":
        """The columns at these places."""
        if len(places) == self.width and all(place == k for k, place in enumerate(places)):
            return self
        index = self.build.constant(np.asarray(places, np.int64))
        return Columns(self.build, self.build.node("Gather", self.name, index, axis=1), self.dtype, len(places))

    def codes(self, words: Sequence[str], codes: Sequence[int], default: int) -> "Columns":
        """Integers that stand for words of these columns."""
        return self.apply(
            "LabelEncoder", dtype="int64", domain=ML, keys_strings=[utf8(word) for word in words],
            values_int64s=list(codes), default_int64=default,
        )  # fmt: skip

    def refused_where(self, condition: "Columns", reason: str) -> "Columns":
        """These columns, from a graph that fails where the condition holds in a row.

        No operator of ONNX raises an error on demand; an index out of range is one that its specification names.
        """
        count = self.build.node("ReduceSum", condition.as_type("int64").name, keepdims=0)
        zeros = self.build.constant(np.zeros(1, self.dtype))
        zero = self.build.node("Gather", zeros, count, name=f"{reason}_{len(self.build.nodes)}")
        return Columns(self.build, self.build.node("Add", self.name, zero), self.dtype, self.width)

    def is_infinite(self) -> "Columns":
        return self.apply("IsInf", dtype="bool")

    def finite(self, *, allow_nan: bool = True) -> "Columns":
        """These columns, from a graph that fails where one is infinite, which scikit-learn's transformers refuse, or
        NaN, which some refuse."""
        found = self.refused_where(self.is_infinite(), "not_finite")
        return found if allow_nan else found.refused_where(self.is_nan(), "not_finite")


class Table:
    """The columns of a table in blocks: each column of a DataFrame alone, or all columns of an array at once."""

    def __init__(self, blocks: Sequence[Columns]):
        self.blocks = list(blocks)
        self._starts = np.cumsum([0, *(block.width for block in self.blocks)])

    @property
    def width(self) -> int:
        return int(self._starts[-1])

    @property
    def has_text(self) -> bool:
        return any(block.dtype == TEXT for block in self.blocks)

    def take(self, places: Sequence[int]) -> "Table":
        """The columns at these places."""
        places = [int(place) for place in places]
        if places == list(range(self.width)):
            return self
        owners = np.searchsorted(self._starts, places, side="right") - 1
        found: list[Columns] = []
        start = 0
        while start < len(places):  # neighbours of one block are taken at once
            end, owner = start + 1, owners[start]
            while end < len(places) and owners[end] == owner:
                end += 1
            found.append(self.blocks[owner].take(np.array(places[start:end]) - self._starts[owner]))
            start = end
        return Table(found)

    def finite(self, *, allow_nan: bool) -> "Table":
        """The same columns, from a graph that fails where one is infinite, or NaN."""
        return Table([block if block.dtype == TEXT else block.finite(allow_nan=allow_nan) for block in self.blocks])

    def columns(self) -> list[Columns]:
        """Each column alone."""
        return [block.take([k]) for block in self.blocks for k in range(block.width)]

    def numbers(self, step: Any) -> Columns:
        """All columns as one tensor; UnsupportedModel where a step would take strings for numbers."""
        if self.has_text:
            raise UnsupportedModel(f"{_article(step)} that takes strings cannot be exported to ONNX")
        return joined(self.blocks)


def joined(blocks: Sequence[Columns]) -> Columns:
    """Blocks of numbers side by side."""
    if len(blocks) == 1:
        return blocks[0]
    dtype = "float64" if any(block.dtype == "float64" for block in blocks) else blocks[0].dtype
    first, *others = (block.as_type(dtype) for block in blocks)
    return first.apply("Concat", *others, width=sum(block.width for block in blocks), axis=1)


def _article(step: Any) -> str:
    name = step if isinstance(step, str) else type(step).__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
