"""``thresher check`` of memcached: whether it answers, and what it does with what does not fit.

It acknowledges what it may forget a moment later, and says so to nobody: its settings and counters are all there is.
Nothing is written. Proxies that have no ``stats`` say nothing of the servers behind them.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from actors.runtime.errors import plain_reason
from actors.sinks.memcached_address import connected

_REPLY_BYTES = 64 * 1024
_MIB = 1 << 20

Address = str | tuple[str, int]


def problem_of(address: Address, connect_timeout_s: float, timeout_s: float) -> str:
    """Why it cannot be used now; empty: it can."""
    try:
        with connected(address, connect_timeout_s) as server:
            server.settimeout(timeout_s)
            server.sendall(b"version\r\n")
            reply = server.recv(_REPLY_BYTES)
    except OSError as error:
        return plain_reason(error)
    return "" if reply.startswith(b"VERSION ") else f"expected VERSION, it answers {reply[:60]!r}"


def assured_by(address: Address, connect_timeout_s: float, timeout_s: float) -> str:
    """What it forgets, and what it refuses.

    Raises:
        OSError: it does not answer.
    """
    with connected(address, connect_timeout_s) as server:
        server.settimeout(timeout_s)
        settings = _asked(server, b"stats settings\r\n")
        counted = _asked(server, b"stats\r\n") if settings else {}
    return in_words(settings, counted)


def in_words(settings: Mapping[str, int | str], counted: Mapping[str, int | str]) -> str:
    """What these settings and counters mean for what is stored; empty: nothing is known."""
    most, has = settings.get("maxbytes"), counted.get("bytes")
    if not isinstance(most, int) or not isinstance(has, int):
        return ""
    held = f"holds {most // _MIB:,} MiB, of which items take {-(-has // _MIB):,}, until it is restarted"
    if settings.get("evictions") == "off":
        said = f"{held}; once it is full it takes nothing more, and the run waits (`-m` gives it more)"
    else:
        said = (f"{held}; once it is full it forgets what was not asked for longest, without a word (it has forgotten "
                f"{counted.get('evictions', 0):,} items since its start): `-m` gives it more, with `-M` the run waits")
    largest = settings.get("item_size_max")
    return f"{said}; an item over {largest / _MIB:,.3g} MiB is a dead letter" if isinstance(largest, int) else said


def _asked(server: socket.socket, question: bytes) -> dict[str, int | str]:
    """The names and values of an answer; none where the question is not understood."""
    server.sendall(question)
    reply = b""
    while not reply.endswith((b"END\r\n", b"ERROR\r\n")) and len(reply) < _REPLY_BYTES:
        received = server.recv(_REPLY_BYTES)
        if not received:
            break
        reply += received
    found: dict[str, int | str] = {}
    for line in reply.decode(errors="replace").splitlines():
        match line.split(" ", 2):
            case ["STAT", name, value]:
                found[name] = int(value) if value.isdecimal() else value
    return found
