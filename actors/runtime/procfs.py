"""What the kernel says of a process."""

from __future__ import annotations

import os

import msgspec

_TICK_S, _PAGE_BYTES = 1.0 / os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


class Process(msgspec.Struct, frozen=True):
    """State letter (R, S, D, T, Z), CPU seconds used in user and kernel mode, the parent's pid, and resident memory."""

    state: str
    cpu_s: float
    parent: int
    rss_bytes: int


def resident_bytes(pid: int | str) -> int:
    """Return how much memory a process has that is in use; 0 when there is none. ``self`` is this one."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def look(pid: int) -> Process | None:
    """Return what is known of a process; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Process(fields[0].decode(), (int(fields[11]) + int(fields[12])) * _TICK_S, int(fields[1]),
                   int(fields[21]) * _PAGE_BYTES)
