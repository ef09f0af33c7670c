"""What a content is that is not lines of text, by how it begins: what is unpacked, and what is refused by name."""

from __future__ import annotations

import lzma
import zlib
from typing import NamedTuple, Protocol


class Packing(NamedTuple):
    """What a file may be packed with that is read.

    Attributes:
        name: for a person, and in the reasons of faults.
        suffix: what names of such files end in.
        magic: how such a file begins.
        tool: what unpacks it.
    """

    name: str
    suffix: str
    magic: bytes
    tool: str


GZIP = Packing("gzip", ".gz", b"\x1f\x8b", "gzip -d")
XZ = Packing("xz", ".xz", b"\xfd7zXZ\0", "xz -d")
BZIP2 = Packing("bzip2", ".bz2", b"BZh", "bzip2 -d")
ZSTD = Packing("zstd", ".zst", b"\x28\xb5\x2f\xfd", "zstd -d")
PACKINGS = (GZIP, XZ, BZIP2, ZSTD)
_BZIP2_BLOCK, _BZIP2_END = b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"
#: Bytes at the beginning that are looked at.
HEAD_BYTES = 4096
_UNPACK, _EXPORT, _DECRYPT = "unpack it first", "export it as text, one record a line", "decrypt it first"
#: How a refused format begins, what it is called, and how to make of it what can be read.
_REFUSED = (
    (b"\x04\x22\x4d\x18", "packed with lz4", "unpack it first, with lz4 -d"),
    (b"\x02\x21\x4c\x18", "packed with lz4", "unpack it first, with lz4 -d"),
    (b"\x89LZO\0\r\n\x1a\n", "packed with lzop", "unpack it first, with lzop -d"),
    (b"LZIP\x01", "packed with lzip", "unpack it first, with lzip -d"),
    (b"\x1f\x9d", "packed with compress", "unpack it first, with gzip -d"),
    (b"\xff\x06\0\0sNaPpY", "packed with snappy", _UNPACK),
    (b"PK\x03\x04", "a zip archive", "unpack it first, with unzip"),
    (b"PK\x05\x06", "a zip archive", "unpack it first, with unzip"),
    (b"PK\x07\x08", "a zip archive", "unpack it first, with unzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a rar archive", _UNPACK),
    (b"MSCF\0\0\0\0", "a cab archive", _UNPACK),
    (b"!<arch>\n", "an ar archive", _UNPACK),
    (b"\xed\xab\xee\xdb", "an rpm package", _UNPACK),
    (b"PAR1\x15", "a Parquet file", _EXPORT),
    (b"Obj\x01", "an Avro file", _EXPORT),
    (b"ARROW1\0\0", "an Arrow file", _EXPORT),
    (b"SQLite format 3\0", "an SQLite database", _EXPORT),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _EXPORT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", _EXPORT),
    (b"LPKSHHRH", "a journal of systemd", "export it with journalctl --file"),
    (b"\xd4\xc3\xb2\xa1", "captured packets", _EXPORT),
    (b"\xa1\xb2\xc3\xd4", "captured packets", _EXPORT),
    (b"%PDF-", "a PDF document", _EXPORT),
    (b"\x7fELF", "a program", "give files of text"),
    (b"\x89PNG\r\n\x1a\n", "an image", "give files of text"),
    (b"\xff\xd8\xff", "an image", "give files of text"),
    (b"Salted__", "encrypted by openssl", _DECRYPT),
    (b"age-encryption.org/v1\n", "encrypted by age", _DECRYPT),
    (b"-----BEGIN PGP MESSAGE-----", "encrypted by PGP", _DECRYPT),
    (b"\xff\xfe\0\0", "text in UTF-32", "expected UTF-8: convert it with iconv -f utf-32 -t utf-8"),
    (b"\0\0\xfe\xff", "text in UTF-32", "expected UTF-8: convert it with iconv -f utf-32 -t utf-8"),
    (b"\xff\xfe", "text in UTF-16", "expected UTF-8: convert it with iconv -f utf-16 -t utf-8"),
    (b"\xfe\xff", "text in UTF-16", "expected UTF-8: convert it with iconv -f utf-16 -t utf-8"),
)
#: The same by the first byte: there may be very many files, and nearly all begin with none of them.
_BY_FIRST = {magic[:1]: [each for each in _REFUSED if each[0][:1] == magic[:1]] for magic, *_ in _REFUSED}
_PACKING_BY_FIRST = {packing.magic[:1]: packing for packing in PACKINGS}
#: Bytes from which on it is believed that every second one is a zero by intent.
_LEAST_WIDE = 16
#: How what is packed with zlib begins; so few bytes of text may be taken for that; most that is unpacked to see it.
_ZLIB, _TRIED_BYTES, _MOST_UNPACKED_BYTES = (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"), 512, 1 << 20
#: Where a header of tar has its checksum, and how long it is.
_TAR_SUM, _TAR_BYTES = slice(148, 156), 512


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def packing_of(head: bytes) -> Packing | None:
    """What a content that begins so is packed with, if that is read; None: nothing, or something else."""
    if head.startswith(BZIP2.magic):
        return BZIP2 if head[3:4] in b"123456789" and head[4:10] in (_BZIP2_BLOCK, _BZIP2_END) else None
    if is_skippable(head):
        return ZSTD if _behind_skippable(head) != "lz4" else None
    packing = _PACKING_BY_FIRST.get(head[:1])
    return packing if packing is not None and head.startswith(packing.magic) else None


def packing_named(name: str) -> Packing | None:
    """What a file of this name should be packed with; None: the name does not say."""
    return next((packing for packing in PACKINGS if name.lower().endswith(packing.suffix)), None)


def refusal(head: bytes) -> str:
    """Why a file that begins so cannot be read as lines, and what to do; empty: it can, or it is unpacked here."""
    what, remedy = ("", "") if packing_of(head) else _what(head)
    return what and f"it is {what}, which is not read here ({remedy})"


def refusal_inside(head: bytes, packing: Packing) -> str:
    """Why what was packed with this, and begins so, cannot be read as lines, and what to do; empty: it can."""
    if within := packing_of(head):
        return (f"it is packed twice, with {within.name} and then with {packing.name}, which is not read here (unpack "
                f"it first, with {packing.tool})")
    what, remedy = _what(head)
    return what and f"it is {what}, packed with {packing.name}, which is not read here ({remedy})"


def is_skippable(head: bytes) -> bool:
    """Whether a frame comes next that zstd and lz4 skip: of a user's own data, or an index."""
    return head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5f


def _behind_skippable(head: bytes) -> str:
    """What comes behind the frames that are to be skipped, as far as can be seen: ``lz4``, or else ``zstd``."""
    while is_skippable(head) and len(head) >= 8:
        head = head[8 + int.from_bytes(head[4:8], "little"):]
    return "lz4" if head.startswith(b"\x04\x22\x4d\x18") else "zstd"


def _what(head: bytes) -> tuple[str, str]:
    """What a content that begins so is, and what to do; empty: it may be lines."""
    for magic, what, remedy in _BY_FIRST.get(head[:1], ()):
        if head.startswith(magic):
            return what, remedy
    if is_skippable(head):
        return "packed with lz4", "unpack it first, with lz4 -d"
    if head[1:4] == b"\xb5\x2f\xfd" and 0x1e <= head[0] <= 0x27:
        return "packed with zstd of before 2016", "unpack it first, with zstd -d"
    if _is_tar(head):
        return "a tar archive", "unpack it first, with tar -xf"
    if head[:2] in _ZLIB and _unpacks(zlib.decompressobj(), head):
        return "packed with zlib", _UNPACK
    if head.startswith(b"]\0\0") and _unpacks(lzma.LZMADecompressor(lzma.FORMAT_ALONE), head):
        return "packed with lzma", "unpack it first, with xz -d"
    if order := _wide(head):
        return ("text in UTF-16 without a byte order mark",
                f"expected UTF-8: convert it with iconv -f utf-16{order} -t utf-8")
    return "", ""


def _is_tar(head: bytes) -> bool:
    """Whether this is the header of a first file, of any kind of tar: its checksum is right."""
    found = head[_TAR_SUM].strip(b" \0")
    if len(head) < _TAR_BYTES or b"\0" not in head[:100] or not found.isdigit() or found.strip(b"01234567"):
        return False
    return int(found, 8) == sum(head[:148]) + 8 * ord(" ") + sum(head[156:_TAR_BYTES])


def _unpacks(decoder: _Decoder, head: bytes) -> bool:
    """Whether all of it can be unpacked, for the few bytes at its beginning may be text."""
    try:
        decoder.decompress(head, _MOST_UNPACKED_BYTES)
    except (zlib.error, lzma.LZMAError):
        return False
    return decoder.eof or len(head) >= _TRIED_BYTES


def _wide(head: bytes) -> str:
    """The order of bytes of a text in UTF-16: nearly all of its characters are ASCII, with a zero before or behind."""
    pairs = len(head) // 2
    if 2 * pairs < _LEAST_WIDE:
        return ""
    first, second = head[:2 * pairs:2].count(0), head[1:2 * pairs:2].count(0)
    if second >= 0.9 * pairs and not first:
        return "le"
    return "be" if first >= 0.9 * pairs and not second else ""
