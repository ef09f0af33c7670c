"""The supervision tree as a pure state machine: events and the time in, actions out. See docs/architecture.md.

    STARTING ──all ready──▶ RUNNING ──signal──▶ DRAINING ──input done──▶ STOPPING ──all ended──▶ ENDED
                               └──input done, gave up, outage too long──────▲

All processes are spawned at once, because importing takes longer than anything else, but each is told to *start* only
when everything downstream of it is ready. Stopping goes the other way, layer by layer from the source down. While the
tree drains, what dies is still restarted: work under way can only finish if its workers live. When the tree gives up
there is nobody to finish it, so it stops at once; what was under way is not acknowledged and a later run resumes it.

What does not work: a drain without a deadline (a sink that is down never answers); restarting from a SIGCHLD handler
(a child that dies at once then keeps the supervisor from hearing anything else).

Pure: no clock, no process, no socket.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator, Sequence

import msgspec

from actors.runtime import care
from actors.runtime.actions import ABSENT, Action, Emit, End, Kill, Say, Send, Spawn
from actors.runtime.child import Child, Mode
from actors.runtime.events import BAD_CONFIG, DONE, FAILED, RESUMABLE, ActorDied, Draining, LastWords, RunReady, Scaled
from actors.runtime.health import Sample
from actors.runtime.messages import Drain, Hold, Roster, Start, Stop, Suspect, Tap
from actors.runtime.outages import Outages
from actors.runtime.policy import Policy
from actors.runtime.restart import Exit, KnownSuspects, Pool, RestartBudget, wants_restart
from actors.runtime.topology import GIVERS, ChildSpec, free_members, is_emitted


class Tree:
    """The state machine.

    Args:
        specs: the actors, in the order of start.
        policy: the options.
        random_unit: source of jitter.
    """

    def __init__(self, specs: Sequence[ChildSpec], policy: Policy, random_unit: random.Random) -> None:
        self.mode = Mode.STARTING
        self.code, self.reason = DONE, "all input is loaded"
        #: Problems of the sinks that were down when the run began to stop, by writer: what the report has to name.
        self.lasting_outages: dict[str, str] = {}
        self._outages = Outages()
        self._policy = policy
        self._children = {spec.name: Child(spec, policy.watch) for spec in specs}
        self._pools = {spec.pool: Pool(policy.restart, random_unit) for spec in specs}
        self._budget = RestartBudget(policy.restart.tree_intensity, policy.restart.tree_period_s)
        self._suspects = KnownSuspects()
        self._gone: dict[str, int] = {}  # the last generation of those who were removed: no name is used twice
        self._began = 0.0
        self._end: tuple[int, str] | None = None  # how the run ends, once the reader has nothing under way
        self._is_end = False  # of the input, too
        self._drain_deadline: float | None = None
        self._version = 0

    def begin(self, now: float) -> Iterator[Action]:
        """The run begins: spawn everyone."""
        self._began = now
        for child in self._children.values():
            yield from self._spawn(child, now)

    def booted(self, address: str, now: float) -> Iterator[Action]:
        """A process runs and waits for ``Start``."""
        child = self._by_address(address)
        if child is not None:
            child.booted, child.deadline = True, None  # it may have to wait for others
            if self.mode is Mode.STOPPING:
                yield from self._stop_layer(now)
            else:
                yield from self._release(now)

    def ready(self, address: str, endpoint: str, now: float, bare_bytes: int = 0) -> Iterator[Action]:
        """An actor is ready for work, and has so much memory before any."""
        child = self._by_address(address)
        if child is None:
            return
        child.endpoint, child.ready_since, child.ever_ready, child.bare_bytes = endpoint, now, True, bare_bytes
        self._pools[child.spec.pool].ready(child.name)
        if not child.stopping:  # else the deadline is that of its end
            child.deadline = None
        child.since = self._version + 1  # the one that is published below
        if self.mode is Mode.STOPPING:
            yield from self._stop_layer(now)
            return
        if problem := care.too_little([child], self._policy.recycle):
            yield from self._stop(BAD_CONFIG, problem, now)
            return
        yield Say(child.name, "READY", child.generation)
        if child.spec.vital:
            yield from self._publish()
        yield from self._release(now)
        vital = [other for other in self._children.values() if other.spec.vital]
        if self.mode is Mode.STARTING and all(other.ever_ready for other in vital):
            self.mode = Mode.RUNNING
            yield Emit(RunReady(len(vital), now - self._began))
        for other in self._children.values():  # it knows nothing of who is to be spared
            if (other.suspect or other.leaving) and child.spec.stage in GIVERS.get(other.spec.stage, ()):
                yield Send(child.address, Hold(other.address, True))
        if self.mode is Mode.DRAINING and child.spec.stage == "reader":
            yield Send(child.address, Drain())
        if self._end is not None and child.spec.emits:
            yield from self._finish(now)

    def exited(self, name: str, ended: Exit, last: LastWords, now: float) -> Iterator[Action]:
        """A process has ended."""
        child = self._children[name]
        ready_for = child.ready_for(last, now)
        commanded = child.stopping or self.mode is Mode.STOPPING
        died = child.death(ended, last, now)
        child.ended()
        self._outages.forget(name)
        if self.mode is Mode.STOPPING:
            yield Say(name, "STOPPED", child.generation)
            yield from self._stop_layer(now)
            return
        suspect = None if commanded else child.accusation(ended, died, last)
        if suspect is not None:
            yield from self._accuse(suspect)
        if ready_for is not None and child.spec.vital:
            yield from self._publish()
        if child.leaving == "remove":
            yield from self._forgotten(child, now)
        elif commanded or child.leaving:
            child.leaving = ""
            yield from self._spawn(child, now)
        elif wants_restart(child.spec.restart, ended):
            yield from self._crashed(child, ended, died, ready_for, last, suspect, now)
        else:
            yield Say(name, "STOPPED", child.generation)
            yield from self._stop(FAILED, f"{name} ended ({ended.text()}) before its input did", now)

    def outage(self, address: str, problem: str, seconds: float, now: float) -> Iterator[Action]:
        """A sink cannot be used (``problem``), or works again (empty)."""
        child = self._by_address(address)
        if child is not None:
            max_s = self._policy.limits.longest_outage_s()
            if child.ready_since is None and not child.stopping:  # what it opens is waited for, for no longer than that
                child.deadline = None if problem else now + self._policy.restart.ready_s
            yield from map(Emit, self._outages.heard(child.name, problem, seconds, max_s, now))

    def drained(self, address: str, now: float) -> Iterator[Action]:
        """A worker that was asked to leave has nothing in its hands any more; or a shard or a writer is at its end."""
        child = self._by_address(address)
        if child is None or child.stopping:
            return
        if child.leaving:
            child.stopping = True
            child.deadline = now + self._policy.limits.stop_s
            yield Send(child.address, Stop())
        elif self._end is not None:
            child.drained = True
            yield from self._finish(now)

    def observed(self, name: str, generation: int, sample: Sample, rss_bytes: int, now: float) -> Iterator[Action]:
        """An actor was looked at: what its slot and the kernel say of it."""
        child = self._children.get(name)
        if child is None or child.generation != generation or not child.is_up or self.mode is Mode.STOPPING:
            return
        givers = self._givers(child)
        yield from care.observed(child, sample, self._policy.watch.term_s, givers, now)
        child.rss_bytes = rss_bytes
        members = [other for other in self._children.values() if other.spec.pool == child.spec.pool]
        options = self._policy.recycle.get(child.spec.pool)
        yield from care.recycle(members, options, self._policy.limits.drain_s, givers, now)

    def scale(self, pool: str, workers: int, now: float) -> Iterator[Action]:
        """So many workers are wanted in a pool: start new ones, or let the last ones finish and go."""
        members = sorted((child for child in self._children.values() if child.spec.pool == pool),
                         key=lambda child: int(child.name.partition(".")[2]))
        staying = [child for child in members if child.leaving != "remove"]
        if self.mode not in (Mode.STARTING, Mode.RUNNING) or not staying or workers == len(staying):
            return
        yield Emit(Scaled(pool, len(staying), workers))
        for child in staying[workers:]:
            if child.is_up:
                yield from care.retire(child, "remove", self._policy.limits.drain_s, self._givers(child), now)
            else:  # it holds nothing
                child.leaving, child.stopping = "remove", True
                yield from [Kill(child.name, signal.SIGKILL)] if child.alive else self._forgotten(child, now)
        for name in free_members(pool, self._children, workers - len(staying)):
            spec = msgspec.structs.replace(staying[0].spec, name=name)
            child = self._children[name] = Child(spec, self._policy.watch)
            child.generation = self._gone.get(name, 0)
            yield from self._spawn(child, now)

    def tap(self, path: str, seconds: float) -> Iterator[Action]:
        """Somebody wants to see some records: the parsers show them."""
        for child in self._children.values():
            if child.spec.stage == "parser" and child.is_up:
                yield Send(child.address, Tap(path, seconds))

    def adopt(self, policy: Policy) -> None:
        """Go by another policy from here on; what has been counted stays counted. ConfigError: no worker could."""
        care.require_room(self._children.values(), policy.recycle)
        self._policy = policy
        self._budget.adopt(policy.restart.tree_intensity, policy.restart.tree_period_s)
        for pool in self._pools.values():
            pool.adopt(policy.restart)
        for child in self._children.values():
            child.adopt(policy.watch)

    def input_done(self, address: str, left: bool, now: float, code: int = DONE, reason: str = "") -> Iterator[Action]:
        """The reader has nothing under way any more; or, with a code and a reason, gives up."""
        if self._by_address(address) is None or self.mode is Mode.STOPPING:
            return
        self._end = (RESUMABLE, self.reason) if left else (DONE, reason or self.reason)
        self._is_end = not left and (bool(reason) or self.mode is not Mode.DRAINING)
        yield from self._stop(code, reason, now) if code else self._finish(now)

    def signalled(self, name: str, now: float) -> Iterator[Action]:
        """SIGTERM or SIGINT: drain; a second time: stop at once."""
        if self.mode in (Mode.DRAINING, Mode.STOPPING):
            if self.mode is Mode.DRAINING:
                self.reason = f"{self.reason}, at once by a second signal ({name})"
            self.mode = Mode.STOPPING
            for child in self._children.values():
                if child.alive:
                    child.stopping = True
                    yield Kill(child.name, signal.SIGKILL)
            yield from self._stop_layer(now)
            return
        self.code, self.reason = RESUMABLE, f"stopped by {name}"
        yield Emit(Draining(f"{name}: finishing what is under way, for at most {self._policy.limits.drain_s:g} s"))
        self.mode = Mode.DRAINING
        self._drain_deadline = now + self._policy.limits.drain_s
        for child in self._children.values():
            if child.spec.stage == "reader" and child.ready_since is not None:
                yield Say(child.name, "READY", child.generation)
                yield Send(child.address, Drain())

    def tick(self, now: float) -> Iterator[Action]:
        """Time has passed: whatever is due."""
        for child in self._children.values():
            if child.due is not None and child.due <= now:
                yield from self._spawn(child, now)
            yield from care.overdue(child, now)
        why = "" if self.mode in (Mode.STOPPING, Mode.ENDED) else self._overdue(now)
        if why:
            yield from self._stop(RESUMABLE, why, now)

    def next_deadline(self) -> float | None:
        """When ``tick`` is wanted next."""
        times = [t for child in self._children.values() for t in (child.due, child.term_at, child.deadline)
                 if t is not None]
        if self.mode is not Mode.STOPPING:
            times += self._outages.ends(self._policy.limits.longest_outage_s())
            if self._drain_deadline is not None:
                times.append(self._drain_deadline)
        return min(times, default=None)

    def _overdue(self, now: float) -> str:
        """Why the run has to stop now, or nothing."""
        if self._drain_deadline is not None and self._drain_deadline <= now:
            return f"{self.reason}; not all was finished in {self._policy.limits.drain_s:g} s"
        return self._outages.overdue(self._policy.limits.longest_outage_s(), now)

    def _by_address(self, address: str) -> Child | None:
        """The living child of this address; what an old generation says is void."""
        child = self._children.get(address.rpartition("#")[0])
        return child if child is not None and child.alive and child.address == address else None

    def _givers(self, child: Child) -> list[str]:
        """The addresses of those who give work to this actor on credit."""
        stages = GIVERS.get(child.spec.stage, ())
        return [other.address for other in self._children.values() if other.is_up and other.spec.stage in stages]

    def _forgotten(self, child: Child, now: float) -> Iterator[Action]:
        self._gone[child.name] = child.generation  # an address is never used twice
        del self._children[child.name]
        yield Say(child.name, ABSENT, 0)
        yield from self._release(now)  # others may have waited for it

    def _accuse(self, suspect: Suspect) -> Iterator[Action]:
        """Tell the origins with what in hand somebody died; they hear of it before they hear of the death."""
        for other in self._children.values():
            if other.spec.stage == "reader" and other.is_up:
                yield Send(other.address, suspect)

    def _spawn(self, child: Child, now: float) -> Iterator[Action]:
        child.spawned(now, self._policy.restart.ready_s)
        yield Say(child.name, "STARTING", child.generation)
        yield Spawn(child.name, child.generation)

    def _release(self, now: float) -> Iterator[Action]:
        waiting = [child.spec.layer for child in self._children.values() if child.spec.vital and not child.ever_ready]
        lowest = min(waiting, default=1 << 30)
        for child in self._children.values():
            if child.booted and not child.started and child.spec.layer <= lowest:
                child.started, child.deadline = True, now + self._policy.restart.ready_s
                yield Send(child.address, Start())

    def _publish(self) -> Iterator[Action]:
        self._version += 1
        ready = [child for child in self._children.values() if child.ready_since is not None and child.spec.vital]
        roster = Roster(self._version, tuple(child.member for child in ready))
        for child in ready:
            yield Send(child.address, roster)

    def _crashed(self, child: Child, ended: Exit, died: ActorDied, ready_for: float | None, last: LastWords,
                 suspect: Suspect | None, now: float) -> Iterator[Action]:
        name = child.name
        if not child.spec.vital:
            yield from self._missed(child, ended, died, ready_for, now)
            return
        if ended.permanent:
            why = died.stack or f"{name} cannot run (its message is above)"
            yield from self._give_up(died, why, now, ended.run_code)
            return
        if died.cause == "timeout" and suspect is None and not is_emitted(died.hand[0]):  # else the shard counts
            child.hangs = 1 if last.batches else child.hangs + 1
            if child.hangs >= self._policy.restart.boot_failures:
                yield from self._give_up(died, f"{name} hung {child.hangs} times in a row: {died.how}", now)
                return
        pool = self._pools[child.spec.pool]
        # A batch is charged to its pool once. How often its parts may kill is the origin's business, and bounded.
        hand = died.hand if child.spec.stage in GIVERS else last.hand
        is_known = suspect is not None and self._suspects.add(hand, suspect.near)
        decision = 0.0 if is_known else pool.crashed(name, ready_for, now)
        if isinstance(decision, float):
            child.due = now + decision
            yield Say(name, "BACKOFF", child.generation)
            yield Emit(msgspec.structs.replace(died, restart_s=decision))
        elif ready_for is None or not self._budget.add(now):
            yield from self._give_up(died, f"{decision}; the last: {died.how}", now)
        else:
            pool.restarted()
            child.due = now
            yield Emit(msgspec.structs.replace(died, restart_s=0.0))
            for other in self._children.values():
                if other.spec.pool == child.spec.pool and other.alive:
                    other.stopping = True
                    yield Kill(other.name, signal.SIGKILL)

    def _missed(
        self, child: Child, ended: Exit, died: ActorDied, ready_for: float | None, now: float
    ) -> Iterator[Action]:
        """One died that nobody waits for: start it again, ever more slowly; or not, when that cannot help."""
        delay = None if ended.permanent else self._pools[child.spec.pool].crashed(child.name, ready_for, now)
        if isinstance(delay, str):  # its budget is used up: so be it
            delay = self._policy.restart.max_backoff_s
        child.due = None if delay is None else now + delay
        yield Say(child.name, "FATAL" if delay is None else "BACKOFF", child.generation)
        yield Emit(msgspec.structs.replace(died, restart_s=delay))

    def _give_up(self, died: ActorDied, why: str, now: float, code: int = FAILED) -> Iterator[Action]:
        yield Say(died.actor, "FATAL", died.generation)
        yield Emit(died)
        yield from self._stop(code, why, now)

    def _finish(self, now: float) -> Iterator[Action]:
        """The reader has nothing under way: when the shards, and then the writers, have come to their end, stop."""
        assert self._end is not None
        left = [child for child in self._children.values() if child.spec.emits and not child.drained]
        yield from care.finish(left, self._is_end)
        if not left:
            yield from self._stop(*self._end, now)

    def _stop(self, code: int, reason: str, now: float) -> Iterator[Action]:
        self.mode = Mode.STOPPING
        self.code, self.reason = code, reason
        self.lasting_outages = self._outages.problems()
        self._drain_deadline = None
        yield from self._stop_layer(now)

    def _stop_layer(self, now: float) -> Iterator[Action]:
        """Ask the highest layer that still lives to stop; when none does, the run has ended."""
        living = [child for child in self._children.values() if child.alive]
        for child in self._children.values():
            child.due = None
        if not living:
            if self.mode is not Mode.ENDED:
                self.mode = Mode.ENDED
                yield End(self.code, self.reason)
            return
        # When everything is acknowledged nobody waits for anybody, and all may go at once.
        highest = -1 if self.code == DONE else max(child.spec.layer for child in living)
        for child in living:
            if child.spec.layer < highest or child.stopping:
                continue
            child.stopping = True
            child.deadline = now + self._policy.limits.stop_s
            yield Say(child.name, "DRAINING", child.generation)
            if child.booted:
                yield Send(child.address, Stop())
            else:  # it holds nothing and could not hear
                yield Kill(child.name, signal.SIGKILL)
