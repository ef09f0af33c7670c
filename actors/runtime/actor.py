"""The process loop of an actor: one thread, one poll, a role that does the work.

    boot ──Booted──▶ (wait for Start) ──open role, bind──▶ Ready ──▶ receive, dispatch, work ──Stop──▶ close, exit 0

The loop owns the sockets; the role never blocks in them. A role's ``work`` does one piece (one batch, one write) and
says when it wants to be called again: at once (0), after some seconds, or when a message comes (None).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from actors.runtime.board import Slot
from actors.runtime.copies import end_copy
from actors.runtime.errors import NotYet
from actors.runtime.links import Links
from actors.runtime.mailbox import IPC, SUPERVISOR, Mailbox
from actors.runtime.marks import Mark
from actors.runtime.membership import Membership
from actors.runtime.messages import (
    AnyMessage,
    BatchId,
    Booted,
    Drain,
    Hello,
    Hold,
    Member,
    Message,
    Ready,
    Roster,
    Start,
    Stop,
    Suspect,
    Tap,
)
from actors.runtime.progress import listen
from actors.runtime.rundir import BOARD
from actors.runtime.tracing import OFF, Tracer


class SlotView(Protocol):
    """What a role writes on the board about itself."""

    batches: int
    records: int
    bytes_done: int
    bytes_total: int
    open: int
    note: str
    down_since: float
    queued: int
    credit: int
    waiting_since: float
    record_s: float
    batch_records: int

    def take(self, batch: BatchId) -> None:
        """Have a batch in hand, or ``NOTHING``: what is in hand at a death is suspect."""
        ...

    def mark(self, mark: Mark) -> None:
        """Have this of the batch in hand."""
        ...

    def took(self, *seconds: float) -> None:
        """Count how long batches took, each."""
        ...

    def phase(self, phase: str) -> None:
        """Enter a phase."""
        ...


class Post(Protocol):
    """What a role may do to the world: send, and write its slot."""

    #: ``name#generation`` of this actor.
    address: str
    generation: int
    #: The ready actors of the stages downstream, by name.
    members: dict[str, Member]
    #: Version of the last roster.
    roster_version: int
    #: Whom the spans of traced batches are told to.
    tracer: Tracer

    @property
    def slot(self) -> SlotView:
        """This actor's slot on the board."""
        ...

    def send(self, address: str, message: Message, frames: Sequence[bytes] = ()) -> bool:
        """Send to an address; False when it is not there (any more), which needs no answer."""
        ...

    def tell(self, message: Message) -> None:
        """Send to the supervisor."""
        ...


