"""Which faults a run in one process meets. The same seed and numbers meet the same run with the same faults."""

from __future__ import annotations

import msgspec


class Faults(msgspec.Struct, frozen=True):
    """Faults to inject, at random moments.

    Numbers are of events, of which a short run may see fewer; rates are probabilities, 0 to 1.

    Attributes:
        seed: of everything random in the run, also of how messages overtake one another between pairs of actors.
        kills: how many times an actor is killed as by SIGKILL. What was on its way to it is lost, and of what it had
            sent to each other actor a random last part. Its next generation starts a little later.
        stops: how many times an actor stands still for a while, as by SIGSTOP.
        delays: how many times the link from one actor to another is held up for a while; order within it is kept.
        duplicates: rate at which a batch, part, acknowledgement or failure is delivered twice.
        drops: rate at which a message between two actors is lost though both of them live.
        outages: rate at which a write to a sink fails with ``Retryable``, half-way.

    Raises:
        ValueError: a number is negative, or a rate not within 0 and 1.

    Example::

        pipeline = Pipeline(name="upper", source=Files(pattern="*.log"), parse=bytes.upper, route=lambda record: "out",
                            sinks={"out": Lines()}, dead_letters=DeadLetters())

        whole = run_inline(pipeline, map(str, range(100)))
        killed = run_inline(pipeline, map(str, range(100)), faults=Faults(7, kills=5, drops=0.05))
        assert killed.written == whole.written
    """

    seed: int
    kills: int = 0
    stops: int = 0
    delays: int = 0
    duplicates: float = 0.0
    drops: float = 0.0
    outages: float = 0.0

    def __post_init__(self) -> None:
        for name in ("kills", "stops", "delays"):
            if getattr(self, name) < 0:
                raise ValueError(f"Faults.{name}: expected a number of 0 or more, got {getattr(self, name)!r}")
        for name in ("duplicates", "drops", "outages"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"Faults.{name}: expected a rate from 0 to below 1, got {getattr(self, name)!r}")
