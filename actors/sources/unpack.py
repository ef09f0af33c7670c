"""The bytes of a file that is packed with xz or bzip2: any number of streams, with zeros between and behind them.

As with gzip, all that can be decoded up to a fault is given, and memory is bounded. For the same reason as there
(``gunzip``) a stream that is damaged is decoded once more, up to the damage, the last bytes one at a time.
"""

from __future__ import annotations

import bz2
import lzma
from io import FileIO

from actors.runtime.progress import progress
from actors.sources.formats import XZ, Packing
from actors.sources.streams import BLOCK_BYTES, INPUT_BYTES, Damaged, Decoded, Truncated, Unsupported

#: Most memory that the decoder of xz may take: its highest level needs 65 MiB.
_XZ_BYTES = 256 * 1024 * 1024
#: What the decoders raise; nothing is read from the disk by them.
_ERRORS = (OSError, ValueError, EOFError, lzma.LZMAError)
_Decoder = bz2.BZ2Decompressor | lzma.LZMADecompressor


class UnpackedStream(Decoded):
    """The uncompressed bytes.

    Args:
        file: unbuffered, at its beginning.
        packing: ``XZ`` or ``BZIP2``.
    """

    def __init__(self, file: FileIO, packing: Packing) -> None:
        super().__init__(file, packing)
        self._decoder = self._new()
        self._began_at = 0  # compressed offset of the stream that is decoded
        self._fed_at = 0  # and of the bytes that the decoder was given last
        self._has_more = False  # the decoder may have output left
        self._had = 0  # uncompressed bytes that were had of the stream
        self._problem = ""  # what was salvaged is given first

    def _new(self) -> _Decoder:
        if self.packing is XZ:
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_BYTES)
        return bz2.BZ2Decompressor()

    def _enter(self) -> bool:
        source = self._source
        if not source.begins_with(self.packing.magic):
            return False
        if self.packing is not XZ and source.fill(4) and source.held[3] not in b"123456789":
            return False
        self._decoder, self._has_more = self._new(), False
        self._began_at, self._had = source.consumed, 0
        return True

    def _decode(self) -> bytes:
        source, decoder, data = self._source, self._decoder, b""
        if self._problem:
            raise Damaged(self._problem)
        if decoder.needs_input and not self._has_more:
            if not source.fill(1):
                raise Truncated
            self._fed_at, data = source.consumed, source.held
            source.keep(b"")
        try:
            block = decoder.decompress(data, BLOCK_BYTES)
        except _ERRORS as error:
            if "memory usage limit" in str(error).lower():
                raise Unsupported(f"its decoder wants more than {_XZ_BYTES >> 20} MiB of memory (unpack it first, with "
                                  f"{self.packing.tool})") from None
            del decoder  # it is let go, with its memory, when another takes its place
            return self._salvage(str(error))
        self._had += len(block)
        self._has_more = len(block) == BLOCK_BYTES  # that of bzip2 wants input though it has output left
        if decoder.eof:
            source.held = decoder.unused_data
            source.consumed -= len(source.held)
            self._is_inside = False
        return block

    def _salvage(self, problem: str) -> bytes:
        """Return what the failing call had decoded; the fault comes next, and names where it stopped."""
        self._problem, self._decoder = problem, self._new()
        source, decoder, offset, left = self._source, self._decoder, self._began_at, self._had
        good = bytearray()
        try:
            while offset < self._fed_at and (data := source.again(offset, min(INPUT_BYTES, self._fed_at - offset))):
                offset += len(data)
                left -= _poured(decoder, data, left, good)
                progress()
            for byte in source.again(self._fed_at, source.consumed - self._fed_at):
                offset += 1
                left -= _poured(decoder, bytes((byte,)), left, good)
        except _ERRORS as error:
            self._problem = str(error)
        source.consumed = offset
        return bytes(good)


def _poured(decoder: _Decoder, data: bytes, left: int, good: bytearray) -> int:
    """Decode ``data``: drop the first ``left`` bytes, and keep what follows, which is had a byte at a time so that the
    call that raises has nothing in hand; return how many were dropped."""
    dropped = 0
    while True:
        most = min(BLOCK_BYTES, left - dropped)
        block = decoder.decompress(data, most or 1)
        if most:
            dropped += len(block)
        else:
            good += block
        data = b""
        if decoder.eof or (decoder.needs_input and len(block) < (most or 1)):
            return dropped
