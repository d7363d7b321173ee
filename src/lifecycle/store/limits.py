"""What a file can make a reader do: how large its JSON is, what is built beyond its arrays, how long a message is.

A checksum is no signature: anybody can compute it for a manifest of their own. So no number or list of a manifest
decides alone how much is allocated or how long something takes. `save` keeps the same limits, so that it writes no
file that `load` refuses.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lifecycle._display import printable

MAX_HEADER = 100_000_000  # bytes, of safetensors
MAX_NAME = 1000  # characters of the name of an array or a tensor
MAX_DIMENSIONS, MAX_PARTS = 64, 8  # of an array: numpy has no more; no codec has more parts
MEMORY = 16_000_000  # bytes that reading may take, beside twice the file, before all of it is checked
MAX_DEPTH = 100  # of nested lists and objects, far from where Python's recursion ends
MAX_ARRAY_BYTES = 10**8  # of all arrays in the JSON, and of what is made beyond the arrays of the file
MAX_WORK = 25_000  # what is built beyond the arrays of the file, in the units below
COLUMN = 1  # a column that a transformer learned from; about 200 µs
TREE = 1  # a tree of few nodes as an object of scikit-learn; about 200 µs
PART = 5  # a step of a pipeline, a part of a ColumnTransformer, a layer without arrays of its own; about 1 ms
COLUMNS_PER_UNIT = 50  # columns of a row that the file has no array of, of one unit; a row of all has 10 MB
MAX_TERMS = 2_000_000  # of vocabularies; a short one takes up to 200 bytes in memory
MAX_DEPTH_OF_STEPS = 5  # scikit-learn visits what is inside of a step up to three times for each step around it
MAX_MESSAGE = 600  # characters of an error, which may quote the file


class ExceedsLimit(ValueError):
    """A file that asks for too much, or a model of which such a file would be made."""


_remaining: ContextVar[dict[str, int] | None] = ContextVar("what a file may still ask for", default=None)


@contextmanager
def budget() -> Iterator[None]:
    """Bound what is built inside the block, which is for one file; outside of one nothing is bounded."""
    token = _remaining.set({"bytes": MAX_ARRAY_BYTES, "work": MAX_WORK, "terms": MAX_TERMS})
    try:
        yield
    finally:
        _remaining.reset(token)


def spend_bytes(amount: int, what: str = "the arrays in the manifest are") -> None:
    """Account for an array that the JSON describes, or for what a model takes beside its arrays."""
    _spend("bytes", amount, f"{what} too large: all of that may take {MAX_ARRAY_BYTES:,} bytes")


def spend_work(amount: int, what: str | None = None) -> None:
    """Account for what is built of the JSON alone; `what` says what there is too much of, and what to do."""
    parts, columns = MAX_WORK // PART, MAX_WORK // COLUMN
    _spend("work", amount, what or f"it has more than {parts:,} steps, parts or layers, or {columns:,} columns, "
           "without arrays")  # fmt: skip


def spend_terms(amount: int) -> None:
    """Account for the terms of a vocabulary."""
    _spend("terms", amount, f"its vocabularies have more than {MAX_TERMS:,} terms")


def check_depth_of_steps(depth: int) -> None:
    """ExceedsLimit for a step that is part of too many others, each part of the next."""
    if depth > MAX_DEPTH_OF_STEPS:
        raise ExceedsLimit(f"its steps nest deeper than {MAX_DEPTH_OF_STEPS} levels")


def _spend(kind: str, amount: int, sentence: str) -> None:
    remaining = _remaining.get()
    if remaining is None:
        return
    if amount > remaining[kind]:
        raise ExceedsLimit(sentence)
    remaining[kind] -= amount


def json_allowance(size: int, header: int) -> int:
    """Bytes that the JSON may take in memory, of a file of `size` bytes whose first `header` bytes hold it."""
    return 2 * size + MEMORY - (size - header)


def is_name(name: Any) -> bool:
    """Whether an array may have this name: a file must not write control characters to a terminal, or fill it."""
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()


def shorten(text: str, width: int = MAX_MESSAGE) -> str:
    """The beginning and the end of a text on one line, without control characters, which a terminal would obey."""
    if len(text) > width:
        text = f"{text[: width * 2 // 3]} … {text[-(width // 3) :]}"
    return printable(" ".join(text.splitlines()))
