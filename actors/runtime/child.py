"""What the supervision tree knows of one actor, and where it is as a whole."""

from __future__ import annotations

from enum import Enum

from actors.runtime.events import ActorDied, LastWords
from actors.runtime.health import Health
from actors.runtime.messages import Member
from actors.runtime.restart import Exit
from actors.runtime.sections import WatchOptions
from actors.runtime.topology import ChildSpec


class Mode(Enum):
    """Where the tree as a whole is."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    ENDED = "ended"


class Child:
    """One actor, over all its generations.

    Args:
        spec: who it is.
        watch: budgets of the hang detection.
    """

    def __init__(self, spec: ChildSpec, watch: WatchOptions) -> None:
        self.spec = spec
        self._watch = watch
        self.generation = 0
        self.ever_ready = False
        self.due: float | None = None  # when it is to be spawned again
        self.hangs = 0  # in a row, without a batch finished in between
        self.leaving = ""  # told to finish what it has: "replace" or "remove"
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.alive = False
        self.booted = False
        self.started = False  # was sent Start
        self.stopping = False  # was sent Stop, or killed on purpose
        self.drained = False  # has said that nothing is left to emit
        self.endpoint = ""
        self.since = 0  # the first roster of this generation
        self.spawned_at = 0.0
        self.ready_since: float | None = None
        self.deadline: float | None = None  # when it is killed, unless it is ready, or has ended, by then
        self.term_at: float | None = None  # when it is asked to go, before that
        self.rss_bytes = 0  # at the last look
        self.bare_bytes = 0  # the same when it was ready
        self.suspect = False
        self.hung = ""  # why it is being killed
        self.health = Health(self._watch)

    def adopt(self, watch: WatchOptions) -> None:
        """Go by other budgets, also for the generation that lives."""
        self._watch = watch
        self.health.adopt(watch)

    @property
    def name(self) -> str:
        """E.g. ``parser.1``."""
        return self.spec.name

    @property
    def address(self) -> str:
        """What this generation is called on the wire."""
        return f"{self.spec.name}#{self.generation}"

    @property
    def member(self) -> Member:
        """This generation, as it is on the roster."""
        spec = self.spec
        return Member(spec.name, self.generation, spec.stage, self.endpoint, spec.ordered, self.since)

    @property
    def is_up(self) -> bool:
        """Whether it is ready, and nobody has asked it to end."""
        return self.alive and self.ready_since is not None and not (self.stopping or self.hung)

    def spawned(self, now: float, ready_s: float) -> None:
        """A new generation begins."""
        self._begin_anew()
        self.generation += 1
        self.alive, self.due, self.spawned_at, self.deadline = True, None, now, now + ready_s

    def death(self, ended: Exit, last: LastWords, now: float) -> ActorDied:
        """How it died, as far as is known; whether it is started again is not, yet."""
        how, cause = ended.text(), "worker_died"
        if self.hung:
            how, cause = f"{self.hung}; {how}", "timeout"
        return ActorDied(self.name, self.generation, how, last.phase, None, cause, last.hand, last.stack,
                         last.rss_bytes, now - self.spawned_at)

    def ended(self) -> None:
        """Its process is gone."""
        self._begin_anew()
