"""Which unit a file is: the memory of what was read, here and by earlier runs, and the rules by which it is known.

A file is known by its content: its first 1024 bytes (all it has, when it has fewer) must be those of the unit, and all
that was read of the unit must be what the file begins with. (Units of version 0.1.0 have no sum of that: the file must
be as long.) For that the file is read up to there, unless it is the same inode, and nothing about it was changed since
it was read to its end. Content alone is not enough: two files that hold the one line ``ok``
are two files. So, of those units whose content is no longer where it was, one is taken that

1. has the same inode: it was renamed, or nothing has happened to it; else
2. has the same name: it was written anew with more at its end, or copied and put in place; else
3. has a name like it (``access.log``, ``access.log.1``, ``access-20260101.log``), or 1024 bytes of the same content:
   it was copied, as before a truncation, or packed.

A unit whose content is where it was is never given to another file. So of a copy that is made before the original is
truncated nothing is said until it is: ``may_be_a_copy``.

A unit that is torn (its bytes were lost, or the packed file was cut short) goes on in no file: one that begins with
what was read of it is a unit that begins behind that (``torn``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from actors.sources.content import EARLY_SIZES, NO_EARLY, Content
from actors.sources.listing import Seen, is_related
from actors.sources.marks import HEAD_BYTES, Mark, digest
from actors.sources.tail import Tail


class Look(NamedTuple):
    """A file that is to be recognised.

    Attributes:
        seen: what it is called, and so on.
        head: the first bytes of its content, 1024 at most.
        packed: its content is compressed.
        length: bytes of its content; None: not known.
        content: the whole of it, for when it is wanted.
    """

    seen: Seen
    head: bytes
    packed: bool
    length: int | None
    content: Content


Rule = Callable[[Tail, Look], bool]


def same_inode(tail: Tail, look: Look) -> bool:
    """The file has the inode that the unit's file had."""
    return tail.mark.inode == look.seen.key[1]


def same_name(tail: Tail, look: Look) -> bool:
    """The file has the name that the unit's file had."""
    return tail.path in look.seen.paths


def alike(tail: Tail, look: Look) -> bool:
    """The file has a name like the unit's, or the beginnings are long enough not to be the same by chance."""
    if tail.mark.size == HEAD_BYTES:
        return True
    return any(is_related(name, path) for path in look.seen.paths for name in names(tail))


def names(tail: Tail) -> list[str]:
    """Where the unit's file was."""
    return [name for name in (tail.path, tail.mark.home, tail.mark.target) if name]


def is_unchanged(tail: Tail, look: Look) -> bool:
    """Whether nothing about the file was changed since the unit was read to its end."""
    return bool(tail.mark.changed_ns) and (tail.mark.inode, tail.mark.changed_ns) == (
        look.seen.key[1], look.seen.changed_ns)


def goes_on_in(tail: Tail, look: Look) -> bool:
    """Whether what was read of a unit, which begins as this file does, is what the file begins with."""
    if look.length is not None and look.length < tail.position:
        return False
    return tail.known is None or is_unchanged(tail, look) or look.content.begins_with(tail.known)


def is_read(tail: Tail) -> bool:
    """Whether a unit was read to its end, and all of it is finished."""
    return tail.unit.end is not None and tail.unit.low >= tail.unit.end


def has_more(tail: Tail, look: Look) -> bool:
    """Whether the file, in which a unit goes on that nobody reads now, has more than was read of it."""
    if not look.packed:
        return look.length != tail.position
    return not (is_torn(tail) or (is_read(tail) and is_unchanged(tail, look))) and (
        look.content.is_longer_than(tail.position))


#: A size and a sum, of the bytes at the beginning; and units by inode, name or nothing.
_Early = tuple[int, int]
_Hinted = dict[int | str | None, dict[int, Tail]]

#: In the order in which they are asked.
RULES: tuple[Rule, ...] = (same_inode, same_name, alike)


def is_torn(tail: Tail) -> bool:
    """Whether the unit went on with something that is in no file."""
    return tail.known is not None and bool(tail.known.is_torn)


def _is_cut_as_before(tail: Tail, look: Look) -> bool:
    """Whether a torn unit was read to its end, and this is the same file: nobody has mended it."""
    return tail.known is not None and tail.unit.end is not None and (
        is_unchanged(tail, look) or (look.packed and look.content.is_cut_before_a_line(tail.known.size)))


def _early(tail: Tail) -> _Early:
    return NO_EARLY if tail.known is None else tail.known[2:4]


def _may_begin_alike(tail: Tail, look: Look) -> bool:
    """Whether a file and a unit that begin alike do so for longer, as far as there is a sum of that."""
    size, crc = _early(tail)
    return not size or look.content.early(size) in (crc, None)


