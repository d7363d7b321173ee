"""Upper bounds of the number of axes of what the nodes of a graph compute.

onnxruntime infers shapes while it reads a graph. `Gather` of a tensor with itself doubles the number of axes, so that
thirty nodes would take all memory before anything is computed.

They are bounds where shapes and axes are constants. Of those that a graph computes onnxruntime infers no shape: here
they count as the few axes that models have.
"""

import math
from collections.abc import Callable
from typing import Any

MAX_RANK = 32
_OF_OTHERS = 4  # what an operator that is not listed may give from inputs of fewer axes, as LSTM does
_UNKNOWN = 8  # of what has no declared shape, as of Reshape to a shape that is computed
_SAME_LENGTH = ("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Slice", "Transpose", "Neg", "Abs",
                "DequantizeLinear")  # fmt: skip
_LONGER_OF_BOTH = ("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Where", "Equal")
_REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
               "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")  # fmt: skip


class Ranks:
    """The ranks of values by their names, and how many numbers those have of which that is known, as of shapes."""

    def __init__(self) -> None:
        self.rank: dict[str, int] = {"": 0}
        self.length: dict[str, int] = {}

    def declare_input(self, value: Any) -> None:
        shape = value.type.tensor_type
        self.rank[value.name] = len(shape.shape.dim) if shape.HasField("shape") else _UNKNOWN

    def declare_constant(self, name: str, tensor: Any) -> None:
        self.rank[name], self.length[name] = len(tensor.dims), math.prod(tensor.dims)

    def append(self, node: Any) -> int:
        """Account for a node; the rank of its outputs. KeyError if an input is not known yet."""
        # a malformed node may lack inputs
        ranks = [*(self.rank[name] for name in node.input), 0, 0]
        lengths = [*(self.length.get(name) for name in node.input), None, None]
        found = max(_RULES.get(node.op_type, _other)(node, ranks, lengths), 0)
        length = _length(node, found, ranks, lengths)
        for name in node.output:
            self.rank[name] = found
            if length is not None:
                self.length[name] = length
        return found


_Rule = Callable[[Any, list[int], list[int | None]], int]


def _other(node: Any, ranks: list[int], lengths: list[int | None]) -> int:
    return max(_OF_OTHERS, *ranks)


def _same(node: Any, ranks: list[int], lengths: list[int | None]) -> int:
    return max(ranks)


def _one_more(node: Any, ranks: list[int], lengths: list[int | None]) -> int:
    return max(ranks) + 1


def _gathered(node: Any, ranks: list[int], lengths: list[int | None]) -> int:
    return ranks[0] + ranks[1] - 1


def _of_shape(place: int) -> _Rule:
    """An operator whose input at this place is the shape of its output."""

    def rule(node: Any, ranks: list[int], lengths: list[int | None]) -> int:
        known = lengths[place]
        return max(_UNKNOWN, ranks[0]) if known is None else known

    return rule


def _expanded(node: Any, ranks: list[int], lengths: list[int | None]) -> int:
    return max(ranks[0], _of_shape(1)(node, ranks, lengths))


def _fewer(node: Any, ranks: list[int], lengths: list[int | None]) -> int:
    return ranks[0] - (lengths[1] or 0)


def _more(node: Any, ranks: list[int], lengths: list[int | None]) -> int:
    return ranks[0] + (1 if lengths[1] is None else lengths[1])


def _reduced(node: Any, ranks: list[int], lengths: list[int | None]) -> int:
    return ranks[0] if _attribute(node, "keepdims", 1) else _fewer(node, ranks, lengths)


def _of_largest(node: Any, ranks: list[int], lengths: list[int | None]) -> int:
    return ranks[0] - (not _attribute(node, "keepdims", 1))


def _of_equation(node: Any, ranks: list[int], lengths: list[int | None]) -> int:
    equation = next((a.s for a in node.attribute if a.name == "equation"), b"")
    letters = sum(character.isalpha() for character in equation.decode("utf-8", "replace").split("->")[-1])
    return letters + (max(ranks) if b"..." in equation else 0)


_RULES: dict[str, _Rule] = {
    "Gather": _gathered, "GatherND": _gathered, "Reshape": _of_shape(1), "ConstantOfShape": _of_shape(0),
    "Expand": _expanded, "Unsqueeze": _more, "Squeeze": _fewer, "Einsum": _of_equation, "ArgMax": _of_largest,
    "ArgMin": _of_largest, "Col2Im": _more,
    **dict.fromkeys(("OneHot", "OneHotEncoder", "STFT", "StringSplit", "ConcatFromSequence"), _one_more),
    **dict.fromkeys(_REDUCTIONS, _reduced),
    **dict.fromkeys(("Identity", "Cast", "Transpose", "Slice", "Concat", *_LONGER_OF_BOTH), _same),
    **dict.fromkeys(("Flatten", "Gemm"), lambda node, ranks, lengths: 2),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), lambda node, ranks, lengths: 4),
    "Shape": lambda node, ranks, lengths: 1,
}  # fmt: skip


def _attribute(node: Any, name: str, default: int) -> int:
    return next((a.i for a in node.attribute if a.name == name), default)


def _length(node: Any, rank: int, ranks: list[int], lengths: list[int | None]) -> int | None:
    """How many numbers a value has, if that is known: of each that `constants` computes."""
    op, known = node.op_type, [n for n in lengths if n is not None]
    is_known = len(known) == len(node.input)
    if op == "Shape":
        return len(range(ranks[0])[_attribute(node, "start", 0) : _attribute(node, "end", ranks[0])])
    if op == "Concat":
        return sum(known) if is_known else None
    if op in _SAME_LENGTH:
        return lengths[0]
    if op == "Gather" and ranks[0] <= 1:
        return lengths[1]
    return max(known) if op in _LONGER_OF_BOTH and rank <= 1 and is_known and known else None
