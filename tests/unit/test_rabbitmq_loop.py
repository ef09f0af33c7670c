"""The loop that is turned: it never waits by itself, and says when it wants a turn."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import closing

from actors.rabbitmq.loop import Loop


def test_a_turn_takes_what_is_there_and_waits_for_nothing() -> None:
    one, other = socket.socketpair()
    with one, other, closing(Loop()) as loop:
        one.setblocking(False)
        got: list[bytes] = []
        loop.add_handler(one.fileno(), lambda *_: got.append(one.recv(2)), loop.READ)
        loop.turn()
        assert got == []
        assert select.select([loop.fileno()], [], [], 0)[0] == []
        other.sendall(b"abcd")
        assert select.select([loop.fileno()], [], [], 60)[0]
        loop.turn()
        assert got == [b"ab", b"cd"]
        loop.update_handler(one.fileno(), loop.WRITE)
        assert select.select([loop.fileno()], [], [], 60)[0]
        loop.remove_handler(one.fileno())
        assert select.select([loop.fileno()], [], [], 0)[0] == []


def test_it_stops_when_it_is_enough_and_goes_on_in_the_next_turn() -> None:
    one, other = socket.socketpair()
    with one, other, closing(Loop()) as loop:
        got: list[bytes] = []
        loop.add_handler(one.fileno(), lambda *_: got.append(one.recv(1)), loop.READ)
        other.sendall(b"abc")
        loop.turn(is_enough=lambda: len(got) >= 2)
        assert got == [b"a", b"b"]
        loop.turn()
        assert got == [b"a", b"b", b"c"]


def test_a_peer_that_is_gone_is_told_to_whoever_reads_or_writes() -> None:
    for wanted in (Loop.READ, Loop.WRITE):
        one, other = socket.socketpair()
        with one, closing(Loop()) as loop:
            said: list[int] = []

            def handler(descriptor: int, events: int, said: list[int] = said, loop: Loop = loop) -> None:
                said.append(events)
                loop.remove_handler(descriptor)

            loop.add_handler(one.fileno(), handler, wanted)
            other.close()
            loop.turn(wait_s=60)
            assert said == [wanted]


def test_timers_are_called_when_they_are_due_unless_they_are_called_off() -> None:
    with closing(Loop()) as loop:
        called: list[str] = []
        loop.call_later(3600, lambda: called.append("late"))
        off = loop.call_later(0, lambda: called.append("off"))
        loop.call_later(0, lambda: called.append("now"))
        loop.remove_timeout(off)
        loop.turn()
        assert called == ["now"]
        at = loop.next_at()
        assert at is not None
        assert 3000 < at - time.monotonic() <= 3600


def test_another_thread_may_have_something_called_and_that_asks_for_a_turn() -> None:
    with closing(Loop()) as loop:
        called: list[int] = []
        thread = threading.Thread(target=lambda: loop.add_callback(lambda: called.append(threading.get_ident())))
        thread.start()
        thread.join()
        assert select.select([loop.fileno()], [], [], 60)[0]
        loop.turn()
        assert called == [threading.get_ident()]
        assert select.select([loop.fileno()], [], [], 0)[0] == []
