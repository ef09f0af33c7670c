"""A run that publishes to a real RabbitMQ: kills of its writer, the supervisor and the server; alarms; mistakes."""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.runtime.errors import Retryable
from actors.sinks.rabbitmq import RabbitMQ
from tests import amqp
from tests.contract.test_monitor_panels import draw_over_two_runs
from tests.contract.test_rabbitmq_sink import bodies, payload
from tests.loads import Running, assert_counts_add_up
from tests.pipelines.published import KEYS
from tests.powercut.cuts import BAD_EVERY, write_numbers
from tests.rabbitmq import MEMORY
from tests.rabbitmq import RabbitMQ as Server

pytest.importorskip("pika")

FILES, LINES = 3, 1000
SMALL = ("flow.batch_bytes=200", "flow.window_batches=4", "restart.max_backoff_s=0.2", "restart.intensity=50",
         "budget.max_error_rate=0.5")


@pytest.fixture
def own(rabbitmq_to_kill: Server) -> Server:
    """A server that is killed, and that takes messages of 64 KiB at most."""
    return rabbitmq_to_kill


def start(folder: Path, topic: str, *words: str, output: str = "feed.out") -> Running:
    """The pipeline that publishes to a topic on the disk, with another sink in its place."""
    sets = (word for item in (*SMALL, f"source.pattern={folder}/data/*.txt", "sinks.words.type=rabbitmq",
                              f"sinks.words.topic={topic}") for word in ("--set", item))
    return Running(folder / "feed", "run", "tests.pipelines.published", "--format", "json", *sets, *words,
                   output=folder / output)


def expect_all(found: Sequence[amqp.Taken], files: int = FILES) -> None:
    """Nothing is missing, and what came again did so under its id."""
    by_id: dict[str, bytes] = {}
    for one in found:
        assert by_id.setdefault(one.id, one.body) == one.body, f"two messages under the id {one.id}"
    numbers = [number for number in range(files * LINES) if number % BAD_EVERY]
    assert sorted(int(body) for body in by_id.values()) == numbers
    last = {body: at for at, body in enumerate(bodies(found))}
    for key in range(KEYS):
        of = [number for number in numbers if number % KEYS == key]
        assert sorted(of, key=lambda number: last[b"%d" % number]) == of, f"key {key} is out of order"


def test_whoever_is_killed_nothing_is_missing_repeats_have_the_same_id_and_our_source_reads_each_once(
    tmp_path: Path, rabbitmq: Server
) -> None:
    write_numbers(tmp_path, FILES, LINES)
    queue, other = rabbitmq.new_name(), rabbitmq.new_name()
    amqp.declare(rabbitmq.url(), other)
    with amqp.channel(rabbitmq.url()) as channel:
        channel.exchange_declare(queue, "fanout", durable=True)
        channel.queue_bind(other, queue, "")
    topic = rabbitmq.url(f"?exchange={queue}&queue={queue}")
    fanout = ("--set", "sinks.words.exchange_type=fanout")
    with start(tmp_path, topic, *fanout) as feed:
        for name in ("writer.words", "reader.1", "writer.words", "parser.1", "writer.words"):
            feed.kill(name, 4)
        os.kill(feed.process.pid, signal.SIGKILL)
        feed.process.wait()
    with start(tmp_path, topic, *fanout, output="again.out") as feed:
        feed.kill("writer.words", 4)
        assert feed.wait() == 0, feed.output()
    found = amqp.take(rabbitmq.url(), queue)
    expect_all(found)
    assert_counts_add_up(tmp_path / "feed")
    with Running(tmp_path / "read", "run", "tests.pipelines.queued", "--once", *(word for item in (
            f'source.topics=["{rabbitmq.url(f"?queue={other}")}"]', "source.declare=false", "source.unique_ids=true",
            "options.bad_every=1000000") for word in ("--set", item))) as read:
        assert read.wait() == 0, read.output()
    lines = (tmp_path / "read" / "lined.log").read_text().splitlines()
    assert sorted(map(int, lines)) == sorted(int(body) for body in set(bodies(found)))


