"""Files of this library as somebody who wants to harm a reader makes them: altered, with digests that fit."""

import hashlib
import json
import re
import struct

from lifecycle.store import bundle

DIGEST = re.compile(re.escape(bundle.DIGEST_PREFIX) + rb'([0-9a-f]{64})\\"')
PIECE = 2**24


def signed(data, version):
    """The bytes with the digest that belongs to them: of the whole file in format 1, else of the header."""
    start, stop = DIGEST.match(data, 8).span(1)
    bare = data[:start] + b"0" * 64 + data[stop:]
    end = len(data) if version == 1 else 8 + int.from_bytes(data[:8], "little")
    return bare[:start] + hashlib.sha256(bare[:end]).hexdigest().encode() + bare[stop:]


def parts_of(data):
    """Header and manifest, parsed, and the bytes of the tensors."""
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    return header, json.loads(header["__metadata__"]["lifecycle"]), data[8 + n :]


def digests_of(header, tensors):
    """The field `sections` of a manifest, for the entries of a header that have a place."""
    found = {}
    for name, entry in header.items():
        try:
            begin, end = entry["data_offsets"]
            data = tensors[begin:end]
        except (KeyError, TypeError, ValueError):
            continue
        pieces = [data[k : k + PIECE] for k in range(0, max(len(data), 1), PIECE)]
        found[name] = [hashlib.sha256(piece).hexdigest() for piece in pieces]
    return found


def joined(header, manifest, tensors, raw_header=None, *, right_sections=True):
    """A file of these parts, with a digest that fits; `raw_header` edits the bytes of the header before.

    `right_sections`: the digests of the tensors fit too.
    """
    version = manifest.get("format")
    if right_sections and version != 1 and "sections" in manifest:
        manifest["sections"] = digests_of(header, tensors)
    header["__metadata__"]["lifecycle"] = json.dumps(manifest, separators=(",", ":"))
    text = json.dumps(header, separators=(",", ":")).encode()
    text = raw_header(text) if raw_header else text
    text += b" " * (-(8 + len(text)) % 64)
    return signed(struct.pack("<Q", len(text)) + text + tensors, version)


def forged(data, edit, raw_header=None):
    """A file with another manifest, and digests that fit it."""
    header, manifest, tensors = parts_of(data)
    return joined(header, edit(manifest) or manifest, tensors, raw_header)