class Role(Protocol):
    """What an actor does. Built when everything downstream is ready; who builds it raises ``NotYet`` as long as what
    it works on cannot be opened."""

    #: A descriptor, or None. The role is called again as well when that can be read.
    wake: int | None = None

    def message(self, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        """A message from a producer or a consumer."""
        ...

    def roster(self, come: Sequence[Member], gone: Sequence[Member]) -> None:
        """Actors have become ready, or have died, anywhere. ``post.members`` (downstream) is already up to date."""
        ...

    def work(self, now: float) -> float | None:
        """Do one piece of work; return the seconds until the next one, None if only a message can bring it."""
        ...

    def drain(self, is_end: bool = False) -> None:
        """Take no new input. ``is_end``: there will never be more."""
        ...

    def close(self) -> None:
        """Give the resources back."""
        ...


class Box(Protocol):
    """What brings an actor its messages and takes away what it sends: ``mailbox.Mailbox`` is one, over sockets."""

    #: Messages of nobody who could be known, and of those who are no part of the run; so many of each.
    garbage: int
    refused: int

    def bind(self) -> str:
        """Be there for producers from here on; return where."""
        ...

    def connect(self, address: str, endpoint: str) -> None:
        """Reach an actor there."""
        ...

    def disconnect(self, address: str) -> None:
        """It is dead."""
        ...

    def send(self, address: str, message: Message, frames: Sequence[bytes] = ()) -> bool:
        """Send at once; False when it is not there."""
        ...

    def post(self, address: str, message: Message, frames: Sequence[bytes] = ()) -> bool:
        """Send by the next ``flush``; False when it is known not to be there."""
        ...

    def flush(self) -> None:
        """Send what was posted."""
        ...

    def receive(self, timeout_s: float | None, wake: int | None = None) -> list[tuple[str, AnyMessage, list[bytes]]]:
        """Return the messages that have come: (sender, message, payload frames); wait for the first so many seconds."""
        ...

    def close(self) -> None:
        """Send and take nothing more."""
        ...


class Actor:
    """One actor's process, and the ``Post`` of its role.

    Args:
        name: e.g. ``parser.1``.
        generation: how many times an actor of this name was started.
        run_dir: the run directory.
        downstream: the stages that it sends to.
        run: identity of the run.
        links: how other actors are reached.
        mailbox: what brings messages to it and takes them away; None: one of its own, over sockets.
    """

    def __init__(self, name: str, generation: int, run_dir: Path, downstream: tuple[str, ...], run: str,
                 links: Links = IPC, mailbox: Box | None = None) -> None:
        self.address = f"{name}#{generation}"
        self.generation = generation
        self.members: dict[str, Member] = {}
        self.roster_version = 0
        self.tracer: Tracer = OFF
        self._slot = Slot(run_dir / BOARD, name, generation)
        self._downstream = downstream
        self._run = run
        self._membership = Membership()
        self._mailbox: Box = Mailbox(self.address, run_dir, links) if mailbox is None else mailbox
        self._role: Role | None = None
        self._stopping = False

    @property
    def slot(self) -> SlotView:
        """This actor's slot on the board."""
        return self._slot

    def send(self, address: str, message: Message, frames: Sequence[bytes] = ()) -> bool:
        """Send to an address, with the rest of this turn; False when it is known not to be there (any more)."""
        return self._mailbox.post(address, message, frames)

    def tell(self, message: Message) -> None:
        """Send to the supervisor."""
        self._mailbox.send(SUPERVISOR, message)

    def run(self, pid: int, make_role: Callable[[Post], Role]) -> int:
        """Boot, wait for the start, work until told to stop; return the exit code."""
        self._slot.start_heartbeat()
        self.listen()
        self.tell(Booted(pid))
        if not self.begin(make_role):
            self._mailbox.close()
            return 0
        wait: float | None = 0.0
        while not self.is_stopping:
            wait = self.turn(wait)
        self.end()
        return 0

    def listen(self) -> None:
        """Take the signs of progress of this process for its own."""
        listen(self._slot)

    def begin(self, make_role: Callable[[Post], Role]) -> bool:
        """Wait for the start and open the role; False: it was told to stop before it had one."""
        while not self._starts():
            pass
        self._role = self._made(make_role)
        if self._role is not None:
            self.tell(Ready(self._mailbox.bind()))
            self.slot.phase("IDLE")
        return self._role is not None

    def turn(self, wait: float | None) -> float | None:
        """Take the messages that come within so many seconds (None: the first that comes), and do a piece of work;
        return how long the next turn may wait for messages."""
        role = self._role
        assert role is not None
        received = self._mailbox.receive(wait, role.wake)
        try:
            for sender, message, frames in received:
                self._dispatch(role, sender, message, frames)
            self._slot.garbage, self._slot.refused = self._mailbox.garbage, self._mailbox.refused
            wait = role.work(time.monotonic())
        finally:
            end_copy()
        self._mailbox.flush()
        return wait

    def end(self) -> None:
        """Give back what it has; it is not called again."""
        if self._role is not None:
            self._role.close()
        self.slot.phase("DRAINED")
        self._mailbox.close()

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping

    @property
    def wake(self) -> int | None:
        """What its role waits for besides messages: see ``Role.wake``."""
        return None if self._role is None else self._role.wake

    def _starts(self) -> bool:
        started = False
        for _, message, _ in self._mailbox.receive(None):
            self._stopping = self._stopping or isinstance(message, Stop)  # both can be there at once
            started = started or isinstance(message, Start | Stop)
        return started

    def _made(self, make_role: Callable[[Post], Role]) -> Role | None:
        """The role, as soon as what it works on can be opened; None when it is told to stop before."""
        while not self._stopping:
            try:
                return make_role(self)
            except NotYet as error:
                self._stopping = any(isinstance(message, Stop)
                                     for _, message, _ in self._mailbox.receive(error.wait_s))
        return None

    def _dispatch(self, role: Role, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        if sender != SUPERVISOR:
            if not self._membership.is_dead(sender):
                role.message(sender, message, frames)
        elif isinstance(message, Roster):
            self._meet(role, message)
        elif isinstance(message, Drain):
            role.drain(message.end)
        elif isinstance(message, Hold | Suspect | Tap):
            role.message(sender, message, frames)
        elif isinstance(message, Stop):
            self._stopping = True

    def _meet(self, role: Role, roster: Roster) -> None:
        come, gone = self._membership.meet(roster)
        self.roster_version = roster.version
        for member in gone:
            self._mailbox.disconnect(member.address)
            if self.members.get(member.name) == member:
                del self.members[member.name]
        for member in come:
            if member.stage not in self._downstream:
                continue
            self._mailbox.connect(member.address, member.endpoint)
            self._mailbox.send(member.address, Hello(self._run))
            self.members[member.name] = member
        role.roster(come, gone)
