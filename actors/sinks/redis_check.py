"""``thresher check`` of Redis: reached, let in, allowed to write, and what it keeps of what it has answered.

Nothing is written: the commands of a group are queued in a ``MULTI``, where the server judges them, and discarded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from actors.runtime.errors import Lost, Retryable
from actors.sinks.redis_applied import applied_key, known_owner, require_kept
from actors.sinks.redis_group import StoreOptions
from actors.sinks.redis_index import LOAD, RESERVED
from actors.sinks.redis_line import HOLDER
from actors.sinks.redis_resp import Fault, Reply, Unclear, command
from actors.sinks.redis_server import Server

#: Versions whose WAITAOF is known to wait for the disk with ``everysec``: the ones before answer at once when less than
#: a second has passed since the last flush, and so does Valkey, up to 8.1 at least.
_WAITS = re.compile(r"^redis_version:(?:[89]|\d\d)\.", re.MULTILINE)
_WANTED = (b"appendonly", b"appendfsync", b"save", b"maxmemory", b"maxmemory-policy")


def problems_of(options: StoreOptions, name: str, state: Path) -> list[str]:
    """What would keep the sink from writing, or the server from keeping what it has, each with how to mend it.

    Raises:
        ConfigError: the server does not let us in.
    """
    with closing(Server(options, name)) as server:
        try:
            server.connect()
            return list(_problems(server, options, name, state))
        except Lost as error:
            return [str(error)]
        except (Retryable, OSError, Unclear) as error:
            said = str(error) if isinstance(error, Retryable) else f"{server.where}: {error}"
            return [f"{said}: start it, or set sinks.{name}.url to where it is"]


def _problems(server: Server, options: StoreOptions, name: str, state: Path) -> Iterator[str]:
    if owner := known_owner(name, state):
        require_kept(name, state, server.where, _positions(server, applied_key(owner, name)), owner)
    probe = RESERVED + b"check"
    needed = [command(b"SET", probe, b"1"), command(b"DEL", probe), command(b"HSET", probe, b"a", b"1"),
              command(b"HDEL", probe, b"a"), *[LOAD] * bool(options.index)]
    for reply in server.ask(command(b"MULTI"), *needed, command(b"DISCARD")):
        if isinstance(reply, Fault):
            yield f"{server.where}: {reply.text}: `thresher docs redis` says what the server and its user need"
            return
    settings = _settings(server)
    policy = settings.get("maxmemory-policy", "")
    if settings.get("maxmemory", "0") != "0" and policy.startswith("allkeys"):
        yield (f"{server.where}: maxmemory-policy {policy} forgets keys and positions when it is full: set noeviction, "
               "or volatile-ttl")


def assured_by(options: StoreOptions, name: str, state: Path) -> str:
    """What the server keeps of what it has answered, as it is configured now.

    Raises:
        Retryable: it cannot be asked now.
    """
    with closing(Server(options, name)) as server:
        try:
            server.connect()
            settings = _settings(server)
            waited, info = server.ask(command(b"WAITAOF", b"1", b"0", b"1"), command(b"INFO", b"server"))
        except (OSError, Unclear) as error:
            raise Retryable(f"{server.where}: {error}") from error
    waits = options.sync and not isinstance(waited, Fault)
    copies = f"; {options.replicas} replicas have it in memory" if options.replicas else ""
    return f"{kept(settings, waits, info.decode(errors='replace') if isinstance(info, bytes) else '')}{copies}"


def kept(settings: Mapping[str, str], waits: bool, info: str) -> str:
    """What a server keeps of what it has answered.

    Args:
        settings: its configuration; nothing, where it does not say.
        waits: the sink asks WAITAOF, and the server knows it.
        info: what it says of its version.
    """
    if not settings:
        return "it does not say what it keeps (this user may not CONFIG GET): exactly once with appendfsync always"
    if settings["appendonly"] != "yes":
        file = f"its last file (save {settings['save']})" if settings.get("save") else "nothing"
        return (f"appendonly no: {file} is there after its death, and what is missing is noticed at the next connect: "
                "set appendonly yes and appendfsync always to keep all of it")
    fsync = settings["appendfsync"]
    if fsync == "always":
        return "appendfsync always: each batch is on its disk when it counts as written"
    if fsync == "everysec" and waits and _WAITS.search(info) and "valkey" not in info:
        return "appendfsync everysec, and WAITAOF: each batch is on its disk when it counts as written"
    early = " (its WAITAOF may answer before)" if waits else ""
    lost = "the last second or two" if fsync == "everysec" else "what the system has not flushed"
    return (f"appendfsync {fsync}{early}: {lost} is lost in a power cut, which is noticed; it survives the death of "
            "the server: set appendfsync always to keep all of it")


def positions_of(options: StoreOptions, name: str, state: Path) -> dict[str, int]:
    """Up to where the sink of this state has each partition; nothing is changed.

    Raises:
        Retryable: the server cannot be asked now.
    """
    owner = known_owner(name, state)
    if owner is None:
        return {}
    with closing(Server(options, name)) as server:
        try:
            server.connect()
            return _positions(server, applied_key(owner, name))
        except (OSError, Unclear) as error:
            raise Retryable(f"{server.where}: {error}") from error


def _positions(server: Server, key: bytes) -> dict[str, int]:
    (found,) = server.ask(command(b"HGETALL", key))
    if isinstance(found, Fault):
        raise server.refused(found, "")
    return {field: int(value) for field, value in _pairs(found) if not field.startswith(HOLDER.decode())}


def _settings(server: Server) -> dict[str, str]:
    """What it says of its configuration; nothing, where this user may not ask."""
    found: dict[str, str] = {}
    for reply in server.ask(*(command(b"CONFIG", b"GET", each) for each in _WANTED)):
        found |= dict(_pairs(reply))
    return found if {"appendonly", "appendfsync"} <= found.keys() else {}


def _pairs(reply: Reply) -> Iterator[tuple[str, str]]:
    words = [word.decode(errors="replace") for word in reply if isinstance(word, bytes)] if isinstance(
        reply, list) else []
    return zip(words[::2], words[1::2], strict=False)
