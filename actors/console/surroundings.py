"""What a run needs of its machine, looked at without changing anything, for ``thresher check`` and ``doctor``."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from actors.runtime import rundir
from actors.runtime.errors import plain_reason

#: Below this the disk is nearly full: positions and dead letters alone may need so much.
SCANTY_BYTES = 64 * 1024 * 1024

_CGROUPS = Path("/sys/fs/cgroup")


def state_problem(state: Path) -> str:
    """Why a run could not keep its state there; empty when it could. The directory need not be there yet."""
    place = existing(state)
    mend = "give another with --state DIR"
    if not place.is_dir():
        return f"{state}: {place} is no directory: {mend}"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"{state}: user {os.getuid()} may not write to {place}: {mend}"
    free = free_bytes(place)
    if free < max(rundir.ROOM_BYTES, SCANTY_BYTES):
        return f"{state}: {size(free)} are free: make room, or {mend}"
    if rundir.find(state) is not None:
        return f"{state}: a run is going on with it: `thresher stop`, or {mend}"
    return ""


def run_directory_problem() -> str:
    """Why a run could not have its sockets; empty when it could."""
    base = rundir.base()
    mend = "set XDG_RUNTIME_DIR to another directory"
    if base.is_symlink() or (base.exists() and not base.is_dir()):
        return f"{base}: expected a directory: remove it, or {mend}"
    if base.exists() and base.stat().st_uid != os.getuid():
        return f"{base}: it is of user {base.stat().st_uid}: {mend}"
    if problem := rundir.owner_problem():
        return problem
    place = existing(base)
    if not os.access(place, os.W_OK | os.X_OK):
        return f"{base}: user {os.getuid()} may not write to {place}: {mend}"
    if free_bytes(place) < rundir.ROOM_BYTES:
        return f"{base}: {size(free_bytes(place))} are free, expected {size(rundir.ROOM_BYTES)}: make room, or {mend}"
    if base.exists() and stat.S_IMODE(base.stat().st_mode) != 0o700 and not os.access(base, os.W_OK):
        return f"{base}: expected mode 0700: {mend}"
    return ""


def port_problem(host: str, port: int) -> str:
    """Why a server cannot listen there; empty when it can."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM,
                                                      flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1)
    except OSError as error:
        return plain_reason(error)
    return ""


def usable_cores() -> float:
    """Cores that this process may use, by its affinity and by its cgroup."""
    cores = float(len(os.sched_getaffinity(0)))
    return min(cores, cgroup_cores() or cores)


def cgroup_cores() -> float:
    """Cores that a cgroup allows, 0 for no limit."""
    limits = []
    for text in _cgroup("cpu.max"):
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit():
            limits.append(int(quota) / int(period))
    return min(limits, default=0.0)


def cgroup_memory() -> int:
    """Bytes that a cgroup allows, 0 for no limit."""
    return min((int(text) for text in _cgroup("memory.max") if text.isdigit()), default=0)


def _cgroup(name: str) -> list[str]:
    """What a file says in this process's cgroup and in all above it (version 2)."""
    try:
        own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    folder, found = _CGROUPS / own.removeprefix("0::").strip("/"), []
    while folder.is_relative_to(_CGROUPS):
        with contextlib.suppress(OSError):
            found.append((folder / name).read_text().strip())
        folder = folder.parent
    return found


def existing(path: Path) -> Path:
    """The path itself, or the nearest above it that is there."""
    path = path.absolute()
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def free_bytes(path: Path) -> int:
    """What this user may still write there."""
    found = os.statvfs(existing(path))
    return found.f_bavail * found.f_frsize


def size(count: float) -> str:
    """A number of bytes for people: ``3.2 GB``."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
