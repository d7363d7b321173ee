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
_LONG = 4096  # bytes from which runs of integers are read at once
_OTHER, _TEXT = -1, -2  # fields that the message type does not have, and texts


def parsed_size(descriptor: Any, data: bytes, limit: int) -> int:
    """An upper bound of the bytes that a message takes in memory; reading ends where it is above the limit.

    ValueError if the bytes are no message, or a text in it is not UTF-8.
    """
    kinds = _kinds(descriptor)
    total, place, end = _MESSAGE, 0, len(data)
    outer: list[tuple[dict, int, int]] = []  # messages that are not read to their ends
    while total <= limit:
        if place == end:
            if not outer:
                return total
            kinds, place, end = outer.pop()
            continue
        start = place
        key, place = _varint(data, place, end)
        wire, (kind, inner) = key & 7, kinds.get(key >> 3, (_OTHER, None))
        if wire == _VARINT:
            total += _NUMBER
            if end - start >= _LONG and place == start + 1:
                count, place = _run(data, start, end)
                total += _NUMBER * (count - 1)
            else:
                _, place = _varint(data, place, end)
        elif wire in (_FIXED64, _FIXED32):
            total += _NUMBER
            place += 8 if wire == _FIXED64 else 4
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


def _run(data: bytes, start: int, end: int) -> tuple[int, int]:
    """How many integers of the same field, whose key is one byte, follow each other, and the place behind them.

    Bytes below 128 end keys and integers, by turns.
    """
    ends = np.flatnonzero(np.frombuffer(data, np.uint8, end - start, start) < 128)
    keys, lasts = ends[0::2], ends[1::2]
    follows = np.concatenate([[0], lasts[:-1] + 1]) == keys[: len(lasts)]
    follows &= np.frombuffer(data, np.uint8, end - start, start)[keys[: len(lasts)]] == data[start]
    count = len(lasts) if follows.all() else int(np.argmin(follows))
    if not count:
        raise ValueError("an integer has no end")
    lengths = lasts[:count] - keys[:count]
    if int(lengths.max()) > 10:
        raise ValueError("an integer has no end")
    return count, start + int(lasts[count - 1]) + 1
