"""Mailboxes over real sockets: what arrives, what is dropped, and who may listen."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import zmq

from actors.runtime.actor import Actor, Post
from actors.runtime.board import create_board
from actors.runtime.errors import Fatal
from actors.runtime.mailbox import SUPERVISOR, ControlBox, Mailbox, Received
from actors.runtime.messages import (
    Ack,
    AnyMessage,
    Booted,
    Credit,
    Hello,
    Member,
    Message,
    Ready,
    Roster,
    Start,
    Stop,
    encode,
)
from actors.runtime.rundir import BOARD

WAIT_S = 5.0


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A directory with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="thresher-test-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def boxes(run_dir: Path) -> Iterator[tuple[ControlBox, Mailbox, Mailbox]]:
    """A supervisor, a producer and a consumer; the producer is connected to the consumer."""
    control = ControlBox(run_dir)
    producer, consumer = Mailbox("parser.1#1", run_dir), Mailbox("writer.a#1", run_dir)
    producer.connect("writer.a#1", consumer.bind())
    yield control, producer, consumer
    for box in (producer, consumer, control):
        box.close()


def test_messages_go_both_ways_with_the_senders_address(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    _, producer, consumer = boxes
    assert producer.send("writer.a#1", Hello("run"))
    assert consumer.receive(WAIT_S) == [("parser.1#1", Hello("run"), [])]
    assert consumer.send("parser.1#1", Credit(2))
    assert producer.receive(WAIT_S) == [("writer.a#1", Credit(2), [])]


def test_large_payloads_arrive_whole(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    _, producer, consumer = boxes
    payloads = [os.urandom(5_000_000), b"", os.urandom(70_000)]
    producer.send("writer.a#1", Hello("run"), payloads)
    ((_, _, frames),) = consumer.receive(WAIT_S)
    assert frames == payloads


def test_the_supervisor_hears_actors_and_answers_them(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    control, producer, _ = boxes
    producer.send(SUPERVISOR, Booted(7))
    received, fds = control.wait(WAIT_S)
    assert (received, fds) == ([("parser.1#1", Booted(7), [])], [])
    assert control.send("parser.1#1", Start())
    assert producer.receive(WAIT_S) == [(SUPERVISOR, Start(), [])]


def test_what_is_sent_to_nobody_is_said_to_be(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    control, producer, consumer = boxes
    assert not consumer.send("parser.9#1", Credit(1))
    assert not control.send("parser.1#2", Start())
    producer.disconnect("writer.a#1")
    assert not producer.send("writer.a#1", Hello("run"))


def test_garbage_is_counted_and_dropped_and_the_next_message_arrives(
    run_dir: Path, boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    _, producer, consumer = boxes
    garbage = [b"", b"x", b"\x02" + encode(Credit(1))[1:], encode(Credit(1))[:-1], b"\x01" + b"\xff" * 50,
               b"\x01" * (2 << 20), b"\x01\x92\xa6credit\xa3two", b"\x80\x04\x95cos\nsystem\n"]
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.identity = b"stranger#1"
        stranger.connect(f"ipc://{run_dir}/writer.a.1")
        for frame in garbage:
            stranger.send_multipart([frame])
        stranger.send_multipart([encode(Hello("after"))])
        received: list[Received] = []
        while not received:
            received = consumer.receive(WAIT_S)
    assert received == [("stranger#1", Hello("after"), [])]
    assert consumer.garbage == len(garbage)
    producer.send("writer.a#1", Ack("p", 0, 1, 1, {}))
    assert len(consumer.receive(WAIT_S)) == 1


def test_sockets_are_private_to_the_user(run_dir: Path, boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    sockets = [path for path in run_dir.iterdir() if stat.S_ISSOCK(path.stat().st_mode)]
    assert {path.name for path in sockets} == {"control", "writer.a.1"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in sockets} == {0o600}
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700


def test_a_path_too_long_for_a_socket_is_a_clear_error(run_dir: Path) -> None:
    deep = run_dir / ("x" * 100)
    deep.mkdir()
    with pytest.raises(Fatal, match="bytes, at most 107 are possible"):
        ControlBox(deep)


def test_messages_between_two_arrive_in_the_order_they_were_sent(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    _, producer, consumer = boxes
    for number in range(500):
        producer.send("writer.a#1", Credit(number), [b"x" * (number * 300)])
    heard: list[int] = []
    while len(heard) < 500:
        received = consumer.receive(WAIT_S)
        assert received
        heard += [message.batches for _, message, _ in received if isinstance(message, Credit)]
    assert heard == list(range(500))


def test_nothing_comes_from_a_consumer_that_was_disconnected(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    control, producer, consumer = boxes
    producer.send("writer.a#1", Hello("run"))
    producer.send(SUPERVISOR, Booted(1))
    assert consumer.receive(WAIT_S) and control.wait(WAIT_S)[0]
    consumer.send("parser.1#1", Credit(1))
    producer.disconnect("writer.a#1")
    producer.disconnect("writer.a#1")
    control.send("parser.1#1", Start())
    assert producer.receive(WAIT_S) == [(SUPERVISOR, Start(), [])]


def test_sending_to_someone_who_was_there_and_is_gone_is_said_to_fail(
    boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    control, producer, _ = boxes
    producer.send(SUPERVISOR, Booted(1))
    assert control.wait(WAIT_S)[0]
    producer.close()
    assert happens(lambda: not control.send("parser.1#1", Start()))


def test_a_sender_whose_name_is_not_text_is_heard_and_harms_nobody(
    run_dir: Path, boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    _, _, consumer = boxes
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.identity = b"\xff\xfe"
        stranger.connect(f"ipc://{run_dir}/writer.a.1")
        stranger.send_multipart([encode(Hello("x"))])
        ((sender, message, _),) = consumer.receive(WAIT_S)
    assert message == Hello("x")
    assert not consumer.send(sender, Credit(1))


def test_the_supervisor_wakes_up_for_a_descriptor(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    control, _, _ = boxes
    reader, writer = os.pipe()
    control.watch(reader)
    assert control.wait(0.0) == ([], [])
    os.close(writer)
    assert control.wait(WAIT_S) == ([], [reader])
    control.unwatch(reader)
    assert control.wait(0.0) == ([], [])
    os.close(reader)


def happens(condition: Callable[[], bool]) -> bool:
    """Look until something outside of this process's power is so, under a watchdog."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            return False
    return True


