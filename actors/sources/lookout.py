"""The look at what is there: which files have come, grown, moved or gone, and which unit each of them is."""

from __future__ import annotations

import os
import time
from io import FileIO

from actors.runtime import open_files
from actors.runtime.given_again import AGAIN
from actors.runtime.ports import UnitLedger
from actors.runtime.values import Unit
from actors.sources.amounts import Amounts
from actors.sources.descriptors import Descriptors
from actors.sources.framings.tail import tail_of
from actors.sources.glimpses import Glimpses, text_of
from actors.sources.listing import Seen, beside, by_name, concerns
from actors.sources.marks import KIND, Key, Mark, digest
from actors.sources.recognise import RULES, Look, Memory, Rule, has_more, is_torn, names
from actors.sources.tail import Limits, Tail
from actors.sources.wanted import Problems, Search, listing_of, watch_for
from actors.sources.wholeness import goes_on

#: Most files that are open at a time.
MOST_OPEN = 256
#: A file that may be a copy is read as one of its own when it has not grown, nor the original gone, for so long.
_COPY_S = 10.0
#: Looks at everything take no more than one part in so many of the time, when there is so much that one takes long.
_LOOK_SHARE, _LONG_S = 5, 0.05
#: What was changed longer ago than this would have another time of change if it were changed now.
_SURELY_OLD_NS = 2_000_000_000


