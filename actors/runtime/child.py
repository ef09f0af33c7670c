"""What the supervision tree knows of one actor, and where it is as a whole."""

from __future__ import annotations

from enum import Enum

from actors.runtime.events import ActorDied, LastWords
from actors.runtime.health import Health
from actors.runtime.marks import CONSUMER, NO_MARK, Mark
from actors.runtime.messages import NOTHING, Member, Suspect
from actors.runtime.restart import Exit
from actors.runtime.sections import WatchOptions
from actors.runtime.topology import CONSUMERS, GIVERS, ChildSpec, is_emitted


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
        self.worn = ""  # why it is being replaced
        self.is_late = False  # it is being killed, for it was not ready in time
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

    def ready_for(self, last: LastWords, now: float) -> float | None:
        """Seconds that it was ready for until its end; None: it never was. Whoever has had work was, whether its word
        for that came before its death became known or not."""
        if self.ready_since is None:
            return 0.0 if last.batches or last.hand != NOTHING or last.near else None
        return now - self.ready_since

    def death(self, ended: Exit, last: LastWords, now: float) -> ActorDied:
        """How it died, as far as is known; whether it is started again is not, yet."""
        how, cause = ended.text(), "worker_died"
        if self.is_late:
            how = f"it was not ready in time (restart.ready_s); {how}"
        elif self.hung:
            how, cause = f"{self.hung}; {how}", "timeout"
        elif self.worn:
            how = f"{self.worn}, and it did not finish what it had; {how}"
        hand = last.hand if last.hand != NOTHING or not last.near else last.near[0]
        return ActorDied(self.name, self.generation, how, last.phase, None, cause, hand, last.stack,
                         last.rss_bytes, now - self.spawned_at)

    def accusation(self, ended: Exit, died: ActorDied, last: LastWords) -> Suspect | None:
        """What the origins are told of a death: with what in hand, or how soon after what, it died; None: nothing, for
        it died of nothing that one of them has sent. A consumer that says itself that it cannot go on (its server has
        lost what it had, say) has not died of a record."""
        partition, start, end = died.hand
        is_pooled = self.spec.stage in GIVERS
        is_consumer = self.spec.stage in CONSUMERS and not ended.is_told
        if not end or not (is_pooled or is_consumer) or is_emitted(partition):
            return None
        mark = last.mark if last.hand == died.hand else Mark(start, end, end)  # it was done, and nothing in hand
        return Suspect(*died.hand, died.cause, f"{died.actor}: {died.how}\n{died.stack}".strip(),
                       mark if start <= mark.since and mark.end <= end else NO_MARK,
                       self.spec.stage if is_pooled else CONSUMER, last.near if is_pooled else ())

    def ended(self) -> None:
        """Its process is gone."""
        self._begin_anew()
