"""The bytes of a file that is packed with zstd: any number of frames, with zeros between and behind them.

    frame: magic │ header │ block … block │ [checksum]          a frame that is to be skipped: magic │ size │ anything
                     └ window, checksum?  └ at most 128 KiB of content each

The frame is walked here and decoded by a library, block by block. So memory is bounded by the window and one block,
whatever the ratio of compression; every block before a damaged one is given; and it is known where a frame ends. What
the file system gives at a time makes no difference.

This is the only module that knows the library: that of Python 3.14, or ``zstandard`` (the extra ``zstd``). It is
imported when a file of this kind is met.

What does not work: to give the decoder whole blocks of the file (a few bytes can be 128 KiB, and 64 KiB of a bomb
1 GiB; ``zstandard`` has no limit for one call); its ``stream_reader`` (the end of a file within a frame is no error
there, and what follows the last frame is one).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import FileIO
from typing import NamedTuple, Protocol

from actors.runtime.extras import how_to_install
from actors.runtime.progress import progress
from actors.sources.formats import ZSTD, is_skippable
from actors.sources.streams import INPUT_BYTES, Compressed, Damaged, Decoded, Truncated, Unsupported

#: The largest window that is decoded, as of ``zstd -d`` without ``--long``: so much memory it takes.
MOST_WINDOW_BYTES = 128 * 1024 * 1024
#: Most bytes that a block has, compressed and not.
_MOST_BLOCK_BYTES = 128 * 1024
_RLE, _RESERVED = 1, 3
_SKIPPED_HEADER_BYTES = 8


class _Decoder(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


def _library() -> tuple[Callable[[], _Decoder], type[Exception]]:
    """Return what makes a decoder of one frame, and what such a decoder raises.

    Raises:
        OSError: no library is installed; the text says what to install.
    """
    if sys.version_info >= (3, 14):
        with suppress(ImportError):  # Python may be built without it
            from compression import zstd

            options = {zstd.DecompressionParameter.window_log_max: MOST_WINDOW_BYTES.bit_length() - 1}
            return partial(zstd.ZstdDecompressor, options=options), zstd.ZstdError
    try:
        import zstandard
    except ImportError:
        raise OSError(f"it is packed with zstd, and the library that reads it is not installed "
                      f"({how_to_install('zstd')})") from None
    return zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW_BYTES).decompressobj, zstandard.ZstdError


class _Header(NamedTuple):
    """What the header of a frame says.

    Attributes:
        raw: its bytes, with the magic.
        window: bytes of content that the decoder has to keep.
        dictionary: the number of the dictionary that it needs; 0: none.
        has_checksum: a checksum follows the last block.
    """

    raw: bytes
    window: int
    dictionary: int
    has_checksum: bool


def _read_header(source: Compressed) -> _Header:
    """Go behind the header of a frame.

    Raises:
        Truncated: the file ends within it.
    """
    raw = source.take(len(ZSTD.magic) + 1)
    flags = raw[-1]
    is_single = bool(flags & 0x20)
    sizes = (0 if is_single else 1), (0, 1, 2, 4)[flags & 3], (int(is_single), 2, 4, 8)[flags >> 6]
    window, dictionary, content = (source.take(size) for size in sizes)
    size = int.from_bytes(content, "little") + (256 if len(content) == 2 else 0)
    if window:
        base = 1 << (10 + (window[0] >> 3))
        size = base + (base >> 3) * (window[0] & 7)
    return _Header(raw + window + dictionary + content, size, int.from_bytes(dictionary, "little"), bool(flags & 4))


class ZstdStream(Decoded):
    """The uncompressed bytes.

    Args:
        file: unbuffered, at its beginning.

    Raises:
        OSError: no library is installed; the text says what to install.
    """

    def __init__(self, file: FileIO) -> None:
        super().__init__(file, ZSTD)
        self._new, self._error = _library()
        self._decoder = self._new()
        self._frame_at = 0  # compressed offset of the frame that is decoded
        self._has_checksum = self._is_checked = self._is_cut = False

    def _enter(self) -> bool:
        source = self._source
        skipped = self._skip_frames()
        if not source.begins_with(ZSTD.magic):
            if skipped and source.held and not self._members:
                raise Unsupported(f"what follows a frame that is to be skipped begins with {source.held[:8].hex(' ')}, "
                                  "and is no zstd")
            return False
        self._frame_at = self.consumed
        header = _read_header(source)
        if header.window > MOST_WINDOW_BYTES:
            raise Unsupported(f"they want a window of {header.window >> 20} MiB, and no more than "
                              f"{MOST_WINDOW_BYTES >> 20} MiB is used (unpack the file, with zstd -d --long=31, and "
                              "pack it without --long)")
        if header.dictionary:
            raise Unsupported(f"they need the dictionary {header.dictionary} (unpack the file, with zstd -d -D FILE)")
        self._decoder = self._new()
        self._has_checksum, self._is_checked = header.has_checksum, False
        self._fed(header.raw)
        return True

    def _skip_frames(self) -> bool:
        """Go behind the frames that are to be skipped; return whether there were any."""
        source, before = self._source, self.consumed
        while source.fill(4) and is_skippable(source.held):
            left = int.from_bytes(source.take(_SKIPPED_HEADER_BYTES)[4:], "little")
            while left:
                left -= len(source.take(min(left, INPUT_BYTES)))
                progress()  # it may have gigabytes
        return self.consumed > before

    def _decode(self) -> bytes:
        if self._is_cut:
            raise Truncated
        return self._check() if self._is_checked else self._block()

    def _block(self) -> bytes:
        source = self._source
        header = source.held[:3] if source.fill(3) else source.take(3)
        kind, size = header[0] >> 1 & 3, int.from_bytes(header, "little") >> 3
        if kind == _RESERVED or size > _MOST_BLOCK_BYTES:
            raise Damaged("a block of an unknown kind" if kind == _RESERVED else "a block that is too long")
        size = len(header) + (1 if kind == _RLE else size)
        if not source.fill(size):
            self._is_cut, rest = True, source.take(len(source.held))
            return self._fed(rest)  # of what is not compressed the beginning can be had
        block = self._fed(source.take(size))
        if header[0] & 1:
            self._is_inside = self._is_checked = self._has_checksum
        return block

    def _check(self) -> bytes:
        """Give the decoder the checksum, which ends the frame."""
        checksum = self._source.take(4)
        self._fed(checksum, f"somewhere between the compressed bytes {self._frame_at} and {self.consumed}, so that "
                  "records read from there may be wrong")
        self._is_inside = False
        return b""

    def _fed(self, data: bytes, where: str = "") -> bytes:
        try:
            return self._decoder.decompress(data)
        except self._error as error:
            raise Damaged(str(error), where) from None
