"""Files of this library as somebody who wants to harm a reader makes them: altered, with a checksum that fits."""

import hashlib
import json
import struct

from lifecycle.store import bundle


def signed(data):
    """The bytes with the digest that belongs to them."""
    start, stop = bundle.DIGEST_PATTERN.search(data).span(1)
    bare = data[:start] + b"0" * 64 + data[stop:]
    return bare[:start] + hashlib.sha256(bare).hexdigest().encode() + bare[stop:]


def parts_of(data):
    """Header and manifest, parsed, and the bytes of the tensors."""
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    return header, json.loads(header["__metadata__"]["lifecycle"]), data[8 + n :]


def joined(header, manifest, tensors, raw_header=None):
    """A file of these parts, with a digest that fits; `raw_header` edits the bytes of the header before."""
    header["__metadata__"]["lifecycle"] = json.dumps(manifest, separators=(",", ":"))
    text = json.dumps(header, separators=(",", ":")).encode()
    text = raw_header(text) if raw_header else text
    text += b" " * (-len(text) % 8)
    return signed(struct.pack("<Q", len(text)) + text + tensors)


def forged(data, edit, raw_header=None):
    """A file with another manifest, and a digest that fits it."""
    header, manifest, tensors = parts_of(data)
    return joined(header, edit(manifest) or manifest, tensors, raw_header)
