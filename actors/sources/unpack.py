"""The bytes of a file that is packed with xz or bzip2: any number of streams, with zeros between and behind them.

As with gzip, all that can be decoded up to a fault is given (but for the call that meets damage), memory is bounded,
and what follows the last stream and is none leaves the file whole.
"""

from __future__ import annotations

import bz2
import lzma
from io import FileIO

from actors.sources.formats import BZIP2, XZ, packing_of
from actors.sources.streams import BLOCK_BYTES, Decoded, what_follows

#: Most memory that the decoder of xz may take: its highest level needs 65 MiB.
_XZ_BYTES = 256 * 1024 * 1024
#: How a stream begins, and so many bytes are looked at.
_MAGICS = {XZ: b"\xfd7zXZ\0", BZIP2: b"BZh"}
_MAGIC_BYTES = 10


class UnpackedStream(Decoded):
    """The uncompressed bytes.

    Args:
        file: unbuffered, at its beginning.
        packing: ``xz`` or ``bzip2``.
    """

    def __init__(self, file: FileIO, packing: str) -> None:
        super().__init__(file)
        self._packing = packing
        self._decoder = self._new()
        self._is_between = False

    def _step(self) -> bytes:
        return self._next_stream() if self._is_between else self._decode()

    def _new(self) -> bz2.BZ2Decompressor | lzma.LZMADecompressor:
        if self._packing == XZ:
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_BYTES)
        return bz2.BZ2Decompressor()

    def _decode(self) -> bytes:
        source, decoder = self._source, self._decoder
        data = b""
        if decoder.needs_input:
            if not source.fill(1):
                self._fail("truncated", f"the {self._packing} data stop in the middle, after {self.consumed} "
                           "compressed bytes; the file was probably not copied to its end")
                return b""
            data = source.held
            source.keep(b"")
        try:
            block = decoder.decompress(data, BLOCK_BYTES)
        except (OSError, ValueError, EOFError, lzma.LZMAError) as error:  # nothing is read from the disk here
            self._fail("corrupt", f"the {self._packing} data are damaged at or shortly before compressed byte "
                       f"{self.consumed} ({error}); nothing behind it was read")
            return b""
        if decoder.eof:
            source.held = decoder.unused_data
            source.consumed -= len(source.held)
            self._is_between = True
        return block

    def _next_stream(self) -> bytes:
        zeros = self._source.skip_zeros()
        self._source.fill(_MAGIC_BYTES)
        magic = _MAGICS[self._packing]
        if packing_of(self._source.held) == self._packing:
            self._decoder, self._is_between = self._new(), False
        elif 0 < len(self._source.held) < _MAGIC_BYTES and magic.startswith(self._source.held[:len(magic)]):
            self._fail("truncated", f"the {self._packing} data stop within the header of a further stream, at "
                       f"compressed byte {self.consumed}")
        else:
            self.note = what_follows(self._source, self._packing, zeros)
            self._ended = True
        return b""

    def _fail(self, how: str, detail: str) -> None:
        self._end_at(f"{how}_{self._packing}", detail)
