"""Codes in as few bits as their frequencies allow: DEFLATE with run lengths and Huffman codes (RFC 1951); lossless.

Most codes of a quantized weight are near zero, and of a pruned one they are zero (Han et al., 2016).
"""

import math
import zlib

import numpy as np

LOSSLESS = True
_LARGEST_RATIO = 16  # of elements to bytes: a small file does not stand for a huge array
_RAW, _MOST_MEMORY = -15, 9  # no header, as the shape tells the size


def encode(array: np.ndarray) -> dict[str, np.ndarray] | None:
    """Part "deflated" (uint8, of the array in C order); None for any array but int8, or of hardly any codes."""
    if array.dtype != np.int8 or array.size == 0:
        return None
    compressor = zlib.compressobj(zlib.Z_BEST_COMPRESSION, zlib.DEFLATED, _RAW, _MOST_MEMORY, zlib.Z_RLE)
    stream = compressor.compress(array.tobytes()) + compressor.flush()
    return {"deflated": np.frombuffer(stream, np.uint8)} if len(stream) * _LARGEST_RATIO >= array.size else None


def decode(parts: dict[str, np.ndarray], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array that `encode` was given; ValueError where the stream is no such stream, or does not fit the shape."""
    size = math.prod(shape)
    if set(parts) != {"deflated"}:
        raise ValueError("an array of Huffman codes has the part deflated")
    stream = parts["deflated"]
    if dtype != np.int8 or stream.dtype != np.uint8 or stream.ndim != 1 or size > stream.size * _LARGEST_RATIO:
        raise ValueError("the Huffman codes do not fit the array's shape and dtype")
    inflater = zlib.decompressobj(_RAW)
    try:
        codes = inflater.decompress(stream.tobytes(), size + 1)
    except zlib.error as error:
        raise ValueError(f"the Huffman codes are damaged: {error}") from None
    if len(codes) != size or not inflater.eof or inflater.unused_data:
        raise ValueError("the Huffman codes do not fit the array's shape and dtype")
    return np.frombuffer(codes, np.int8).reshape(shape).copy()
