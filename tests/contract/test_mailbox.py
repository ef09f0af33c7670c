"""Mailboxes over real sockets: what arrives, what is dropped, and who may listen."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from actors.runtime.errors import Fatal
from actors.runtime.mailbox import SUPERVISOR, ControlBox, Mailbox
from actors.runtime.messages import Ack, Booted, Credit, Hello, Start, encode

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
        received = []
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