class Lookout:
    """All files of a directory source.

    Args:
        options: which files.
        ledger: what is known about them.
        limits: of chunks.

    Attributes:
        live: the units that this run reads, by number.
        wake: readable when it is time to look.
        is_asked: something has happened that asks for a look.
        has_news: a unit has grown, begun or ended since somebody set this to False.
    """

    def __init__(self, options: Search, ledger: UnitLedger, limits: Limits) -> None:
        self.live: dict[int, Tail] = {}
        self.has_news = True
        self._options = options
        self._ledger = ledger
        self._limits = limits
        self._memory = Memory(
            tail_of(unit, Mark.read(unit.fingerprint), unit.name, limits) for unit in ledger.known(KIND))
        self._taken_up: set[int] = set()
        self._files: dict[Key, Tail] = {}
        self._paths: dict[str, Tail] = {}
        self._open = Descriptors(open_files.room(MOST_OPEN))
        self._glimpses = Glimpses(ledger, self._open, options.idle_timeout_s if options.follow else 0.0, self._ask)
        self._problems = Problems(ledger, options.follow)
        self._lost: list[Tail] = []
        self._may_come = self._is_noticed = False
        self._grown: list[Tail] = []
        self._watch = watch_for(options)
        self._watched: dict[str, str] = {}
        self._looks = 0
        self._look_at = self._not_before = 0.0
        self.is_asked = True
        #: Bytes read, and in all, of what this run reads.
        self.progress = Amounts()
        self.wake = None if self._watch is None else self._watch.wake

    def look_if_due(self, now: float) -> list[Tail]:
        """Look at what the kernel named, or at everything; return the units that may have more to read."""
        if self._watch is not None:
            for path in self._watch.changed():
                self._is_noticed |= not self._glance(path, now)
            self._watch.is_owed = self._is_noticed
        if self.is_asked or (now >= self._not_before and (
                self._is_noticed or (self._options.follow and now >= self._look_at))):
            self.is_asked = self._is_noticed = False
            began = time.perf_counter()
            self._look(now)
            took = time.perf_counter() - began
            self._look_at = now + self._options.poll_s
            self._not_before = now + (_LOOK_SHARE * took if took > _LONG_S else 0.0)
        grown, self._grown = self._grown, []
        return grown

    def file_of(self, tail: Tail) -> FileIO | None:
        """Return the open file of a unit; None: its content is nowhere in sight.

        Raises:
            Changed: what is there by its name is another file.
            OSError: it cannot be opened.
        """
        return None if tail.key is None else self._open.of(tail.key, tail.path)

    def lose(self, tail: Tail) -> None:
        """The content of this unit is no longer where it was: look where it is."""
        if tail.key is not None:
            self._files.pop(tail.key, None)
            self._open.drop(tail.key)
            tail.key = None
            self._memory.lost(tail)
        tail.deleted = tail.gone = False
        if tail.live:
            tail.lost_at = self._looks
            self._lost.append(tail)
            self.is_asked = True

    def leave(self, tail: Tail) -> None:
        """Read no more of this unit in this run; it is not at its end."""
        tail.end()
        self.live.pop(tail.unit.id, None)
        self.progress.forget(tail)

    def end(self, tail: Tail) -> None:
        """This unit is read to its end. As long as nothing about its file is changed it need not be read again."""
        if (file := None if tail.key is None else self._open.get(tail.key)) is not None:
            changed_ns = os.fstat(file.fileno()).st_ctime_ns
            is_old = time.time_ns() - changed_ns > _SURELY_OLD_NS
            self._remember(tail, tail.mark._replace(changed_ns=changed_ns if is_old else 0, longest=0))
        self._ledger.end(tail.unit, tail.position)
        self.progress.ended(tail)
        if tail.gone and tail.key is not None:
            self._files.pop(tail.key, None)
            self._open.drop(tail.key)
            tail.key = None
            self._memory.lost(tail)
        tail.end()
        self.live.pop(tail.unit.id, None)
        self.has_news = True

    def remark(self, tail: Tail) -> None:
        """A unit is read further. When more of the beginning of a short file is known, it is known by more."""
        self.progress.note(tail)
        if tail.live and len(tail.head) > tail.mark.size:
            self._remember(tail, tail.mark._replace(size=len(tail.head), digest=digest(tail.head)))

    def _remember(self, tail: Tail, mark: Mark, name: str | None = None) -> None:
        """A unit is known by this from here on, and called so."""
        self._memory.remark(tail, mark)
        self._ledger.renamed(tail.unit, tail.unit.name if name is None else name, mark.text())

    def close(self) -> None:
        """Close the files, and watch no more."""
        if self._watch is not None:
            self._watch.close()
        self._open.close()

    def _ask(self) -> None:
        self.is_asked = True

    # What is there --------------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        self._looks += 1
        listing = listing_of(self._options)
        self._problems.tell(listing)
        fresh = listing.files
        for key, tail in list(self._files.items()):
            seen = fresh.pop(key, None)
            if seen is None:
                self._not_seen(key, tail, now)
            elif not self._seen(tail, seen, now):
                self.lose(tail)
                fresh[key] = seen
        self._recognise(list(fresh.values()), now)
        self._give_up(now)
        self._paths = {tail.path: tail for tail in self._files.values()}
        if self._watch is not None:
            self._watched = {os.path.abspath(path): path for path in listing.directories if os.path.isdir(path)}
            self.is_asked |= self._watch.over(self._watched)  # something may have come before it was watched

    def _glance(self, path: str, now: float) -> bool:
        """Look at one file that is known; return False when everything has to be looked at."""
        folder, name = os.path.split(path)
        path = os.path.join(self._watched.get(folder, folder), name)
        tail = self._paths.get(path)
        if tail is None:
            return not concerns(path, self._options.paths, self._options.pattern)
        try:
            status = os.stat(path)
        except OSError:
            return False
        key = (status.st_dev, status.st_ino)
        return key == tail.key and tail.path == path and self._seen(
            tail, Seen(key, [path], status.st_size, status.st_mtime_ns, status.st_ctime_ns), now)

    def _seen(self, tail: Tail, seen: Seen, now: float) -> bool:
        """A file is where it was, or renamed. Return False when it may have become another, or begun to grow again."""
        if tail.path not in seen.paths:
            tail.path = seen.paths[0]
            tail.moved, tail.touched = True, now  # whoever writes to it may do so for a while
            if tail.live:
                self._remember(tail, tail.mark._replace(target=text_of(seen.target)), text_of(tail.path))
        tail.gone = False
        if (seen.size, seen.modified_ns) != (tail.size, tail.modified_ns):
            if not tail.live or tail.packed or seen.size < tail.position or not self._open.still_has(tail):
                return False
            self._grow(tail, seen.size, seen.modified_ns, now)
        elif tail.live and tail.moved and now - tail.touched >= self._options.idle_timeout_s:
            self._let_end(tail)
        return True

    def _not_seen(self, key: Key, tail: Tail, now: float) -> None:
        """A file has lost its name: it is read on as long as it is open, and something comes."""
        file = self._open.get(key)
        if not tail.live or file is None:
            self.lose(tail)
            self._files.pop(key, None)
            return
        status = os.fstat(file.fileno())
        was_gone, tail.gone = tail.gone, True
        tail.deleted = status.st_nlink == 0
        if tail.deleted:
            self._memory.lost(tail)
        self._open.keep(key)
        if status.st_size < tail.position:
            self.lose(tail)
        elif status.st_size != tail.size or not was_gone:
            self._grow(tail, status.st_size, status.st_mtime_ns, now)
        elif tail.deleted or now - tail.touched >= self._options.idle_timeout_s:
            self._let_end(tail)
        self.is_asked |= tail.deleted and not was_gone

    def _grow(self, tail: Tail, size: int, modified_ns: int, now: float) -> None:
        tail.size, tail.modified_ns, tail.touched = size, modified_ns, now
        tail.longest = max(size, tail.longest)
        if tail.longest > tail.mark.longest:
            self._remember(tail, tail.mark._replace(longest=tail.longest))
        self.progress.note(tail)
        self._grown.append(tail)
        self.has_news = True

    def _let_end(self, tail: Tail) -> None:
        tail.ending = True
        self._grown.append(tail)

    # Which unit it is -----------------------------------------------------------------------------------------------

    def _recognise(self, fresh: list[Seen], now: float) -> None:
        looks = [look for seen in sorted(fresh, key=by_name) if (look := self._glimpses.of(seen, now)) is not None]
        for rule in RULES:
            looks = [look for look in looks if not self._glimpses.attempt(look, self._is_known, rule, now)]
        for look in looks:
            self._glimpses.attempt(look, self._is_new, now)

    def _is_known(self, look: Look, rule: Rule, now: float) -> bool:
        if (tail := self._memory.find(look, rule)) is not None:
            self._go_on(tail, look, now)
        return tail is not None

    def _is_new(self, look: Look, now: float) -> bool:
        if not self._waits(look, now):
            self._begin(look, now)
        return True

    def _waits(self, look: Look, now: float) -> bool:
        if self._looks == 1 or not self._options.follow or not self._memory.may_be_a_copy(look, self.live.values()):
            return False
        return self._glimpses.is_waiting(look.seen, now, min(_COPY_S, self._options.idle_timeout_s))

    def _begins_again(self, tail: Tail, look: Look, now: float) -> bool:
        """An earlier run has read this to its end: the report says so, or it is read from its beginning."""
        given, name = self._ledger.given, text_of(look.seen.paths[0])
        if tail.unit.id in self._taken_up or not given.is_of_earlier(tail.unit):
            return False
        if self._options.again == "skip" or given.is_gone_on_with(tail.unit):
            given.skip(name)
            return False
        self._memory.remark(tail, Mark(0, "", 0, 0))  # no file is this unit any more
        self._begin(look, now, tail.unit)
        return True

    def _begin(self, look: Look, now: float, before: Unit | None = None) -> None:
        mark = self._memory.mark(look)._replace(target=text_of(look.seen.target))
        path = look.seen.paths[0]
        torn = None if before is not None else self._memory.torn(look)
        after = (0, 0) if torn is None or torn.known is None else (torn.known.size, torn.line - 1)
        old = torn.unit if torn is not None and torn.unit.end is not None else before
        unit = self._ledger.begin(text_of(path), mark.text(), alone=True, after=after,
                                  instead_of=[] if old is None else [(old, True)])
        if before is not None:
            self._ledger.noted(unit, f"{AGAIN}: {before.name} was loaded before")
        tail = tail_of(unit, mark, path, self._limits)
        tail.key = look.seen.key  # so it is not kept among those that are nowhere
        goes_on(self._ledger, unit, after)
        if tail.known is None:
            tail.known = look.content.sum_of(tail.position)
        self._memory.add(tail)
        self._taken_up.add(unit.id)
        tail.begin(look.head, [])
        self._place(tail, look, now)

    def _go_on(self, tail: Tail, look: Look, now: float) -> None:
        """This file is that unit: read on, if there is something to read."""
        more = not tail.live and has_more(tail, look)
        if not (tail.live or is_torn(tail)) and (tail.known is None or tail.known.size < tail.position):
            tail.known = look.content.sum_of(tail.position)
        if tail.key is not None:  # deleted, and here again
            self._files.pop(tail.key, None)
            self._open.drop(tail.key)
        path = look.seen.paths[0]
        tail.moved |= tail.path not in look.seen.paths
        if not tail.live:
            if not more and (tail.unit.status != "reading" or tail.unit.end is not None):
                if self._begins_again(tail, look, now):
                    return
                tail.path, tail.key = path, look.seen.key
                tail.size, tail.modified_ns = look.seen.size, look.seen.modified_ns
                self._files[look.seen.key] = tail
                return
            self._resume(tail, look)
        elif not look.packed:
            tail.head = look.head if look.head.startswith(tail.head) else tail.head
        home = tail.mark.home or ("" if tail.path in look.seen.paths else text_of(tail.path))
        self._remember(tail, tail.mark._replace(
            inode=look.seen.key[1], longest=0, home=home, target=text_of(look.seen.target)), text_of(path))
        self._place(tail, look, now)

    def _resume(self, tail: Tail, look: Look | None) -> None:
        unit = tail.unit
        was_ended = unit.end is not None
        recorded = [] if unit.id in self._taken_up else self._ledger.boundaries(unit)
        self._taken_up.add(unit.id)
        self._ledger.resume(unit, unit.name, unit.fingerprint)
        tail.begin(look.head if look is not None else b"", recorded, was_ended)

    def _place(self, tail: Tail, look: Look, now: float) -> None:
        """The content of this unit is in this file from here on."""
        seen = look.seen
        tail.path = next((path for path in seen.paths if path == tail.path), seen.paths[0])
        tail.key, tail.packed = seen.key, look.packed
        tail.gone = tail.deleted = tail.ending = False
        tail.longest = 0
        self._files[seen.key] = tail
        self.live[tail.unit.id] = tail
        self._glimpses.forget(seen.key)
        self._grow(tail, seen.size, seen.modified_ns, now - max(0.0, time.time() - seen.modified_ns / 1e9))

    def _give_up(self, now: float) -> None:
        """Units whose content was not found again by the second look end."""
        if self._looks == 1:
            self._take_up_what_is_gone(now)
        lost, self._lost = self._lost, []
        for tail in lost:
            if tail.key is not None or not tail.live:
                continue
            if tail.lost_at >= self._looks - 1:
                self._lost.append(tail)
                self.is_asked = True
            elif not self._look_beside(tail, now):
                self._wait_or_end(tail)

    def _wait_or_end(self, tail: Tail) -> None:
        """The rest of a unit was looked for beside its file, and is not there yet, or is nowhere."""
        if self._may_come:
            self._lost.append(tail)
        else:
            self._let_end(tail)

    def _look_beside(self, tail: Tail, now: float) -> bool:
        """Look for the rest of a unit in files beside its own that we are not asked to read: ``FILE.1``."""
        self._may_come = False
        for seen in beside(names(tail)):
            if seen.key not in self._files:
                look = self._glimpses.of(seen, now, at_once=True)
                if look is not None and self._glimpses.attempt(look, self._is_it, tail, now) and tail.key == seen.key:
                    self._open.keep(seen.key)
                    return True
                self._may_come |= look is None and self._glimpses.may_come(seen, now)
                self._open.drop(seen.key)
        return False

    def _is_it(self, look: Look, tail: Tail, now: float) -> bool:
        """Go on with this unit in this file, if it is that."""
        is_it = any(self._memory.find(look, rule) is tail for rule in RULES)
        if is_it:
            self._go_on(tail, look, now)
        return is_it

    def _take_up_what_is_gone(self, now: float) -> None:
        """Units that an earlier run has not finished, and whose content is nowhere, end."""
        for tail in self._memory.unfinished():
            if tail.key is None and not tail.live and self._concerns(tail) and not self._look_beside(tail, now):
                self._resume(tail, None)
                tail.longest = max(tail.position, tail.mark.longest, tail.mark.size)  # so many bytes it had
                self.live[tail.unit.id] = tail
                self.progress.note(tail)
                self._wait_or_end(tail)

    def _concerns(self, tail: Tail) -> bool:
        paths, pattern = self._options.paths, self._options.pattern
        return any(concerns(path, paths, pattern) for path in (tail.path, tail.mark.home) if path)