class Memory:
    """All units that are known, by how they begin.

    Units whose content is not where it was are also found by their inode and name: of many files that begin alike, as
    with the same header, each is recognised without a look at the others.
    """

    def __init__(self, tails: Iterable[Tail]) -> None:
        self._by_mark: dict[tuple[int, str], dict[int, Tail]] = {}
        #: By mark, by the early sum, and by inode, name or nothing. What is where it was, or known by something else,
        #: is dropped when met.
        self._away: dict[tuple[int, str], dict[_Early, _Hinted]] = {}
        self._digests: tuple[bytes, dict[int, str]] = (b"", {})
        self._sizes: Counter[int] = Counter()
        self._serial = 0
        for tail in tails:
            self.add(tail)

    def mark(self, look: Look) -> Mark:
        """Return a mark for a new unit, which no other has."""
        return Mark.of(look.head, look.seen.key[1], self._serial + 1)

    def add(self, tail: Tail) -> None:
        """Remember a unit."""
        self._serial = max(self._serial, tail.mark.serial)
        self._by_mark.setdefault(tail.mark[:2], {})[tail.unit.id] = tail
        self._sizes[tail.mark.size] += 1
        if tail.key is None or tail.deleted:
            self.lost(tail)

    def lost(self, tail: Tail) -> None:
        """The content of this unit is not where it was: it may be found elsewhere."""
        away = self._away.setdefault(tail.mark[:2], {}).setdefault(_early(tail), {})
        for hint in (tail.mark.inode, tail.path, None):
            away.setdefault(hint, {})[tail.unit.id] = tail

    def remark(self, tail: Tail, mark: Mark) -> None:
        """A unit is known by something else from here on."""
        del self._by_mark[tail.mark[:2]][tail.unit.id]
        self._sizes[tail.mark.size] -= 1
        tail.mark = mark
        self.add(tail)

    def unfinished(self) -> list[Tail]:
        """Return the units of which not all is read and known to be finished."""
        tails = [tail for alike in self._by_mark.values() for tail in alike.values()]
        return [tail for tail in tails if tail.unit.status == "reading" and not is_read(tail)]

    def find(self, look: Look, rule: Rule) -> Tail | None:
        """Return the unit that this file is by this rule, of those whose content is not where it was.

        Raises:
            OSError: the file cannot be read.
            Changed: it is no longer there.
        """
        found = [tail for tail in self._lost_like(look, rule) if rule(tail, look) and (
            not is_torn(tail) or _is_cut_as_before(tail, look))]
        found.sort(key=lambda tail: (tail.mark.size, tail.position, tail.unit.id), reverse=True)
        return next((tail for tail in found if goes_on_in(tail, look)), None)

    def torn(self, look: Look) -> Tail | None:
        """Return the torn unit of which this file has what was read, and may have the rest."""
        found = [tail for tail in self._lost_like(look, alike) if is_torn(tail) and alike(tail, look)]
        found.sort(key=lambda tail: (tail.known.size if tail.known else 0, tail.unit.id), reverse=True)
        return next((tail for tail in found if tail.known is not None and look.content.begins_with(tail.known)), None)

    def may_be_a_copy(self, look: Look, live: Iterable[Tail]) -> bool:
        """Whether this may be a copy, or the beginning of one, of a file that is where it was."""
        if any(tail.key is not None and alike(tail, look) and _may_begin_alike(tail, look)
               for tail in self._like(look.head)):
            return True
        return any(tail.head.startswith(look.head) and any(is_related(tail.path, path) for path in look.seen.paths)
                   for tail in live if tail.key is not None)

    def _lost_like(self, look: Look, rule: Rule) -> Iterator[Tail]:
        """Units that begin so, whose content is not where it was, and that may be this file by this rule."""
        hints: Sequence[int | str | None] = [None]
        if rule in (same_inode, same_name):
            hints = [look.seen.key[1]] if rule is same_inode else look.seen.paths
        for mark in self._marks(look.head):
            for early, away in self._may_be(mark, look):
                for hint in hints:
                    lost = away.get(hint, {})
                    for tail in list(lost.values()):
                        if (tail.key is None or tail.deleted) and tail.mark[:2] == mark and _early(tail) == early:
                            yield tail
                        else:
                            del lost[tail.unit.id]

    def _may_be(self, mark: tuple[int, str], look: Look) -> list[tuple[_Early, _Hinted]]:
        """The units of this mark that begin as this does for longer."""
        away = self._away.get(mark, {})
        begins = [NO_EARLY]
        if any(early != NO_EARLY for early in away):
            for size in EARLY_SIZES:
                crc = look.content.early(size)
                if crc is None:
                    break
                begins.append((size, crc))
        return [(early, away[early]) for early in begins if early in away]

    def _like(self, head: bytes) -> Iterator[Tail]:
        return (tail for mark in self._marks(head) for tail in self._by_mark.get(mark, {}).values())

    def _marks(self, head: bytes) -> list[tuple[int, str]]:
        """What units are known by that begin as this does: of each size that a unit is known by."""
        if self._digests[0] != head:
            self._digests = head, {}
        digests = self._digests[1]
        for size, count in self._sizes.items():
            if 0 < size <= len(head) and count and size not in digests:
                digests[size] = digest(head[:size])
        return list(digests.items())
