"""What the supervision tree asks for: the answer to an event, carried out by the supervisor in this order."""

from __future__ import annotations

import msgspec

from actors.runtime.events import Event
from actors.runtime.messages import Message

#: The supervisor's word for an actor that is not part of the run.
ABSENT = "ABSENT"


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
