"""LMDB: keys and values in a local file, the embedded default. It needs no server.

What gathered while the last transaction ran is written in order, in transactions of at most ``MOST_ITEMS``, or of
``MOST_PAGES`` when the tree has more pages than that; with ``sync`` it is on disk when ``write`` returns. Any number of
other processes may read at the same time.

LMDB has in memory what a transaction changes: keys in no order change a page each, so that a transaction of a whole
window would need hundreds of megabytes. Not all or nothing is written, then; what is written again is the same.

A value that is None deletes its key. Parts come in source order, and after a crash all of them again from the lowest
one that was not acknowledged: so the last word on a key is the last to be applied, be it a value or a deletion, and
applied once more it changes nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

import msgspec
from msgspec import Meta

from actors.runtime.disk import Place, make_folder, sync_folder, why_not_written
from actors.runtime.errors import Reject, Retryable
from actors.runtime.ports import UNFLUSHED, Repeated, Sink, SinkOptions
from actors.runtime.stored import Need, Reader
from actors.runtime.values import Payload, Refusal
from actors.sinks.lmdb_read import LmdbReader

if TYPE_CHECKING:
    import lmdb

_Items = list[tuple[bytes, bytes | None]]
_MIN_MAP_BYTES = 1 << 20
#: Most items in a transaction, and most pages, of 4 KiB, that it may have in memory, and some above them: in a tree of
#: more pages each item may have one of its own.
MOST_ITEMS, MOST_PAGES = 65_536, 32_768
#: Most processes that read at the same time, and what the file has room for that they are listed in.
_READERS, _LOCK_BYTES = 512, 64 * 1024


class Lmdb(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An LMDB environment in a directory of its own.

    Attributes:
        path: the directory, relative to the state directory; empty for ``NAME.lmdb``.
        map_bytes: size of the memory map to begin with; it doubles when it is full.
        sync: wait for the disk at each transaction; without it what was written survives the death of any process,
            not that of the machine.
        only_missing: store nothing under a key that is there already.

    Example::

        Lmdb(path="words.lmdb")  # items are (key, value), bytes; (key, None) deletes the key
    """

    ordered: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("items",)
    guarantee: ClassVar[str] = "idempotent by key: effectively once"

    #: What opening it imports, for the supervisor to import once.
    imports: ClassVar[tuple[str, ...]] = ("lmdb",)

    path: str = ""
    map_bytes: Annotated[int, Meta(ge=_MIN_MAP_BYTES)] = 1 << 28
    sync: bool = True
    only_missing: bool = False

    def pack(self, items: Sequence[tuple[bytes, bytes | None]]) -> bytes:
        """Return the (key, value) items as one payload.

        Raises:
            Reject: with ``only_missing``, for a deletion: what is there is to stay.
            TypeError: an item is something else.
        """
        try:
            msgspec.convert(items, _Items, builtin_types=(bytes, bytearray, memoryview))
        except msgspec.ValidationError as error:
            raise TypeError(f"it takes (key, value), bytes both, or (key, None) ({error})") from None
        if self.only_missing and None in map(itemgetter(1), items):
            raise Reject("only_missing", "a deletion, and what is there is to stay: send it without only_missing")
        return msgspec.msgpack.encode(items)

    def unpack(self, data: bytes) -> list[tuple[bytes, bytes | None]]:
        """Return the items that ``pack`` made this of.

        Raises:
            Reject: this is no such payload.
        """
        try:
            return msgspec.msgpack.decode(data, type=_Items)
        except msgspec.MsgspecError as error:
            raise Reject("format", f"expected a payload of LMDB items, got {data[:60]!r} ({error})") from error

    def open(self, name: str, state: Path) -> Sink:
        """Open the environment, made when it is missing."""
        return _Environment(self, self.place(name, state))

    def place(self, name: str, state: Path) -> Path:
        """Where the directory is."""
        return state / (self.path or f"{name}.lmdb")

    def keeping(self) -> Lmdb:
        """The same, but storing nothing under a key that is there already."""
        return msgspec.structs.replace(self, only_missing=True)

    def adds(self) -> bool:
        """No: the same is stored under its key again."""
        return False

    def loses(self) -> str:
        """Nothing, unless it does not wait for the disk."""
        return "" if self.sync else UNFLUSHED

    def answers(self) -> tuple[Need, ...]:
        """Keys are in order."""
        return "key", "range"

    def reader(self, name: str, state: Path) -> Reader:
        """Open the environment, to look at."""
        return LmdbReader(self.place(name, state))

    def tombstones(self) -> str:
        """A value that is None."""
        return "" if self.only_missing else "(key, None) deletes the key"

    def repeated(self) -> Repeated:
        """It is stored under its key again."""
        return "replaced"

    def describe(self) -> str:
        """Say where this writes."""
        return f"lmdb {self.path}" if self.path else "lmdb"


