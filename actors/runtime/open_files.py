"""Open files: how many a process may have, and how many a run needs.

ZeroMQ aborts the process that has none left, so a run that has too few is refused before it begins. A soft limit is
raised as far as is needed: it is a default for programs that know of no more, and the hard one is the administrator's.
"""

from __future__ import annotations

import errno
import os
import resource

from actors.runtime.errors import ConfigError

#: What a process of a run opens besides what it has for each actor, and that: sockets, pidfds, databases.
_OWN, _EACH = 32, 2
#: Actors that ``thresher scale`` may add, for which a limit that can be raised has room.
_MORE = 32


def raised_to(wanted: int) -> int:
    """Raise the soft limit as far as the hard one lets it, if it is lower than this; return how many may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def problem(actors: int) -> str:
    """Why a run of so many actors could not have what it opens; empty when it could."""
    wanted = _wanted(actors)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return ""
    return (f"a process may have {hard} open files here, and a run of {actors} actors needs up to {wanted}: raise the "
            f"limit (`ulimit -n {wanted}`), or set fewer workers")


def require_enough(actors: int) -> None:
    """See that a run of so many actors can have what it opens.

    Raises:
        ConfigError: the hard limit is too low.
    """
    if why := problem(actors):
        raise ConfigError(why)
    raised_to(_wanted(actors + _MORE))


def room(most: int) -> int:
    """Return how many files a source may keep open, which is for speed alone: a quarter of the limit at most."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if limit == resource.RLIM_INFINITY else max(1, min(most, limit // 4))


def _wanted(actors: int) -> int:
    return len(os.listdir("/proc/self/fd")) + _OWN + _EACH * actors


def are_used_up(error: OSError) -> bool:
    """Whether this error says that this process, or the machine, may open no more files."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def used_up() -> str:
    """Say it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"a process may have {limit} open files here, which is too few: raise the limit (`ulimit -n 1024`)"
