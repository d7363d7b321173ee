"""The text of CSV files: its characters, its delimiter, and where its rows end."""

import codecs
import csv
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO

from lifecycle.cli.number_format import is_number

_DELIMITERS = ";\t|,"  # commas last: they are the most likely to stand within a value
_SAMPLED_ROWS = 1000  # that decide the delimiter
_BLANK_LINES = re.compile(r"([\s,;|]*[\r\n])?")
_SEP_LINE = re.compile(r'"?sep=(\t|(?![\w"])[!-~])"?[,;\t|]* *(\r\n?|\n|$)', re.IGNORECASE)  # as Excel reads it
_LINE_END = re.compile(r"\r\n?|\n")
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_NO_UTF8 = "the text is no UTF-8 and was read as Windows-1252"


class NotText(ValueError):
    """Bytes that are no text. The message has a {} for their place; `before` is what comes before them in the piece."""

    def __init__(self, message: str, before: str):
        super().__init__(message)
        self.before = before


class Characters:
    """The text of a file in pieces: UTF-8, UTF-16 with a byte order mark, or else Windows-1252.

    The encoding is decided on the first piece, and on the first that is not ASCII where the ones before are.

    Attributes
    ----------
    ended : bool
        Whether there is no other piece.
    n_bytes : int
        That were read.
    notes : list of str
        A sentence where the encoding of the first piece is a guess; of another piece a warning tells.
    """

    def __init__(self, file: BinaryIO, name: str, size: int):
        self._file, self._name, self._size, self._encoding = file, name, size, ""
        self._decoder: Any = None
        self._is_open = True  # everything so far is the same in both encodings
        self.ended, self.n_bytes = False, 0
        self.notes: list[str] = []

    def read(self) -> str:
        """The next piece; raises `NotText`."""
        data = self._file.read(self._size)
        is_first, self.n_bytes = self.n_bytes == 0, self.n_bytes + len(data)
        self.ended = self._size < 0 or not self._file.peek(1)  # type: ignore[attr-defined]
        if is_first:
            encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
            self._decode_as(encoding)
        try:
            text = self._decoded(data, is_first)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(error.encoding)
            raise NotText("is no text in UTF-8{}: save it as CSV in UTF-8", before) from None
        self._is_open &= text.isascii()
        if "\0" in text:
            raise NotText("holds NUL characters{}: it is no text", text[: text.index("\0")])
        return text

    def _decode_as(self, encoding: str) -> None:
        self._encoding, self._decoder = encoding, codecs.getincrementaldecoder(encoding)()

    def _decoded(self, data: bytes, is_first: bool) -> str:
        held = self._decoder.getstate()[0]  # the first bytes of a character
        try:
            return self._decoder.decode(data, self.ended)
        except UnicodeDecodeError:
            if not self._is_open or self._encoding != "utf-8":
                raise
        self._decode_as("cp1252")
        text = self._decoder.decode(held + data, self.ended)
        if is_first:
            self.notes.append(_NO_UTF8)
        else:
            warnings.warn(f"{self._name}: {_NO_UTF8}", stacklevel=2)
        return text


def without_first_lines(text: str) -> tuple[str, str | None]:
    """The text from the line of names on, and the delimiter if a line before it names one."""
    text = text[_BLANK_LINES.match(text).end() :]  # type: ignore[union-attr]
    declared = _SEP_LINE.match(text)
    if declared is None:
        return text, None
    text = text[declared.end() :]
    return text[_BLANK_LINES.match(text).end() :], declared[1]  # type: ignore[union-attr]


def without_last_lines(text: str) -> str:
    """The text without the end of its last line and the blank lines there; a last value keeps its trailing spaces."""
    end_of_line = _LINE_END.search(text, len(text.rstrip(" \r\n")))
    return text if end_of_line is None else text[: end_of_line.start()]


def without_line_end(text: str) -> str:
    """The text without the end of a line with which it begins."""
    line_end = _LINE_END.match(text)
    return text if line_end is None else text[line_end.end() :]


def end_of_first_row(text: str, delimiter: str) -> int:
    """Where the second row begins; 0 if the first one does not end."""
    ends = (_LINE_END.search(text, start, end) for start, end in _outside_of_quotes(text, delimiter))
    return next((line_end.end() for line_end in ends if line_end), 0)


def end_of_last_row(text: str, delimiter: str) -> int:
    """Where the last row begins, whose end is unknown; 0 if that is the first one."""
    for start, end in reversed(list(_outside_of_quotes(text, delimiter))):
        end -= end == len(text) and text.endswith("\r")  # the first half of \r\n, it may be
        if last := max(text.rfind("\n", start, end), text.rfind("\r", start, end)) + 1:
            return last
    return 0


def _outside_of_quotes(text: str, delimiter: str) -> Iterator[tuple[int, int]]:
    """Start and end of the parts of a text that are in no quotes; it begins with a row. Quotes open at a value only."""
    start = 0
    if '"' in text:
        quoted = re.compile(rf'(?:\A|[{re.escape(delimiter)}\r\n]) *("(?:[^"]++|"")*+(?:"|\Z))')
        for value in quoted.finditer(text):
            yield start, value.start(1)
            start = value.end(1)
    yield start, len(text)


@contextmanager
def _values_of_any_length(text: str) -> Iterator[None]:
    """Let the csv module read values of more than 131,072 characters, its limit, which holds for the whole process."""
    limit = csv.field_size_limit()
    csv.field_size_limit(max(limit, len(text)))
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def records(text: str, delimiter: str, n: int | None = None, *, blank: bool = False) -> list[list[str]]:
    """The first n rows, or all; with or without blank lines."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    with _values_of_any_length(text):
        return list(islice((row for row in reader if row or blank), n))


def delimiter_of(text: str) -> str:
    """The delimiter under which names and rows agree."""
    samples = {d: rows for d in _DELIMITERS if (rows := records(text, d, _SAMPLED_ROWS + 1))}
    candidates = [d for d, (names, *_) in samples.items() if len(names) > 1]
    if not any(len(row) > 1 for d in candidates for row in samples[d][1:]):
        # one column, whose name may hold a delimiter
        whole = [d for d, rows in samples.items() if all(len(row) == 1 for row in rows)]
        return (whole or candidates or list(_DELIMITERS))[0]

    def agreement(delimiter: str) -> tuple[float, float, int]:
        names, *rows = samples[delimiter]
        if not rows:  # a quote that this delimiter opens is never closed
            return 0, 0, 0
        n_equal = sum(len(row) == len(names) for row in rows)
        others = [d for d in candidates if d != delimiter]
        divided = sum(any(d in v for d in others) and not is_number(v) for row in rows for v in row if v)
        return n_equal / len(rows), -divided / sum(map(len, rows)), len(names)

    return max(candidates, key=agreement)