class Recorder:
    """A role that notes what it is told, and can be busy until several sockets have something to say."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, AnyMessage]] = []
        self.come: list[str] = []
        self.gone: list[str] = []
        self.busy: Callable[[], object] = lambda: None
        self.is_busy = threading.Event()

    def message(self, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        self.heard.append((sender, message))

    def roster(self, come: Sequence[Member], gone: Sequence[Member]) -> None:
        self.come += [member.address for member in come]
        self.gone += [member.address for member in gone]

    def work(self, now: float) -> float | None:
        if self.come:
            self.is_busy.set()
            self.busy()
        return None

    def drain(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def running(run_dir: Path) -> Iterator[tuple[ControlBox, Actor, Recorder, threading.Thread]]:
    """A real actor in a thread, with its supervisor's mailbox; it has booted."""
    create_board(run_dir / BOARD, ["reader.1"])
    control, recorder = ControlBox(run_dir), Recorder()
    actor = Actor("reader.1", 1, run_dir, ("parser",), "run")

    def role(post: Post) -> Recorder:
        return recorder

    thread = threading.Thread(target=actor.run, args=(1, role))
    thread.start()
    assert [message for _, message, _ in control.wait(WAIT_S)[0]] == [Booted(1)]
    yield control, actor, recorder, thread
    control.send("reader.1#1", Stop())
    thread.join(WAIT_S)
    control.close()
    assert not thread.is_alive()


def send_all(control: ControlBox, *messages: Message) -> None:
    for message in messages:
        assert control.send("reader.1#1", message)


def test_what_a_dead_actor_said_last_is_not_heard_after_its_death_is_known(
    run_dir: Path, running: tuple[ControlBox, Actor, Recorder, threading.Thread]
) -> None:
    control, actor, recorder, thread = running
    send_all(control, Start())
    assert isinstance(control.wait(WAIT_S)[0][0][1], Ready)
    parser = Mailbox("parser.1#1", run_dir)
    member = Member("parser.1", 1, "parser", parser.bind(), False)
    # While the reader is busy with one chunk, its worker gives credit, dies, and the roster says so.
    recorder.busy = lambda: happens(lambda: len(actor._mailbox._poller.poll(0)) == 2)
    send_all(control, Roster(1, (member,)))
    assert parser.receive(WAIT_S) == [("reader.1#1", Hello("run"), [])]
    assert recorder.is_busy.wait(WAIT_S)
    parser.send("reader.1#1", Credit(2))
    send_all(control, Roster(2, ()), Stop())
    thread.join(WAIT_S)
    parser.close()
    assert recorder.gone == ["parser.1#1"]
    assert recorder.heard == []


def test_an_actor_that_is_told_to_start_and_to_stop_at_once_does_not_miss_the_stop(
    running: tuple[ControlBox, Actor, Recorder, threading.Thread]
) -> None:
    control, _, _, thread = running
    send_all(control, Start(), Stop())
    thread.join(WAIT_S)
    assert not thread.is_alive()
