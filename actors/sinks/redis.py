"""Redis: keys and values to one server, or to the master that Sentinels name, each batch once (``docs/redis.md``).

``redis_store`` has the opened sink, and how it writes each batch once; ``redis_applied`` what is compared at each
connect; ``redis_index`` the sorted sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from actors.runtime.errors import ConfigError, Reject
from actors.runtime.ports import Repeated, Sink, SinkOptions
from actors.runtime.stored import Need, Reader, sentence
from actors.sinks.redis_address import SCHEMES, Address, address_of
from actors.sinks.redis_index import RESERVED, Indexed, put_in, taken_out
from actors.sinks.redis_resp import command, commands_in

__all__ = ["OPTIONS", "Indexed", "Redis"]

Item = tuple[bytes, bytes | None]
#: The latest that Redis takes: it reckons in milliseconds since 1970, in 64 bits.
_MAX_EXPIRE_S = 100 * 366 * 24 * 3600


class Redis(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys and values in Redis.

    An item is ``(key, value)``, bytes; ``(key, None)`` deletes the key. With ``index`` all keys are found in their
    order, and an item may be an ``Indexed``, which names more sorted sets that its key is found in.

    Attributes:
        url: ``redis://USER:PASSWORD@HOST:PORT/DATABASE``, ``rediss://`` for TLS, ``redis+unix:///PATH?db=NUMBER``; of
            Sentinels ``redis+sentinel://HOST:PORT,HOST:PORT/NAME/DATABASE``, ``rediss+sentinel://`` for TLS. The
            password best as ``${env:NAME}``.
        expire_s: seconds until a key expires; 0 for never.
        only_missing: store nothing under a key that is there already.
        index: what the names of the sorted sets begin with, which no key may; empty: there are none. The set of this
            very name has all keys, in their order, unless they expire.
        replicas: so many replicas have each batch in their memory before it counts as written (``WAIT``).
        sync: wait until the server has each batch on its disk, where it can be asked (``WAITAOF``: Redis 7.2, Valkey;
            ``thresher check`` says whether its answer can be relied on).
        ca_file: whose certificates are trusted with TLS; empty: those that the system trusts.
        cert_file: our own certificate, where the server asks for one.
        key_file: its key.
        sentinel_secret: password of the Sentinels, where they ask for one.
        connect_timeout_s: longest time to connect.
        timeout_s: longest time without any progress of a write.

    Example::

        Redis(url="redis://shop:${env:SHOP_PASSWORD}@10.0.0.5/0", expire_s=3600)  # items are (key, value), bytes
    """

    ordered: ClassVar[bool] = True
    contiguous: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("items",)
    guarantee: ClassVar[str] = (
        "keys and positions in one MULTI: exactly once, in source order, as long as the server keeps what it has "
        "answered (appendfsync always); what it has lost is noticed at the next connect: written again "
        "where it is still held, else the run ends with exit code 1")
    #: A Sentinel takes half a minute to notice, by its default, and some seconds more.
    max_outage_s: ClassVar[float] = 300.0
    addressed_by: ClassVar[str] = "url"
    schemes: ClassVar[tuple[str, ...]] = SCHEMES

    url: str
    expire_s: Annotated[int, Meta(ge=0, le=_MAX_EXPIRE_S)] = 0
    only_missing: bool = False
    index: str = ""
    replicas: Annotated[int, Meta(ge=0)] = 0
    sync: bool = True
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    sentinel_secret: str = ""
    connect_timeout_s: Annotated[float, Meta(gt=0)] = 3.0
    timeout_s: Annotated[float, Meta(gt=0)] = 10.0

    def __post_init__(self) -> None:
        """Refuse an address that is none, and what cannot be, before anything runs."""
        self.address()
        if self.index.encode().startswith(RESERVED):
            raise ConfigError(f"index: expected another beginning than {RESERVED.decode()}, got {self.index!r}")
        if self.key_file and not self.cert_file:
            raise ConfigError("key_file: expected cert_file with it")

    def pack(self, items: Sequence[Item]) -> bytes:
        """Return the commands that store and delete these, one each.

        Raises:
            Reject: a key is empty, or begins as only keys of the sink do; a score is no number, a set has no name; a
                deletion, and there is ``only_missing``.
        """
        if self.index:
            return b"".join([self._indexed(item) for item in items])
        self._require_keys(items)
        tail = b"$2\r\nNX\r\n" if self.only_missing else b""
        if self.expire_s:
            tail += b"$2\r\nEX\r\n$%d\r\n%d\r\n" % (len(b"%d" % self.expire_s), self.expire_s)
        form = b"*%d\r\n$3\r\nSET\r\n$%%d\r\n%%b\r\n$%%d\r\n%%b\r\n%b" % (
            3 + self.only_missing + 2 * bool(self.expire_s), tail)
        return b"".join([command(b"DEL", key) if value is None else form % (len(key), key, len(value), value)
                         for key, value in items])

    def unpack(self, data: bytes) -> list[Item]:
        """Return the items that ``pack`` made this of, whatever the options were.

        Raises:
            Reject: these are no such commands.
        """
        return [self._item(words) for _, words in commands_in(data)]

    def open(self, name: str, state: Path) -> Sink:
        """Connect, and compare positions. A server that is down is no error: ``write`` waits for it.

        Raises:
            ConfigError: it does not let this user in, or its certificate is not trusted.
            Lost: what was acknowledged is not there.
        """
        from actors.sinks.redis_store import open_store

        return open_store(self, name, state)

    def check(self, name: str, state: Path) -> list[str]:
        """Say what would keep the sink from writing, or the server from keeping what it has; nothing is written.

        Raises:
            ConfigError: only another configuration can help.
        """
        from actors.sinks.redis_check import problems_of

        return problems_of(self, name, state)

    def assures(self, name: str, state: Path) -> str:
        """What the server keeps of what it has answered, as it is configured now."""
        from actors.sinks.redis_check import assured_by

        return assured_by(self, name, state)

    def positions(self, name: str, state: Path) -> dict[str, int]:
        """What is in ``thresher_applied`` of this sink and state.

        Raises:
            Retryable: the server cannot be asked now.
        """
        from actors.sinks.redis_check import positions_of

        return positions_of(self, name, state)

    def answers(self) -> tuple[Need, ...]:
        """A hash of keys; with a sorted set of all keys (``index``) ranges of them, too."""
        return ("key", "range") if self.index and not self.expire_s else ("key",)

    def answers_in_words(self) -> str:
        """Its sorted sets can be asked, too, by whoever knows them."""
        said = sentence(self.answers()) if "range" in self.answers() else "answers a key"
        more = "what it is listed in where items name sorted sets"
        return f"{said}, and {more}" if self.index else f"{said}; with index keys in their order, and {more}"

    def reader(self, name: str, state: Path) -> Reader:
        """Look at the server; the connection is made with the first key."""
        from actors.sinks.redis_read import RedisReader

        return RedisReader(self, name, self.index.encode())

    def keeping(self) -> Redis:
        """The same, but storing nothing under a key that is there already."""
        return msgspec.structs.replace(self, only_missing=True)

    def adds(self) -> bool:
        """No: the same is stored under its key again."""
        return False

    def loses(self) -> str:
        """What it had answered and not flushed; that is noticed."""
        return "what the server loses (without appendfsync always) is noticed: written again, or exit code 1"

    def tombstones(self) -> str:
        """A value that is None."""
        what = "the key and its entries in sorted sets" if self.index else "the key"
        return "" if self.only_missing else f"(key, None) deletes {what}"

    def repeated(self) -> Repeated:
        """Its position is in the transaction of its keys."""
        return "skipped"

    def describe(self) -> str:
        """Say where this writes: ``redis 10.0.0.5:6379/0``."""
        return f"redis {self.address().shown}"

    def address(self) -> Address:
        """The parts of ``url``."""
        return address_of(self.url)

    def _indexed(self, item: Item) -> bytes:
        self._require_keys([item])
        return put_in(item, self.index.encode(), self.expire_s, self.only_missing)

    def _require_keys(self, pairs: Sequence[tuple[bytes, bytes | None]]) -> None:
        ours = (RESERVED, self.index.encode()) if self.index else (RESERVED,)
        bad = [key for key, _ in pairs if not key or key.startswith(ours)]
        if bad:
            names = " or ".join(name.decode() for name in ours)
            raise Reject("key", f"expected one that does not begin with {names}, got {bad[0][:60]!r}" if bad[0] else
                         "expected at least one byte, got none")
        if self.only_missing and any(value is None for _, value in pairs):
            raise Reject("only_missing", "a deletion, and what is there is to stay: send it without only_missing")

    def _item(self, words: list[bytes]) -> Item:
        match words:
            case [b"SET", key, value, *_]:
                return key, value
            case [b"DEL", key]:
                return key, None
            case [b"EVALSHA", *_]:
                found = taken_out(words, self.index.encode())
                return found if found.under else (found[0], found[1])
        raise Reject("format", f"expected a command of this sink, got {words!r:.100}")


OPTIONS = Redis
