"""What is looked at behind a trial: what its process cannot do without, and nothing that comes and goes by itself."""

from __future__ import annotations

import os
import select
import socket

import pytest

from actors.runtime.examine import Descriptors
from tests.outbox import Slot


class Ended(Exception):
    """The process would have ended."""


def test_only_a_descriptor_that_nobody_closes_by_himself_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def end() -> None:
        raise Ended

    monkeypatch.setattr(os, "abort", end)
    slot, waiter = Slot(), select.epoll()
    near, far = socket.socketpair()
    signal, file = os.eventfd(0), open(os.devnull, "rb")  # noqa: SIM115
    descriptors = Descriptors(slot)
    descriptors.look()
    near.close()
    far.close()
    os.close(signal)
    file.close()
    descriptors.look()
    assert not slot.note
    number = waiter.fileno()
    waiter.close()
    with pytest.raises(Ended):
        descriptors.look()
    assert str(number) in slot.note
