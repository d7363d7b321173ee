"""How much memory a JSON text would take, and how deep it nests: counted before anything is built of it."""

import re
import sys

import numpy as np

from lifecycle.store.limits import MAX_DEPTH, ExceedsLimit

_CHUNK = 1 << 16  # characters that are counted at a time
_BACKSLASHES = re.compile(r"\\*")
_NOT_A_BRACKET = re.compile(r"[^\[\]{}]+")
_MAX_KEYS, _MAX_KEY = 1 << 13, 64  # number and characters of keys of which it is known whether they were there before
# bytes in memory of what JSON has, measured with CPython 3.11: json keeps one string for equal keys
_DICT, _LIST, _PAIR, _NEW_KEY, _STRING, _NUMBER, _ITEM = 160, 88, 24, 120, 58, 32, 8
# bytes of each character: json's buffers grow in steps; one character of four bytes makes all of a string as wide
_NARROW, _WIDE = 1.25, 7.0


def check_json(text: str, allowance: int) -> int:
    """What remains of an allowance of bytes for more JSON of the same file; the syntax is not checked.

    ExceedsLimit for JSON that nests too deep, or that may take more memory.
    """
    count = _Count()
    begin = 0
    while begin < len(text):
        # a chunk does not end between a backslash and what it escapes
        end = _BACKSLASHES.match(text, begin + _CHUNK).end() + 1  # type: ignore[union-attr]
        count.add(text[begin:end].replace("\\\\", "").replace('\\"', ""))
        begin = end
    values = count.bytes_of_values()
    wide = count.wide if text.isascii() else len(text)
    if sys.getsizeof(text) + _NARROW * (len(text) - wide) + _WIDE * wide + values > allowance:
        raise ExceedsLimit("the JSON has more values or longer strings than a file of this size may have")
    return allowance - values


class _Count:
    """Counts of a text that is given in chunks without escaped quotes and backslashes."""

    def __init__(self) -> None:
        self.depth = self.quotes = self.dicts = self.lists = self.commas = self.colons = 0
        self.wide = 0  # characters of strings with a character beyond ASCII
        self.repeated = 0  # keys
        self._keys: set[str] = set()
        self._open, self._open_is_wide = 0, False  # characters so far of the string in which a chunk ended

    def add(self, chunk: str) -> None:
        parts = chunk.split('"')
        continues = self.quotes % 2 == 1
        strings, outside = (parts[::2], parts[1::2]) if continues else (parts[1::2], parts[::2])
        self.quotes += len(parts) - 1
        self._add_keys(strings, outside if continues else outside[1:])
        self._add_wide(strings, continues, "\\u" in chunk)
        self._add_structure("".join(outside))

    def _add_keys(self, strings: list[str], after: list[str]) -> None:
        for key, text in zip(strings, after, strict=False):
            if text[:1] == ":":
                if key in self._keys:
                    self.repeated += 1
                elif len(self._keys) < _MAX_KEYS and len(key) <= _MAX_KEY:
                    self._keys.add(key)

    def _add_wide(self, strings: list[str], continues: bool, any_is_wide: bool) -> None:
        ends_inside = self.quotes % 2 == 1
        if continues:
            self._open += len(strings[0])
            self._open_is_wide |= "\\u" in strings[0]
            if len(strings) == 1 and ends_inside:
                return
            self.wide += self._open * self._open_is_wide
        if any_is_wide:
            self.wide += sum(len(text) for text in strings[continues : len(strings) - ends_inside] if "\\u" in text)
        if ends_inside:
            self._open, self._open_is_wide = len(strings[-1]), "\\u" in strings[-1]

    def _add_structure(self, outside: str) -> None:
        self.dicts, self.lists = self.dicts + outside.count("{"), self.lists + outside.count("[")
        self.commas, self.colons = self.commas + outside.count(","), self.colons + outside.count(":")
        brackets = np.frombuffer(_NOT_A_BRACKET.sub("", outside).encode(), np.uint8)
        depths = self.depth + np.cumsum(np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1))
        if depths.max(initial=0) > MAX_DEPTH:
            raise ExceedsLimit(f"the JSON nests deeper than {MAX_DEPTH} levels")
        self.depth = int(depths[-1]) if depths.size else self.depth

    def bytes_of_values(self) -> int:
        """Bytes that `json.loads` needs for the values at most, beside the characters of strings."""
        strings = max(0, self.quotes // 2 - self.colons)
        numbers = max(0, self.commas + 1 - strings)  # so many values at least are no containers
        containers = self.dicts * _DICT + self.lists * _LIST + (self.commas + self.dicts + self.lists) * _ITEM
        keys = self.colons * _PAIR + (self.colons - self.repeated) * _NEW_KEY
        return containers + keys + strings * _STRING + numbers * _NUMBER