def test_a_server_that_is_killed_at_any_moment_is_waited_for_and_nothing_is_missing(
    tmp_path: Path, own: Server
) -> None:
    write_numbers(tmp_path, FILES, LINES)
    queue = own.new_name()
    at = random.Random(13).randrange(3, 25)
    with start(tmp_path, own.url(f"?exchange={queue}&queue={queue}&routing_key={{key}}"), "--set",
               "sinks.words.exchange_type=topic", "--set", "sinks.words.timeout_s=2", "--set",
               "flow.rate_hz=800") as feed:  # it goes on until the outage is over
        feed.until(lambda views: views["writer.words"].batches >= at, "more batches")
        own.until_kept(queue)
        own.kill()
        feed.until(lambda views: views["writer.words"].phase == "RETRY", "the outage")
        own.start()
        assert feed.wait() == 0, feed.output()
    assert {(event["actor"], event["max_outage_s"]) for event in feed.of("outage")} == {("writer.words", 0.0)}
    expect_all(amqp.take(own.url(), queue))
    assert_counts_add_up(tmp_path / "feed")


def test_an_alarm_of_the_server_is_an_outage_that_is_told_and_costs_no_repeat(own: Server) -> None:
    queue = own.new_name()
    of = RabbitMQ(topic=own.url(f"?queue={queue}"), window=50)
    items = [b"%d" % number for number in range(400)]
    with closing(of.open("out", Path())) as sink:
        sink.write([payload(of, items[:200])])
        own.limit_memory(1024 * 1024)
        try:
            amqp.eventually(lambda: "memory resource limit alarm set" in own.log(), "the alarm")
            for _ in range(3):
                with pytest.raises(Retryable, match=r"takes no messages \(.*memory.*\)"):
                    sink.write([payload(of, items[200:], 10)])
        finally:
            own.limit_memory(MEMORY)

        def is_written() -> bool:
            try:
                return sink.write([payload(of, items[200:], 10)]) == []
            except Retryable:
                return False

        amqp.eventually(is_written, "it takes messages again")
    assert bodies(amqp.take(own.url(), queue)) == items


def test_a_message_that_is_larger_than_the_server_takes_is_refused_alone(own: Server) -> None:
    queue = own.new_name()
    of = RabbitMQ(topic=own.url(f"?queue={queue}"))
    items = [b"%d" % number for number in range(30)]
    items[7] = items[20] = b"x" * 70_000
    with closing(of.open("out", Path())) as sink:
        refusals = sink.write([payload(of, items[:10]), payload(of, items[10:], 10)])
        assert [(one.payload, one.item, one.reason) for one in refusals] == [(0, 7, "too_large"), (1, 10, "too_large")]
        assert [one.value for one in of.unpack(refusals[0].raw)] == [items[7]]
        assert sink.write([payload(of, [b"more"], 50)]) == []
    found = amqp.take(own.url(), queue)
    small = [item for item in items if len(item) < 100]
    assert sorted({one.id: one.body for one in found}.values()) == sorted([*small, b"more"])


@pytest.mark.parametrize(("wrong", "says"), [
    ({"password": "secret"}, "refuses this user, or the password"), ({"vhost": "nowhere"}, "virtual host")])
def test_a_wrong_user_or_virtual_host_ends_the_run_with_code_78_and_no_password(
    tmp_path: Path, rabbitmq: Server, wrong: dict[str, Any], says: str
) -> None:
    write_numbers(tmp_path, 1, 10)
    with start(tmp_path, rabbitmq.url("?queue=q", **wrong)) as feed:
        assert feed.wait() == 78, feed.output()
    assert re.search(says, feed.output())
    assert "secret" not in feed.output()
    assert "Traceback" not in feed.output()


def test_closed_minutes_go_to_a_stream_and_are_drawn_from_it_over_two_runs(tmp_path: Path, rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    draw_over_two_runs(tmp_path, "sinks.top.type=rabbitmq", f"sinks.top.topic={rabbitmq.url(f'?queue={queue}')}",
                       "sinks.top.queue_type=stream", end=signal.SIGTERM)