OPTIONS = Lmdb


class _Environment(Sink):
    """The opened environment."""

    def __init__(self, options: Lmdb, path: Path) -> None:
        import lmdb

        self._lmdb = lmdb
        self._options = options
        self._path = path
        self._decoder = msgspec.msgpack.Decoder(_Items)
        self._environment: lmdb.Environment | None = None
        self._place: Place | None = None  # stays when it is closed: another is none of ours
        with contextlib.suppress(lmdb.Error, OSError):  # `write` says what is wrong, and tries again
            self._opened()  # a store that nothing is written to exists all the same

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Put all items, in order."""
        refusals: list[Refusal] = []
        waiting: _Items = []
        try:
            longest = self._opened().max_key_size()
            for index, payload in enumerate(payloads):
                waiting += self._fit(index, self._decoder.decode(payload.data), longest, refusals)
                while len(waiting) >= (most := self._most()):
                    self._put(waiting[:most])
                    del waiting[:most]
            if waiting:
                self._put(waiting)
        except (self._lmdb.Error, OSError) as error:
            self.close()  # a failed write may leave the handle unusable; opening it again is cheap
            raise Retryable(f"lmdb {self._path}: {why_not_written(self._path, error)}") from error
        return refusals

    def close(self) -> None:
        """Close the environment."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    def _fit(self, index: int, items: _Items, longest: int, refusals: list[Refusal]) -> _Items:
        """Return the items that can be stored; add a refusal for each that cannot."""
        unfit = {item for item, (key, _) in enumerate(items) if not 0 < len(key) <= longest}
        refusals += [
            Refusal(index, item, "key", f"a key of {len(items[item][0])} bytes, expected 1 to {longest}",
                    self._options.pack([items[item]])) for item in sorted(unfit)]
        return [pair for item, pair in enumerate(items) if item not in unfit] if unfit else items

    def _most(self) -> int:
        """Most items in the next transaction."""
        return MOST_ITEMS if self._opened().stat()["leaf_pages"] <= MOST_PAGES else min(MOST_ITEMS, MOST_PAGES)

    def _put(self, items: _Items) -> None:
        """Put these in one transaction, or delete them."""
        gone: list[bytes] = []
        pairs = cast("list[tuple[bytes, bytes]]", items)
        if None in map(itemgetter(1), items):  # of each key the last word, in any order of keys
            latest = dict(items)
            gone = sorted(key for key, value in latest.items() if value is None)
            pairs = [(key, value) for key, value in latest.items() if value is not None]
        while True:
            environment = self._opened()
            try:
                with environment.begin(write=True) as transaction, transaction.cursor() as cursor:
                    cursor.putmulti(sorted(pairs, key=itemgetter(0)), overwrite=not self._options.only_missing)
                    for key in gone:
                        transaction.delete(key)
                if self._place is not None:
                    self._place.require()
                return
            except self._lmdb.MapFullError:
                if not environment.reader_check():  # who was killed while it looked keeps pages no longer
                    environment.set_mapsize(2 * environment.info()["map_size"])

    def _opened(self) -> lmdb.Environment:
        if self._environment is None:
            if self._place is not None:
                self._place.require()
            make_folder(self._path, mode=0o700)
            # LMDB maps this file with holes in it: on a full disk the first touch of one would kill the process.
            lock = os.open(self._path / "lock.mdb", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(lock, 0, _LOCK_BYTES)
            finally:
                os.close(lock)
            present = self._path / "data.mdb"
            if not present.exists() or not present.stat().st_size:
                self._make(present)
            size = max(self._options.map_bytes, present.stat().st_size)
            self._environment = self._lmdb.open(
                os.fspath(self._path), map_size=size, sync=self._options.sync, mode=0o600, max_readers=_READERS)
            self._environment.reader_check()
            self._place = Place(present)
        return self._environment

    def _make(self, path: Path) -> None:
        """Make an empty environment, which a power cut leaves whole or not at all: LMDB does not wait for it."""
        begun = path.with_name(f"{path.name}.new")
        begun.unlink(missing_ok=True)
        with self._lmdb.open(os.fspath(begun), subdir=False, map_size=_MIN_MAP_BYTES, mode=0o600, lock=False) as made:
            made.sync(True)
        begun.replace(path)
        sync_folder(self._path)


def read_lmdb(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield every (key, value) of an environment, in order of key, also while its writer runs."""
    with contextlib.closing(LmdbReader(path)) as reader:
        yield from reader.range()
