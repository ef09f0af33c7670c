"""Which unit a file is: the memory of what was read, here and by earlier runs, and the rules by which it is known.

A file is known by its content: its first 1024 bytes (all it has, when it has fewer) must be those of the unit, and it
must be at least as long as what was read of it. Content alone is not enough: two files that hold the one line ``ok``
are two files. So, of those units whose content is no longer where it was, one is taken that

1. has the same inode: it was renamed, or nothing has happened to it; else
2. has the same name: it was written anew with more at its end, or copied and put in place; else
3. has a name like it (``access.log``, ``access.log.1``, ``access-20260101.log``), or 1024 bytes of the same content:
   it was copied, as before a truncation, or packed.

A unit whose content is where it was is never given to another file. So of a copy that is made before the original is
truncated nothing is said until it is: ``may_be_a_copy``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from actors.sources.listing import Seen
from actors.sources.tail import HEAD_BYTES, Mark, Tail, digest


class Look(NamedTuple):
    """A file that is to be recognised.

    Attributes:
        seen: what it is called, and so on.
        head: the first bytes of its content, 1024 at most.
        packed: its content is compressed.
        length: bytes of its content; None: not known.
    """

    seen: Seen
    head: bytes
    packed: bool
    length: int | None


Rule = Callable[[Tail, Look], bool]


def same_inode(tail: Tail, look: Look) -> bool:
    """The file has the inode that the unit's file had."""
    return tail.mark.inode == look.seen.key[1]


def same_name(tail: Tail, look: Look) -> bool:
    """The file has the name that the unit's file had."""
    return tail.path in look.seen.paths


def alike(tail: Tail, look: Look) -> bool:
    """The file has a name like the unit's, or the beginnings are long enough not to be the same by chance."""
    return tail.mark.size == HEAD_BYTES or any(is_related(tail.path, path) for path in look.seen.paths)


#: In the order in which they are asked.
RULES: tuple[Rule, ...] = (same_inode, same_name, alike)


def is_related(one: str, other: str) -> bool:
    """Whether a rotation may have made one name of the other: what is before the first dot is the same."""
    first, second = sorted((os.path.basename(one), os.path.basename(other)), key=len)
    stem = first.partition(".")[0]
    return second.startswith(stem) and not second[len(stem):len(stem) + 1].isalnum()


class Memory:
    """All units that are known, by how they begin.

    Units whose content is not where it was are also found by their inode and name: of many files that begin alike, as
    with the same header, each is recognised without a look at the others.
    """

    def __init__(self, tails: Iterable[Tail]) -> None:
        self._by_mark: dict[tuple[int, str], dict[int, Tail]] = {}
        #: By mark and inode, name or nothing. What is where it was, or known by something else, is dropped when met.
        self._away: dict[tuple[int, str, int | str | None], dict[int, Tail]] = {}
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
        for hint in (tail.mark.inode, tail.path, None):
            self._away.setdefault((*tail.mark[:2], hint), {})[tail.unit.id] = tail

    def remark(self, tail: Tail, mark: Mark) -> None:
        """A unit is known by something else from here on."""
        del self._by_mark[tail.mark[:2]][tail.unit.id]
        self._sizes[tail.mark.size] -= 1
        tail.mark = mark
        self.add(tail)

    def unfinished(self) -> list[Tail]:
        """Return the units that nobody has read to their end."""
        tails = [tail for alike in self._by_mark.values() for tail in alike.values()]
        return [tail for tail in tails if tail.unit.status == "reading" and tail.unit.end is None]

    def find(self, look: Look, rule: Rule) -> Tail | None:
        """Return the unit that this file is by this rule, of those whose content is not where it was."""
        found = [tail for tail in self._lost_like(look, rule) if rule(tail, look)
                 and (look.length is None or look.length >= tail.position)]
        return max(found, key=lambda tail: (tail.mark.size, tail.position, tail.unit.id), default=None)

    def may_be_a_copy(self, look: Look, live: Iterable[Tail]) -> bool:
        """Whether this may be a copy, or the beginning of one, of a file that is where it was."""
        if any(tail.key is not None and alike(tail, look) for tail in self._like(look.head)):
            return True
        return any(tail.head.startswith(look.head) and any(is_related(tail.path, path) for path in look.seen.paths)
                   for tail in live if tail.key is not None)

    def _lost_like(self, look: Look, rule: Rule) -> Iterator[Tail]:
        """Units that begin so, whose content is not where it was, and that may be this file by this rule."""
        hints: Sequence[int | str | None] = [None]
        if rule in (same_inode, same_name):
            hints = [look.seen.key[1]] if rule is same_inode else look.seen.paths
        for mark in self._marks(look.head):
            for hint in hints:
                lost = self._away.get((*mark, hint), {})
                for tail in list(lost.values()):
                    if (tail.key is None or tail.deleted) and tail.mark[:2] == mark:
                        yield tail
                    else:
                        del lost[tail.unit.id]

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
