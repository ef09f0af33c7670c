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
from enum import Enum

import msgspec

from actors.runtime.events import (
    DONE,
    FAILED,
    RESUMABLE,
    ActorDied,
    Draining,
    Event,
    OutageBegan,
    OutageEnded,
    RunReady,
)
from actors.runtime.messages import Drain, Member, Message, Roster, Start, Stop
from actors.runtime.pipeline import RestartOptions, RunOptions
from actors.runtime.restart import Exit, Pool, RestartBudget, wants_restart
from actors.runtime.topology import ChildSpec


class Spawn(msgspec.Struct, frozen=True):
    """Start a process for this actor."""

    name: str
    generation: int


class Send(msgspec.Struct, frozen=True):
    """Send a message to an actor."""

    address: str
    message: Message


class Kill(msgspec.Struct, frozen=True):
    """Send a signal to an actor's process."""

    name: str
    signal: int


class Say(msgspec.Struct, frozen=True):
    """Write the supervisor's word about an actor on the board."""

    name: str
    state: str
    generation: int


class Emit(msgspec.Struct, frozen=True):
    """Tell the observer."""

    event: Event


class End(msgspec.Struct, frozen=True):
    """No process is left: the run is over."""

    code: int
    reason: str


Action = Spawn | Send | Kill | Say | Emit | End


class Mode(Enum):
    """Where the tree as a whole is."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    ENDED = "ended"


class _Child:
    """What the tree knows of one actor."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.generation = 0
        self.alive = False
        self.booted = False
        self.started = False  # was sent Start
        self.endpoint = ""
        self.since = 0  # the first roster of this generation
        self.ready_since: float | None = None
        self.ever_ready = False
        self.stopping = False  # was sent Stop, or killed on purpose
        self.due: float | None = None  # when it is to be spawned again
        self.deadline: float | None = None  # when it is killed, unless it is ready, or has ended, by then

    @property
    def address(self) -> str:
        return f"{self.spec.name}#{self.generation}"


