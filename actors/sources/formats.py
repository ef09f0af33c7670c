"""What a file is that is neither text nor gzip, by how it begins: what can be unpacked, and what is refused by name."""

from __future__ import annotations

XZ, BZIP2 = "xz", "bzip2"
_BZIP2_BLOCK, _BZIP2_END = b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"
#: Bytes at the beginning that are looked at.
HEAD_BYTES = 4096
#: How a refused format begins, what it is called, and how to make of it what can be read.
_REFUSED = (
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it first, with zstd -d"),
    (b"\x04\x22\x4d\x18", "packed with lz4", "unpack it first, with lz4 -d"),
    (b"\x02\x21\x4c\x18", "packed with lz4", "unpack it first, with lz4 -d"),
    (b"\x89LZO\0\r\n\x1a\n", "packed with lzop", "unpack it first, with lzop -d"),
    (b"LZIP\x01", "packed with lzip", "unpack it first, with lzip -d"),
    (b"\x1f\x9d", "packed with compress", "unpack it first, with gzip -d"),
    (b"\xff\x06\0\0sNaPpY", "packed with snappy", "unpack it first"),
    (b"PK\x03\x04", "a zip archive", "unpack it first, with unzip"),
    (b"PK\x05\x06", "a zip archive", "unpack it first, with unzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"Rar!\x1a\x07", "a rar archive", "unpack it first"),
    (b"\xff\xfe\0\0", "text in UTF-32", "expected UTF-8: convert it with iconv -f utf-32 -t utf-8"),
    (b"\0\0\xfe\xff", "text in UTF-32", "expected UTF-8: convert it with iconv -f utf-32 -t utf-8"),
    (b"\xff\xfe", "text in UTF-16", "expected UTF-8: convert it with iconv -f utf-16 -t utf-8"),
    (b"\xfe\xff", "text in UTF-16", "expected UTF-8: convert it with iconv -f utf-16 -t utf-8"),
)
#: Bytes from which on it is believed that every second one is a zero by intent.
_LEAST_WIDE = 16


def packing_of(head: bytes) -> str:
    """What the standard library unpacks this with, besides gzip; empty: nothing."""
    if head.startswith(b"\xfd7zXZ\0"):
        return XZ
    if head[:3] == b"BZh" and head[3:4] in b"123456789" and head[4:10] in (_BZIP2_BLOCK, _BZIP2_END):
        return BZIP2
    return ""


def refusal(head: bytes) -> str:
    """Why a file that begins so cannot be read as lines, and what to do; empty: it can."""
    for magic, what, remedy in _REFUSED:
        if head.startswith(magic):
            return f"it is {what}, which is not read here ({remedy})"
    if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5f:  # a frame that is to be skipped
        return "it is packed with zstd or lz4, which is not read here (unpack it first)"
    if order := _wide(head):
        return ("it is text in UTF-16 without a byte order mark, which is not read here (expected UTF-8: convert it "
                f"with iconv -f utf-16{order} -t utf-8)")
    return ""


def _wide(head: bytes) -> str:
    """The order of bytes of a text in UTF-16: nearly all of its characters are ASCII, with a zero before or behind."""
    pairs = len(head) // 2
    if 2 * pairs < _LEAST_WIDE:
        return ""
    first, second = head[:2 * pairs:2].count(0), head[1:2 * pairs:2].count(0)
    if second >= 0.9 * pairs and not first:
        return "le"
    return "be" if first >= 0.9 * pairs and not second else ""
