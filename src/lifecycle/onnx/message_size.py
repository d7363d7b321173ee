"""How much memory a protobuf message takes once it is parsed, from its bytes alone.

An empty message takes two bytes in a file and two hundred in memory. So a graph is measured before it is parsed.
"""

from functools import cache
from typing import Any

import numpy as np

# bytes in memory, upper bounds of what protobuf 4 to 7 take: a message, a string without its characters, a number
_MESSAGE, _STRING, _NUMBER = 200, 32, 16
_MAX_DEPTH = 100  # protobuf's own
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; groups are not of ONNX
_REPEATS, _WINDOW = 32, 4096  # after so many numbers of one field the next ones are read at once, in so many bytes
_NUMBERS = {_VARINT: 0, _FIXED64: 8, _FIXED32: 4}  # bytes of a number; 0: of any
_OTHER, _TEXT = -1, -2  # fields that the message type does not have, and texts


def parsed_size(descriptor: Any, data: bytes, limit: int) -> int:
    """An upper bound of the bytes that a message takes in memory; reading ends where it is above the limit.

    ValueError if the bytes are no message, or a text in it is not UTF-8.
    """
    kinds = _kinds(descriptor)
    total, place, end = _MESSAGE, 0, len(data)
    outer: list[tuple[dict, int, int]] = []  # messages that are not read to their ends
    last, repeats = -1, 0  # the field before, and how often it stood there
    while total <= limit:
        if place == end:
            if not outer:
                return total
            kinds, place, end = outer.pop()
            continue
        start = place
        key, place = _varint(data, place, end)
        wire, (kind, inner) = key & 7, kinds.get(key >> 3, (_OTHER, None))
        repeats = repeats + 1 if key == last else 0
        last = key
        if wire in _NUMBERS:
            count = 0
            if repeats >= _REPEATS and key < 128:
                count, behind = _run(np.frombuffer(data, np.uint8, min(end - start, _WINDOW), start), _NUMBERS[wire])
            if count:
                total += _NUMBER * count
                place = start + behind
                continue
            total += _NUMBER
            place = place + _NUMBERS[wire] if _NUMBERS[wire] else _varint(data, place, end)[1]
        elif wire == _BYTES:
            size, place = _varint(data, place, end)
            if size > end - place:
                raise ValueError("a field is longer than its message")
            if inner is not None:
                if len(outer) == _MAX_DEPTH:
                    raise ValueError("messages nest too deep")
                total += _MESSAGE
                outer.append((kinds, place + size, end))
                kinds, end = _kinds(inner), place + size
                continue
            if kind == _VARINT:  # packed
                total += _NUMBER * int((np.frombuffer(data, np.uint8, size, place) < 128).sum())
            else:
                total += _STRING + size
            if kind == _TEXT:
                str(data[place : place + size], "utf-8")  # as protobuf reads it only when it is asked for
            place += size
        else:
            raise ValueError("a field has an unknown wire type")
        if place > end:
            raise ValueError("a field is longer than its message")
    return total


@cache
def _kinds(descriptor: Any) -> dict[int, tuple[int, Any]]:
    """By the number of a field: its wire type when it is not packed, or that it is a text; the type of a message."""
    found = {}
    for number, field in descriptor.fields_by_number.items():
        kind = _VARINT
        if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE, field.TYPE_FIXED32, field.TYPE_FIXED64):
            kind = _FIXED32
        elif field.type == field.TYPE_STRING:
            kind = _TEXT
        elif field.type == field.TYPE_BYTES or field.message_type is not None:
            kind = _BYTES
        found[number] = kind, field.message_type
    return found


def _varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    """The integer at a place, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("an integer has no end")


def _run(window: np.ndarray, size: int) -> tuple[int, int]:
    """How many whole numbers of the first field follow each other, and the place behind them; its key has one byte."""
    if size:
        keys = np.arange(0, len(window) - size, size + 1)
        lasts = keys + size
        follows = np.ones(len(keys), bool)
    else:  # bytes below 128 end keys and integers, one after the other
        ends = np.flatnonzero(window < 128)
        lasts = ends[1::2]
        keys = ends[0::2][: len(lasts)]
        follows = (np.concatenate([[0], lasts + 1])[:-1] == keys) & (lasts - keys <= 10)
    follows &= window[keys] == window[0]
    count = len(keys) if follows.all() else int(np.argmin(follows))
    return count, int(lasts[count - 1]) + 1 if count else 0
