"""The reader: the origin of all batches. Reads ahead within the window, holds what is open, commits positions.

    source ──chunk──▶ ledger (boundary) ──▶ origin ──▶ workers
    source ◀─rename── ledger (position, counts, verdict) ◀── origin (closed, in order) ◀── acknowledgements

A unit (file) is finished when every range of it is closed; then it gets its verdict, the verdict is committed, and only
then is the file put away. The units of a run share a partition and follow one another, and where one of them goes on in
an older partition, all of the one before is closed first. Units that are partitions of their own wait for nobody.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence

from actors.runtime import poison
from actors.runtime.actor import Post
from actors.runtime.assigned import Assigned
from actors.runtime.budget import ErrorWindow
from actors.runtime.counts import FINISH
from actors.runtime.durations import Ages, Silence
from actors.runtime.errors import Retryable
from actors.runtime.event_time import EventTime
from actors.runtime.events import OVER_BUDGET
from actors.runtime.instead import GIVE_BACK, Instead
from actors.runtime.leaving import Leaving
from actors.runtime.ledger import Ledger
from actors.runtime.manifest import Manifest
from actors.runtime.messages import (
    Ack,
    Again,
    AnyMessage,
    Credit,
    Failed,
    Hello,
    Hold,
    InputDone,
    Lost,
    Member,
    Suspect,
)
from actors.runtime.ports import Source
from actors.runtime.shown import Shown
from actors.runtime.sizing import LEARNT, Sizing
from actors.runtime.supply import Supply
from actors.runtime.topology import fixed_destinations
from actors.runtime.traced import make_origin
from actors.runtime.trouble import Trouble
from actors.runtime.values import FILE_LOST, SOURCE_LOST, Chunk

#: Seconds between two commits of positions while batches are under way.
COMMIT_S = 0.25
#: So many bytes are issued in one turn, about, when chunks are small: what a turn costs is shared by small files.
TURN_BYTES = 64 * 1024
#: And so many while every worker has enough in hand: they wait for nothing, and the chunks for the disk once.
IDLE_TURN_BYTES = 8 * 1024 * 1024
#: Seconds between two looks at a source that had nothing.
POLL_S = 0.1
#: Seconds between two looks at which units have fallen silent.
LOOK_S = 0.5
ASKED = "the application has asked for the end of the input"  # why the run ended before that


class Reader:
    """The role of a reader.

    Args:
        post: the way out.
        manifest: window, budget, and who must be there before a batch is worth delivering.
        ledger: positions and counts.
        source: the opened source.
    """

    def __init__(self, post: Post, manifest: Manifest, ledger: Ledger, source: Source) -> None:
        self._post = post
        self._flow = manifest.flow
        self._errors = ErrorWindow(manifest.budget)
        self._ledger = ledger
        self._source = source
        self._leaving = Leaving(ledger, source, manifest.budget.max_error_rate, manifest.dry, self._commit)
        self._fixed = fixed_destinations(manifest)
        self._present: dict[str, Member] = {}
        self._generations: dict[str, int] = {}
        # A letter that is retried stays whole: a sink that refuses it again names the batch.
        self._sizing = Sizing(0.0 if manifest.is_retry else self._flow.batch_s)
        self._supply = Supply(source, self._sizing, ledger.is_repeated)
        self._origin = make_origin(post.tracer, post.generation, self._flow.window_batches, self._flow.window_bytes)
        self._assigned = Assigned(ledger, source, self._origin, manifest.folds, self._close_what_is_acked, self._commit)
        self._instead = Instead(post, manifest, ledger, self._origin, self._sizing, self._stop)
        self._checkers = 0 if manifest.parser.fused else manifest.checker.workers
        self._shared = ""
        self._finishing = self._told = False
        #: Descriptor to be called for, besides messages.
        self.wake: int | None = None
        self._is_new = True
        self._epoch_due = False
        self._run = manifest.run
        self._is_retry = manifest.is_retry
        self._moved = True
        self._silence = Silence(self._flow.redeliver_s)
        self._ages = Ages()
        self._shown = Shown(post, source, self._origin, self._sizing, self._ages, ledger, manifest.state)
        self._commit_at = 0.0
        self._trouble = Trouble(post)
        self._event_time = EventTime(
            post, manifest, ledger, self._origin, source, self._supply) if manifest.windowed else None

    def message(self, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        """Take credit or an answer."""
        if isinstance(message, Credit):
            self._origin.grant(sender, message.batches, message.done, message.seconds)
            self._sizing.learn(message.records, message.spent_s)
        elif isinstance(message, Ack):
            if message.counts.pop(FINISH, 0):
                self._enough()
            self._moved |= self._origin.ack(message.id, message.epoch, message.counts)
        elif isinstance(message, Failed):
            self._moved |= self._origin.failed(message.id, message.epoch, sender, message.cause)
        elif isinstance(message, Again):
            self._moved |= self._again(sender, message)
        elif isinstance(message, Hold):
            self._origin.hold(message.address, message.on)
        elif isinstance(message, Suspect) and not (
                self._event_time is not None and self._event_time.suspected(message)):
            self._instead.of_dead(message)

    def roster(self, come: Sequence[Member], gone: Sequence[Member]) -> None:
        """Deliver again what the dead had in hand; everything open, when an ordered consumer has a new generation."""
        for member in gone:
            self._origin.lost(member.address)
            if self._present.get(member.name) == member:
                del self._present[member.name]
        for member in come:
            self._present[member.name] = member
            if self._event_time is not None:
                self._event_time.tell(member)
            if member.ordered and member.name in self._fixed:
                before = self._generations.get(member.name, member.generation)
                self._generations[member.name] = member.generation
                self._epoch_due |= before != member.generation

    def work(self, now: float) -> float | None:
        """Keep the source alive, close what is acknowledged, read one chunk, deliver, commit when it is time."""
        return self._shown.sooner(self._assigned.sooner(self._work(now), now), now)

    def _work(self, now: float) -> float | None:
        self.wake = None
        slot = self._post.slot
        slot.phase("WORK")  # a rename, too, can hang, and whatever keeps a source alive
        try:
            self._assigned.turn(now)
            if wait_s := self._trouble.wait_s(now):
                slot.phase("RETRY")
                return wait_s
            self._supply.unread(self._assigned.is_gone)
            if self._is_new:
                self._go_on_from_before()
            if not self._epoch_due and self._ledger.is_flushed():
                self._deliver()  # what waits: whoever has worked off one does not wait for the disk
            self._close(now)
            self._take_note_of_the_roster()
            self._assigned.require(self._supply.may_read())
            issued = self._issue_some(now)
            if not issued and not len(self._origin):
                self._leaving.finish()  # nothing else is to come; the end of a unit may have become known only now
            if self._event_time is not None:
                self._event_time.decide()
            self._ledger.flush()  # what is delivered from here on is recorded
            if self._event_time is not None:
                self._event_time.tell_all()
            if self._is_done():
                self._keep_what_was_learnt()
                if not self._is_retry and not self._is_left():
                    self._ledger.given.came_to_its_end()
                self._commit()
        except sqlite3.OperationalError as error:
            return self._trouble.met(f"positions: {error}", now)
        except Retryable as error:  # the source; what is open goes on, and may be what makes room
            wait_s = self._trouble.met(str(error), now)
            with contextlib.suppress(sqlite3.OperationalError):
                self._ledger.flush()
                self._deliver()
            return wait_s
        self._trouble.over(now)
        self._watch_the_silence(now)
        self._deliver()
        self._shown.show(now)
        if issued:
            return 0.0
        if self._is_done():
            self._finish()
            return None
        slot.phase("WAIT_CREDIT" if len(self._origin) else "IDLE")
        return self._wait(now)

    def drain(self, is_end: bool = False) -> None:
        """A signal: take no new input.

        What a source without end has accepted is loaded, if it is no more than a window; more of it, and what is left
        of a source with an end, stays for the next run.
        """
        self._trouble.give_up()
        if self._source.endless:
            self._source.stop()
            self._supply.reads = min(self._supply.reads, self._flow.window_batches)
        else:
            self._supply.give_up()

    def close(self) -> None:
        """Commit the last positions and close everything."""
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk: what is not committed is done again
            self._commit()
            self._ledger.close_file()
        self._source.close()

    def _stop(self, code: int, reason: str) -> None:
        """Give up: what is under way is not waited for, a later run resumes it."""
        self._supply.give_up()
        self._told = True
        self._post.tell(InputDone(True, code, reason))

    def _enough(self) -> None:
        """The application has asked for the end of the input: load what was accepted, and take no more."""
        if not self._finishing:
            self._finishing = True
            self._ledger.keep(FINISH, self._run)  # should this reader die, the next one need not be asked again
            self._source.stop()

    def _close_what_is_acked(self, now: float) -> None:
        for chunk, counts in self._origin.advance():
            if (age_s := self._ages.closed(chunk, now)) is not None:
                self._post.slot.took(age_s)
            if self._assigned.is_void(chunk.unit):
                continue
            self._ledger.close(chunk, counts)
            exceeded = self._errors.add(counts.get("dead_lettered", 0), counts.get("read", 0), now)
            if exceeded and not self._told:
                self._stop(OVER_BUDGET, exceeded)
            self._post.slot.batches += 1
            self._post.slot.records += counts.get("read", 0)

    def _close(self, now: float) -> None:
        self._close_what_is_acked(now)
        if now >= self._commit_at:
            self._leaving.finish()
            self._commit()
            self._commit_at = now + COMMIT_S

    def _go_on_from_before(self) -> None:
        """An earlier run or reader left something to put away; or this one is to finish."""
        if self._ledger.fact(FINISH) == self._run:
            self._enough()
        self._leaving.go_on_from_before()
        self._is_new = False

    def _issue_some(self, now: float) -> bool:
        """Issue a chunk, and further ones as long as they are small, or no worker has credit: they are recorded in one
        transaction."""
        is_idle = len(self._origin) and not self._origin.credit()
        size = some = self._issue(now)
        while some and size < (IDLE_TURN_BYTES if is_idle else TURN_BYTES):
            some = self._issue(now)
            size += some
        return size > 0

    def _issue(self, now: float) -> int:
        """Issue a chunk; return its bytes, at least 1, or 0 when there is none, or no room for it."""
        if (self._event_time is not None and self._event_time.looks()) or not self._origin.has_room():
            return 0
        # As long as windows have no anchor nothing is cut: how much is looked at for it must not depend on a clock.
        is_whole = self._event_time is not None and self._event_time.is_open
        self._origin.give_back_s = 0.0 if is_whole or not self._sizing.is_on else GIVE_BACK * self._flow.batch_s
        self._origin.takers.through_one = bool(self._checkers) and self._sizing.are_slow()
        idle = self._origin.takers.idle() or (not len(self._origin))  # nobody has come yet: one batch waits for them
        chunk = self._supply.next(self._origin.queued(), idle, self._workers(), is_whole)
        if chunk is None or self._assigned.is_gone(chunk.unit) or not self._may_follow(chunk):
            return 0
        if chunk.fault in (FILE_LOST, SOURCE_LOST):
            self._post.tell(Lost(chunk.source, chunk.start, chunk.end, chunk.fault))
        chunk, blame, late = self._ledger.issue(chunk)
        self._ages.issued(chunk, now)
        may_cut = not (chunk.fault or chunk.only or self._ledger.is_repeated(chunk))
        self._origin.issue(self._ledger.partition(chunk.unit), poison.given_up(chunk, blame), blame, late, may_cut)
        self._supply.was_issued()
        return max(1, len(chunk.data))

    def _workers(self) -> int:
        """How many work on batches at the same time."""
        return self._checkers or len(self._origin.takers.free) or 1

    def _again(self, sender: str, message: Again) -> bool:
        """A batch is to be cut, or needs more in its header: what is late, or an anchor, which there may not be yet."""
        if message.too_long is not None:
            return self._instead.of_too_long(sender, message, self._workers())
        if message.span is not None and self._event_time is not None and self._event_time.is_open:
            return self._event_time.answered(sender, message, message.span)
        found = self._origin.again(message.id, message.epoch, sender, message.late)
        if found is not None:
            self._ledger.issued.refused(*found)  # durable with the flush before the next delivery
        return found is not None

    def _may_follow(self, chunk: Chunk) -> bool:
        """Whether a chunk may be issued now, or has to wait until what was issued before it is closed."""
        partition = self._ledger.partition(chunk.unit)
        if not self._ledger.is_alone(chunk.unit):
            if partition != self._shared and self._origin.is_open(self._shared):
                return False  # order across partitions: the one before is finished first
            self._shared = partition
        if self._origin.tip(partition) in (None, chunk.start):
            return True
        if self._origin.is_open(partition):
            return False
        self._commit()  # positions were passed over; the origin forgets where it was
        return True

    def _take_note_of_the_roster(self) -> None:
        if self._epoch_due:
            self._commit()
            self._origin.new_epoch()
            self._epoch_due = False
        self._origin.roster = self._post.roster_version

    def _commit(self) -> None:
        self._ledger.commit()
        self._origin.committed()
        self._assigned.committed()

    def _keep_what_was_learnt(self) -> None:
        """For ``explain``: another run learns anew, for its functions may be others."""
        record_s, records = self._sizing.shown()
        if record_s and not self._told:
            self._ledger.keep(LEARNT, f"{record_s:.3g} {records}")

    def _watch_the_silence(self, now: float) -> None:
        """Deliver again, and ask for credit anew, when nothing has moved for long."""
        moved, self._moved = self._moved, False
        if self._silence.is_too_long(moved or not self._origin.is_waiting(), now):
            self._origin.deliver_again()
            for member in self._post.members.values():
                self._post.send(member.address, Hello(self._run))

    def _deliver(self) -> None:
        if self._fixed <= self._present.keys():
            for worker, header, data in self._origin.assign():
                if not self._post.send(worker, header, [data]):
                    self._origin.lost(worker)  # it is gone, and the roster will say so

    def _is_done(self) -> bool:
        return not self._supply.may_read() and not len(self._origin) and self._supply.is_empty()

    def _is_left(self) -> bool:
        """Whether there is work for another run. Units that have not ended are none, of a source without end."""
        is_open = self._source.endless or self._finishing
        return not self._source.exhausted or (not is_open and bool(self._ledger.taken_up()))

    def _finish(self) -> None:
        self._post.slot.phase("DRAINED")  # also when it is woken again while others come to their end
        if not self._told:
            self._told = True
            left = self._is_left()
            self._post.tell(InputDone(left, reason=ASKED if self._finishing and not left else ""))

    def _wait(self, now: float) -> float | None:
        pending = [self._commit_at - now] if self._ledger.has_changes() else []
        if self._origin.is_waiting():
            pending.append(self._silence.until - now)
        if self._supply.may_wait() and self._origin.has_room():
            if not self._supply.is_bounded() and not self._finishing:  # one that was stopped has closed its descriptor
                self.wake = self._source.wake
            if self.wake is None:
                pending.append(POLL_S)
            elif self._origin.active:
                pending.append(LOOK_S)
        return max(0.0, min(pending)) if pending else None
