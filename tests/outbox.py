"""The post of a role that is tested alone: keeps what it sends."""

from __future__ import annotations

from collections.abc import Sequence

from actors.runtime.marks import Mark
from actors.runtime.messages import BatchId, Member, Message
from actors.runtime.tracing import OFF


class Slot:
    """A slot on no board.

    Attributes:
        now_in: the last phase.
        times: how long batches took.
    """

    def __init__(self) -> None:
        self.batches = self.records = self.bytes_done = self.bytes_total = self.open = 0
        self.queued = self.credit = 0
        self.waiting_since = self.record_s = self.down_since = 0.0
        self.batch_records = 0
        self.note = ""
        self.now_in = ""
        self.times: list[float] = []

    def phase(self, phase: str) -> None:
        """Enter a phase."""
        self.now_in = phase

    def take(self, batch: BatchId) -> None:
        """Have a batch in hand."""

    def mark(self, mark: Mark) -> None:
        """Have this of it in hand."""

    def took(self, *seconds: float) -> None:
        """Count how long batches took."""
        self.times += seconds


class Outbox:
    """A ``Post`` whose messages go nowhere.

    Args:
        name: of the actor.
        members: who is downstream.

    Attributes:
        sent: messages by address, in order.
        told: what the supervisor was told.
    """

    def __init__(self, name: str, *members: Member) -> None:
        self.address, self.generation = f"{name}#1", 1
        self.members = {member.name: member for member in members}
        self.roster_version = 1
        self.tracer = OFF
        self.slot = Slot()
        self.sent: list[tuple[str, Message]] = []
        self.told: list[Message] = []

    def send(self, address: str, message: Message, frames: Sequence[bytes] = ()) -> bool:
        """Keep it."""
        self.sent.append((address, message))
        return True

    def tell(self, message: Message) -> None:
        """Keep it."""
        self.told.append(message)
