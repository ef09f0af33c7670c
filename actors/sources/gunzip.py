"""The bytes of a gzip file of any number of members.

    file ──64 KiB──▶ header ──▶ ISA-L, raw deflate ──at most 256 KiB──▶ read()
                      │ here     │ bad block                    └─▶ checksum and length, here
                      ▼          └─▶ salvage: the same member once more, the last bytes one at a time
                     fault

Guarantees:

* What zlib takes for gzip is read whole, wherever the borders of the blocks are that are read.
* Every byte that can be decoded before a fault is given, and how many they are does not depend on how one asked: a
  resumed run sees the same bytes and the same fault at the same place.
* Memory is bounded by the two block sizes, whatever the ratio of compression, and the length of a header.
* After a fault nothing more is read: a member behind a damaged one is not looked for.
* As with ``gzip -d``, what follows the last member and is no gzip leaves the file whole: it is a note. What begins like
  a member and is none is a fault, for a member it may have been; so is a file that ends within the two bytes.

Why salvage. A decoder that meets a damaged block raises and takes with it all that it had decoded in that call, up to
256 KiB of good records. Its state cannot be copied, so the member is decoded again from its start to a little before
the failing input, and from there with one byte of input and one byte of output a call: then the call that raises has
nothing in hand. That costs one more pass over a damaged file, and nothing for a sound one.

What does not work: ISA-L's own reading of headers (of those with two optional fields, or a checksum, that are given in
two calls, it takes one for another, and calls a sound file damaged); ``gzip.open`` (more than twice the time of ISA-L,
and it raises away the buffered good bytes too); zlib's ``copy()`` before each call (a copy of 40 KiB for each block of
every sound file); decoding a whole compressed block at once (64 KiB of zip bomb are 64 MiB).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import FileIO
from typing import TYPE_CHECKING, cast

from actors.runtime.progress import progress
from actors.sources.formats import GZIP
from actors.sources.streams import BLOCK_BYTES, INPUT_BYTES, Compressed, Damaged, Decoded, Truncated

if TYPE_CHECKING:
    from isal.isal_zlib import Decompress

#: Compressed bytes before the failing input that salvage takes one at a time. A decoder keeps at most some ten bytes
#: that it has taken in and not yet used; arbitrary above that.
_MARGIN_BYTES = 256
#: window bits 15, neither header nor trailer
_RAW = -15
_DEFLATED = 8
_FHCRC, _FEXTRA, _FNAME, _FCOMMENT, _RESERVED = 0x02, 0x04, 0x08, 0x10, 0xe0


def read_header(source: Compressed) -> None:
    """Go behind the header of a member, as RFC 1952 has it and zlib reads it.

    Raises:
        Truncated: the file ends within it.
        Damaged: it is none.
    """
    fixed = source.take(10)
    method, flags = fixed[2], fixed[3]
    if method != _DEFLATED:
        raise Damaged(f"unknown compression method {method}")
    if flags & _RESERVED:
        raise Damaged("unknown header flags set")
    checksum = zlib.crc32(fixed)
    if flags & _FEXTRA:
        size = source.take(2)
        checksum = zlib.crc32(source.take(int.from_bytes(size, "little")), zlib.crc32(size, checksum))
    for field in (_FNAME, _FCOMMENT):
        if flags & field:
            checksum = _pass_text(source, checksum)
    if flags & _FHCRC and int.from_bytes(source.take(2), "little") != checksum & 0xffff:
        raise Damaged("incorrect checksum of its header")


def _pass_text(source: Compressed, checksum: int) -> int:
    """Go behind a text that ends with a zero; no more of it is held than a block."""
    while True:
        source.fill(1)
        end = source.held.find(b"\0") + 1
        text = source.take(end or len(source.held) or 1)
        checksum = zlib.crc32(text, checksum)
        if end:
            return checksum


class GzipStream(Decoded):
    """The uncompressed bytes of a gzip file of any number of members, with zero padding between and behind them."""

    def __init__(self, file: FileIO) -> None:
        from isal import isal_zlib  # here, for not every process that knows the options reads files

        super().__init__(file, GZIP)
        self._zlib = isal_zlib
        self._error = cast("type[Exception]", isal_zlib.error)  # its stub says that it is an instance
        self._decoder: Decompress | None = None
        self._has_more = False  # the decoder may have output left without any input
        self._member_at = 0  # compressed offset of the member that is decoded
        self._body_at = 0  # and of what follows its header
        self._member_bytes = 0  # uncompressed bytes that were had of it
        self._checksum = 0  # of those

    def _enter(self) -> bool:
        source = self._source
        if not source.begins_with(GZIP.magic):
            return False
        self._member_at, self._member_bytes, self._checksum = self.consumed, 0, 0
        read_header(source)
        self._body_at = self.consumed
        self._decoder = self._zlib.decompressobj(wbits=_RAW)
        self._has_more = False
        return True

    def _decode(self) -> bytes:
        source, decoder = self._source, self._decoder
        if decoder is None:
            self._check()
            return b""
        if not self._has_more and not source.fill(1):
            raise Truncated
        try:
            block = decoder.decompress(source.held, BLOCK_BYTES)
        except self._error as error:
            return self._salvage(str(error))
        self._has_more = len(block) == BLOCK_BYTES
        self._member_bytes += len(block)
        self._checksum = self._zlib.crc32(block, self._checksum)
        source.keep(decoder.unused_data if decoder.eof else decoder.unconsumed_tail)
        if decoder.eof:
            self._decoder = None  # the trailer comes next
        return block

    def _check(self) -> None:
        """Compare what was decoded with the trailer, which ends the member."""
        trailer = self._source.take(8)
        checksum, length = int.from_bytes(trailer[:4], "little"), int.from_bytes(trailer[4:], "little")
        if checksum != self._checksum or length != self._member_bytes & 0xffff_ffff:
            raise Damaged("incorrect checksum" if checksum != self._checksum else "incorrect length",
                          f"somewhere between the compressed bytes {self._member_at} and {self.consumed}, so that "
                          "records read from there may be wrong")
        self._is_inside = False

    def _salvage(self, problem: str) -> bytes:
        """Return what the failing call had decoded; the fault names the compressed byte where it stopped."""
        source = self._source
        decoder = self._zlib.decompressobj(wbits=_RAW)
        offset, failing = self._body_at, self.consumed + len(source.held)
        near = max(offset, self.consumed - _MARGIN_BYTES)
        good = bytearray()
        had = self._member_bytes
        try:
            while offset < near and (data := source.again(offset, min(INPUT_BYTES, near - offset))):
                offset += len(data)
                for out in _decoded(decoder, data, BLOCK_BYTES):
                    good += out[had:]
                    had -= min(had, len(out))
                progress()
            for byte in source.again(near, failing - near):
                offset += 1
                for out in _decoded(decoder, bytes((byte,)), 1):
                    good += out[had:]
                    had -= min(had, len(out))
        except self._error as error:
            problem = str(error)
        source.consumed = offset
        self._damaged("", problem)
        return bytes(good)


def _decoded(decoder: Decompress, data: bytes, most: int) -> Iterator[bytes]:
    """Decode ``data``; yield all that comes of it, at most ``most`` bytes at a time."""
    while True:
        out = decoder.decompress(data, most)
        yield out
        data = decoder.unconsumed_tail
        if decoder.eof or (len(out) < most and not data):
            return