class Tree:
    """The state machine.

    Args:
        specs: the actors, in the order of start.
        restart: intensities and delays.
        limits: how long outages, drain and stop may take.
        random_unit: source of jitter.
    """

    def __init__(
        self, specs: Sequence[ChildSpec], restart: RestartOptions, limits: RunOptions, random_unit: random.Random
    ) -> None:
        self.mode = Mode.STARTING
        self.code, self.reason = DONE, "all input is loaded"
        #: Sinks that are down: problem and since when, by writer.
        self.outages: dict[str, tuple[str, float]] = {}
        #: Those that were down when the run began to stop: what the report has to name.
        self.lasting_outages: dict[str, tuple[str, float]] = {}
        self._restart = restart
        self._limits = limits
        self._random = random_unit
        self._children = {spec.name: _Child(spec) for spec in specs}
        self._pools = {spec.pool: Pool(restart, random_unit) for spec in specs}
        self._budget = RestartBudget(restart.tree_intensity, restart.tree_period_s)
        self._began = 0.0
        self._drain_deadline: float | None = None
        self._version = 0

    # Events ---------------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> Iterator[Action]:
        """The run begins: spawn everyone."""
        self._began = now
        for child in self._children.values():
            yield from self._spawn(child, now)

    def booted(self, address: str, now: float) -> Iterator[Action]:
        """A process runs and waits for ``Start``."""
        child = self._by_address(address)
        if child is not None:
            child.booted = True
            if self.mode is Mode.STOPPING:
                yield from self._stop_layer(now)
            else:
                yield from self._release()

    def ready(self, address: str, endpoint: str, now: float) -> Iterator[Action]:
        """An actor is ready for work."""
        child = self._by_address(address)
        if child is None:
            return
        child.endpoint, child.ready_since, child.ever_ready, child.deadline = endpoint, now, True, None
        child.since = self._version + 1
        if self.mode is Mode.STOPPING:
            yield from self._stop_layer(now)
            return
        yield Say(child.spec.name, "READY", child.generation)
        yield from self._publish()
        yield from self._release()
        if self.mode is Mode.STARTING and all(other.ever_ready for other in self._children.values()):
            self.mode = Mode.RUNNING
            yield Emit(RunReady(len(self._children), now - self._began))
        if self.mode is Mode.DRAINING and child.spec.stage == "reader":
            yield Send(child.address, Drain())

    def exited(self, name: str, ended: Exit, phase: str, now: float) -> Iterator[Action]:
        """A process has ended."""
        child = self._children[name]
        ready_for = None if child.ready_since is None else now - child.ready_since
        commanded = child.stopping or self.mode is Mode.STOPPING
        was_on_roster = child.ready_since is not None
        child.alive = child.booted = child.started = child.stopping = False
        child.ready_since = child.deadline = None
        self.outages.pop(name, None)
        if self.mode is Mode.STOPPING:
            yield Say(name, "STOPPED", child.generation)
            yield from self._stop_layer(now)
            return
        if was_on_roster:
            yield from self._publish()
        if commanded:
            yield from self._spawn(child, now)
        elif wants_restart(child.spec.restart, ended):
            yield from self._crashed(child, ended, phase, ready_for, now)
        else:
            yield Say(name, "STOPPED", child.generation)
            yield from self._stop(FAILED, f"{name} ended ({ended.text()}) before its input did", now)

    def outage(self, address: str, problem: str, seconds: float, now: float) -> Iterator[Action]:
        """A sink cannot be used (``problem``), or works again (empty)."""
        child = self._by_address(address)
        if child is None:
            return
        name = child.spec.name
        if problem:
            _, since = self.outages.get(name, ("", now - seconds))
            if name not in self.outages:
                yield Emit(OutageBegan(name, problem, self._limits.max_outage_s))
            self.outages[name] = (problem, since)
        elif self.outages.pop(name, None) is not None:
            yield Emit(OutageEnded(name, seconds))

    def input_done(self, address: str, left: bool, now: float) -> Iterator[Action]:
        """The reader has nothing under way any more."""
        if self._by_address(address) is None or self.mode is Mode.STOPPING:
            return
        if left:
            yield from self._stop(RESUMABLE, self.reason, now)
        else:
            yield from self._stop(DONE, "all input is loaded", now)

    def signalled(self, name: str, now: float) -> Iterator[Action]:
        """SIGTERM or SIGINT: drain; a second time: stop at once."""
        if self.mode in (Mode.DRAINING, Mode.STOPPING):
            if self.mode is Mode.DRAINING:
                self.reason = f"{self.reason}, at once by a second signal ({name})"
            self.mode = Mode.STOPPING
            for child in self._children.values():
                if child.alive:
                    child.stopping = True
                    yield Kill(child.spec.name, signal.SIGKILL)
            yield from self._stop_layer(now)
            return
        self.reason = f"stopped by {name}"
        self.code = RESUMABLE
        yield Emit(Draining(f"{name}: finishing what is under way, for at most {self._limits.drain_s:g} s"))
        self.mode = Mode.DRAINING
        self._drain_deadline = now + self._limits.drain_s
        for child in self._children.values():
            if child.spec.stage == "reader" and child.ready_since is not None:
                yield Say(child.spec.name, "READY", child.generation)
                yield Send(child.address, Drain())

    def tick(self, now: float) -> Iterator[Action]:
        """Time has passed: whatever is due."""
        for child in self._children.values():
            if child.due is not None and child.due <= now:
                yield from self._spawn(child, now)
            if child.deadline is not None and child.deadline <= now and child.alive:
                child.deadline = None
                yield Kill(child.spec.name, signal.SIGKILL)
        if self.mode is Mode.STOPPING or self.mode is Mode.ENDED:
            return
        why = self._overdue(now)
        if why:
            yield from self._stop(RESUMABLE, why, now)

    def next_deadline(self) -> float | None:
        """When ``tick`` is wanted next."""
        times = [t for child in self._children.values() for t in (child.due, child.deadline) if t is not None]
        if self.mode is not Mode.STOPPING:
            times += [since + self._limits.max_outage_s for _, since in self.outages.values()]
            if self._drain_deadline is not None:
                times.append(self._drain_deadline)
        return min(times, default=None)

    def _overdue(self, now: float) -> str:
        """Why the run has to stop now, or nothing."""
        if self._drain_deadline is not None and self._drain_deadline <= now:
            return f"{self.reason}; not all was finished in {self._limits.drain_s:g} s"
        for name, (problem, since) in self.outages.items():
            if now - since >= self._limits.max_outage_s:
                return f"{name}: {problem}, for more than {self._limits.max_outage_s:g} s"
        return ""

    # Decisions ------------------------------------------------------------------------------------------------------

    def _by_address(self, address: str) -> _Child | None:
        """The living child of this address; what an old generation says is void."""
        child = self._children.get(address.rpartition("#")[0])
        return child if child is not None and child.alive and child.address == address else None

    def _spawn(self, child: _Child, now: float) -> Iterator[Action]:
        child.generation += 1
        child.alive, child.due = True, None
        child.deadline = now + self._restart.ready_s
        yield Say(child.spec.name, "STARTING", child.generation)
        yield Spawn(child.spec.name, child.generation)

    def _release(self) -> Iterator[Action]:
        waiting = [child.spec.layer for child in self._children.values() if not child.ever_ready]
        lowest = min(waiting, default=1 << 30)
        for child in self._children.values():
            if child.booted and not child.started and child.spec.layer <= lowest:
                child.started = True
                yield Send(child.address, Start())

    def _publish(self) -> Iterator[Action]:
        self._version += 1
        roster = Roster(self._version, tuple(
            Member(child.spec.name, child.generation, child.spec.stage, child.endpoint, child.spec.ordered,
                   child.since)
            for child in self._children.values() if child.ready_since is not None))
        for child in self._children.values():
            if child.ready_since is not None:
                yield Send(child.address, roster)

    def _crashed(
        self, child: _Child, ended: Exit, phase: str, ready_for: float | None, now: float
    ) -> Iterator[Action]:
        name = child.spec.name
        if ended.permanent:
            yield from self._give_up(child, ended, phase, f"{name} cannot run (its message is above)", now)
            return
        pool = self._pools[child.spec.pool]
        decision = pool.crashed(name, ready_for, now)
        if isinstance(decision, float):
            child.due = now + decision
            yield Say(name, "BACKOFF", child.generation)
            yield Emit(ActorDied(name, child.generation, ended.text(), phase, decision))
        elif ready_for is None or not self._budget.add(now):
            yield from self._give_up(child, ended, phase, decision, now)
        else:
            pool.restarted()
            child.due = now
            yield Emit(ActorDied(name, child.generation, ended.text(), phase, 0.0))
            for other in self._children.values():
                if other.spec.pool == child.spec.pool and other.alive:
                    other.stopping = True
                    yield Kill(other.spec.name, signal.SIGKILL)

    def _give_up(self, child: _Child, ended: Exit, phase: str, why: str, now: float) -> Iterator[Action]:
        yield Say(child.spec.name, "FATAL", child.generation)
        yield Emit(ActorDied(child.spec.name, child.generation, ended.text(), phase, None))
        yield from self._stop(FAILED, why, now)

    # Stopping -------------------------------------------------------------------------------------------------------

    def _stop(self, code: int, reason: str, now: float) -> Iterator[Action]:
        self.mode = Mode.STOPPING
        self.code, self.reason = code, reason
        self.lasting_outages = dict(self.outages)
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
        highest = 0 if self.code == DONE else max(child.spec.layer for child in living)
        for child in living:
            if child.spec.layer < highest or child.stopping:
                continue
            child.stopping = True
            child.deadline = now + self._limits.stop_s
            yield Say(child.spec.name, "DRAINING", child.generation)
            if child.booted:
                yield Send(child.address, Stop())
            else:  # it holds nothing and could not hear
                yield Kill(child.spec.name, signal.SIGKILL)
