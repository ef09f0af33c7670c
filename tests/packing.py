"""Ways to pack a content, and what the libraries that pack it make of it when it is read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable

import zstandard

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
SUFFIXES = {"gzip": ".gz", "xz": ".xz", "bzip2": ".bz2", "zstd": ".zst"}
#: What the libraries raise.
ERRORS = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, zstandard.ZstdError)


def decodable(packing: str, content: bytes) -> bytes:
    """All that the library can decode of the first member, one byte in and, where it can be asked for, one out."""
    good = bytearray()
    try:
        if packing == "gzip":
            _by_zlib(content, good)
        elif packing == "zstd":
            _by_zstandard(content, good)
        else:
            _by_other(bz2.BZ2Decompressor() if packing == "bzip2" else lzma.LZMADecompressor(), content, good)
    except ERRORS:
        pass
    return bytes(good)


def _by_zlib(content: bytes, good: bytearray) -> None:
    decoder = zlib.decompressobj(31)
    for byte in content:
        data = bytes((byte,))
        while not decoder.eof and ((out := decoder.decompress(data, 1)) or decoder.unconsumed_tail):
            good += out
            data = decoder.unconsumed_tail


def _by_zstandard(content: bytes, good: bytearray) -> None:
    decoder = zstandard.ZstdDecompressor().decompressobj()
    for byte in content:
        if decoder.eof:
            return
        good += decoder.decompress(bytes((byte,)))


def _by_other(decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor, content: bytes, good: bytearray) -> None:
    for byte in content:
        if decoder.eof:
            return
        good += decoder.decompress(bytes((byte,)), 1)
        while not decoder.eof and ((out := decoder.decompress(b"", 1)) or not decoder.needs_input):
            good += out
