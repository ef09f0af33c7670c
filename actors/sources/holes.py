"""Holes of NULs, and lines that are longer than one may be: where each ends, without keeping its bytes.

    half a li\\0\\0\\0\\0 … \\0\\0\\0the next line\\n          xxxxxxxxx … xxxxxxxxx\\nthe next line\\n
    └──── one fault ────────────┘└ a line, as any            └──── one fault ──────┘

A hole is what nobody wrote: a file that is cut to nothing under a program that goes on at its old offset begins with
one, and a file that was growing at a power cut has one where its data were not on the disk yet. What follows a hole is
the beginning of a line, though no newline is before it. What is before it, on its line, was cut off by it.

A few NULs are no hole, for lines may have them: of binary data, of fields of fixed width. So there is a least size.
It is smaller where a hole is likelier: at the beginning of the content a file of a few lines may have been cut off
under its writer; at the beginning of a line there is no line that it would be a part of; within a line a page is more
than any field. The sizes do not depend on an option, for where a reader resumes is told by the bytes before.
"""

from __future__ import annotations

import re

#: Fewest NULs that are a hole: at the beginning of the content, at that of a line, within a line.
AT_CONTENT, AT_LINE, WITHIN = 64, 512, 4096
#: So many bytes before a position tell whether a line begins there: a hole, or all, with a byte order mark.
LOOK_BACK = WITHIN + 3
#: No hole is without so many NULs.
SOME, _MANY = bytes(AT_CONTENT), bytes(WITHIN)
_NULS, RUNS = re.compile(rb"\0*"), re.compile(rb"\0{%d,}" % AT_CONTENT)


def least_after(before: bytes, is_all: bool) -> int:
    """Return the fewest NULs that would be a hole at a position; 0: no line begins there.

    Args:
        before: the bytes before the position, ``LOOK_BACK`` of them, or all.
        is_all: they are all; a byte order mark is not one of them.
    """
    if before.endswith(b"\n"):
        return AT_LINE
    size = len(before)
    nuls = size - len(before.rstrip(b"\0"))
    if nuls == size and is_all:
        return AT_CONTENT if not size or size >= AT_CONTENT else 0
    is_hole = nuls >= WITHIN or (nuls >= AT_LINE and before[size - nuls - 1:size - nuls] == b"\n")
    return AT_CONTENT if is_hole else 0


def sound(data: bytes | bytearray, size: int, least: int) -> int:
    """Return how many bytes of whole lines come before the first hole in ``data[:size]``; ``size`` if there is none.

    Args:
        data: begins with a line.
        size: so much of it is looked at; a line ends there.
        least: the fewest NULs that are a hole at its beginning.
    """
    if data.find(SOME, 0, size) < 0:  # the usual case: a few µs
        return size
    for run in RUNS.finditer(data, 0, size):
        at, nuls = run.start(), run.end() - run.start()
        enough = least if not at else AT_LINE if data[at - 1] == 10 else WITHIN
        if nuls >= enough:
            return data.rfind(b"\n", 0, at) + 1
    return size


def behind_nuls(block: bytes | bytearray, start: int, end: int) -> int:
    """Return the place behind the NULs that ``block[start:end]`` begins with."""
    found = _NULS.match(block, start, end)
    assert found is not None
    return found.end()


class Passing:
    """The way over one line whose bytes are not kept, be it too long or one with a hole: behind its newline, or behind
    the hole and a newline that follows it.

    Args:
        least: the fewest NULs that are a hole at its beginning; 0: it is the rest of a line.

    Attributes:
        size: bytes passed so far.
        text: those of them that are before the hole.
        in_hole: it has a hole.
        ends_line: the last byte passed is a newline.
    """

    def __init__(self, least: int) -> None:
        self.size = self.text = 0
        self.in_hole = self.ends_line = False
        self._first = least or WITHIN
        self._nuls = 0  # at the end of what was passed

    def feed(self, block: bytes | bytearray) -> int:
        """Go on over a block; return how many bytes of it belong to the line, fewer than it has if the line has ended.

        When all of them do, ``ends_line`` tells whether it has ended; behind a hole only the next byte tells.
        """
        end = self._over_text(block) if not self.in_hole else 0
        if self.in_hole:
            end = behind_nuls(block, end, len(block))
            if block[end:end + 1] == b"\n":
                end += 1
                self.ends_line = True
        self.size += end
        return end

    def _over_text(self, block: bytes | bytearray) -> int:
        """Return where the newline ends, or where the hole begins, or the block."""
        newline = block.find(b"\n") + 1
        within = newline or len(block)
        lead = behind_nuls(block, 0, within)
        if lead and self._nuls + lead >= (self._first if self._nuls == self.size else WITHIN):
            return self._enter(self.size - self._nuls, 0)
        hole = block.find(_MANY, lead, within)
        if hole >= 0:
            return self._enter(self.size + hole, hole)
        end = block[max(0, within - WITHIN):within]  # no more can be NULs, but for those that lead
        trail = len(end) - len(end.rstrip(b"\0"))
        self._nuls = self._nuls + trail if trail == within else trail
        self.ends_line = newline > 0
        self.text = self.size + within
        return within

    def _enter(self, text: int, at: int) -> int:
        self.in_hole, self.text = True, text
        return at

    def is_over(self, used: int, block: bytes | bytearray) -> bool:
        """Whether the line has ended with ``used`` bytes of this block, which ``feed`` said of it."""
        return self.ends_line or used < len(block)

    def reason(self, most: int, is_rest: bool) -> str:
        """What is wrong with it: ``nul_hole``, ``line_too_long``, or "" for a line of at most ``most`` bytes."""
        if self.text > most or is_rest:
            return "line_too_long"
        return "nul_hole" if self.in_hole else ""


def explain(reason: str, line: int, at: int, passing: Passing, most: int) -> str:
    """Say what was passed, for a person.

    Args:
        reason: of the fault.
        line: number of the line.
        at: offset of its first byte in the content.
        passing: what was passed of it.
        most: longest line.
    """
    kept = "its bytes are not kept; they are in the file"
    if reason == "line_too_long":
        return (f"line {line} is longer than {most} bytes (max_line_bytes): the {passing.size} bytes from byte {at} of "
                f"the content on; {kept}")
    cut = f", behind the beginning of line {line}, which was cut off" if passing.text else ""
    return (f"a hole of NULs: the {passing.size - passing.text} bytes from byte {at + passing.text} of the content on"
            f"{cut}: a file cut short under its writer, or by a power cut, has such; {kept}, and what follows is read")
