"""Runs that read queues of a real RabbitMQ, while actors, both ends and the server itself are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from actors.runtime.framing import unwrap
from actors.runtime.lag import read_lag
from actors.runtime.rundir import path_for
from actors.sinks.dead_letters import StoredLetter, read_letters
from tests.loads import Running, assert_counts_add_up
from tests.pipelines.queued import BAD_EVERY
from tests.queues import channel, consumers_of, declare, eventually, publish, take_all, waiting_in
from tests.rabbitmq import RabbitMQ as Server

pytest.importorskip("pika")
SMALL = ("flow.batch_bytes=2000", "flow.window_batches=8", "restart.max_backoff_s=0.2", "restart.intensity=100",
         "restart.tree_intensity=100", "budget.max_error_rate=1", "source.journal_bytes=20000")


def start(folder: Path, server: Server, queues: list[str], *words: str, state: str = "state", output: str = "",
          sets: tuple[str, ...] = ()) -> Running:
    topics = json.dumps([server.url(f"?queue={queue}") for queue in queues])
    said = (word for item in (*SMALL, f"source.topics={topics}", "source.declare=false", *sets)
            for word in ("--set", item))
    return Running(folder / state, "run", "tests.pipelines.queued", "--format", "json", *said, *words,
                   output=folder / (output or f"{state}.out"))


def numbers(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


def lined(state: Path) -> list[int]:
    return [int(line) for line in (state / "lined.log").read_text().splitlines()]


def letters(state: Path) -> list[StoredLetter]:
    return list(read_letters(state / "dead-letters.db"))


def assert_each_once(state: Path, count: int) -> None:
    """Each number is in exactly one of the sink and the letters."""
    assert sorted(lined(state)) == [number for number in range(count) if number % BAD_EVERY]
    bad = sorted(int(letter.raw) for letter in letters(state))
    assert bad == [number for number in range(count) if number % BAD_EVERY == 0]


def done(running: Running, wanted: int) -> None:
    """Wait until so many records have an outcome, and stop."""
    running.until(lambda views: views["writer.lined"].records + views["writer.dead_letters"].records >= wanted, "all")


def finish(folder: Path, server: Server, queues: list[str], output: str = "rest.out") -> None:
    """Read what is left, of the journal and of the queues."""
    with start(folder, server, queues, "--once", output=output) as rest:
        assert rest.wait() == 0, rest.output()


@contextmanager
def fed(server: Server, queue: str, many: int = 40) -> Iterator[list[int]]:
    """Publish numbers whenever the queue is empty, so that nobody who is to be killed runs out of work; how many."""
    count = [0]
    over = threading.Event()

    def feed() -> None:
        while not over.wait(0.02):
            if not waiting_in(server.url(), queue):
                publish(server.url(), queue, numbers(many, count[0]), first=count[0])
                count[0] += many

    with ThreadPoolExecutor(1) as pool:
        feeding = pool.submit(feed)
        try:
            yield count
        finally:
            over.set()
        feeding.result()


def test_whoever_is_killed_each_message_is_in_exactly_one_of_sink_and_letters(
    tmp_path: Path, rabbitmq: Server
) -> None:
    queue = rabbitmq.new_name()
    declare(rabbitmq.url(), queue, x_delivery_limit=20)
    chance = random.Random(20261129)
    with start(tmp_path, rabbitmq, [queue], sets=("options.pause_s=0.0002",)) as running:
        with fed(rabbitmq, queue) as count:
            for name in chance.choices(["reader.1", "parser.1", "writer.lined", "writer.dead_letters"], k=6):
                running.kill(name, after_batches=chance.randrange(1, 6))
            for name in ("reader.1", "writer.lined", "reader.1"):
                running.kill(name, after_batches=2)
        publish(rabbitmq.url(), queue, numbers(1000, count[0]), first=count[0])
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
    finish(tmp_path, rabbitmq, [queue])
    assert_each_once(tmp_path / "state", count[0] + 1000)
    assert_counts_add_up(tmp_path / "state")
    assert take_all(rabbitmq.url(), queue) == []


def test_a_queue_with_a_limit_of_deliveries_loses_nothing_though_the_reader_dies_more_often(
    tmp_path: Path, rabbitmq: Server
) -> None:
    queue = rabbitmq.new_name()
    declare(rabbitmq.url(), queue, x_delivery_limit=3)
    slow = ("options.pause_s=0.0005", "source.prefetch=200")
    with start(tmp_path, rabbitmq, [queue], sets=slow) as running:
        with fed(rabbitmq, queue, many=1000) as count:
            for _ in range(6):
                running.kill("reader.1", after_batches=3)
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() in (0, 3), running.output()
    finish(tmp_path, rabbitmq, [queue])
    assert_each_once(tmp_path / "state", count[0])


def test_a_server_that_is_killed_and_away_is_waited_for_and_each_message_is_read_once(
    tmp_path: Path, rabbitmq_to_kill: Server
) -> None:
    count, server = 1500, rabbitmq_to_kill
    with ExitStack() as stack:
        queues = [server.new_name(), server.new_name()]
        for kind, queue, first in zip(("quorum", "classic"), queues, (0, count), strict=True):
            declare(server.url(), queue, kind)
            publish(server.url(), queue, numbers(count, first), first=first)
        for queue in queues:
            eventually(lambda queue=queue: waiting_in(server.url(), queue) == count, "all is there")  # type: ignore[misc]
        running = stack.enter_context(start(
            tmp_path, server, queues, sets=("options.pause_s=0.0005", "source.prefetch=100", "source.heartbeat_s=5",
                                           "source.connect_timeout_s=2")))
        server.until_kept(queues[0])
        running.until(lambda views: views["parser.1"].batches >= 3, "batches")
        server.kill()
        running.until(lambda views: views["reader.1"].phase == "RETRY"
                      and "connection refused" in views["reader.1"].note, "the server is missed")
        server.start()
        running.until(lambda views: not views["reader.1"].note, "the server is there again")
        server.pause()  # deaf: no connection is closed, and no sign of life comes
        running.until(lambda views: views["reader.1"].phase == "RETRY" and (
            "no sign of life" in views["reader.1"].note or "not answer in time" in views["reader.1"].note),
            "the server is missed")
        server.resume()
        done(running, 2 * count)
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0, running.output()
        finish(tmp_path, server, queues)
        assert_each_once(tmp_path / "state", 2 * count)
        assert {event["actor"] for event in running.of("outage")} == {"reader.1"}


def test_a_sink_that_is_down_leaves_nothing_unacknowledged_and_the_connection_alive(
    tmp_path: Path, rabbitmq: Server
) -> None:
    queue, count = rabbitmq.new_name(), 1500
    declare(rabbitmq.url(), queue, x_delivery_limit=1)
    publish(rabbitmq.url(), queue, [b"%10000d" % number for number in range(count)])
    gate = tmp_path / "gate"  # behind it is more than the reader reads ahead of its workers (8 MiB)
    with start(tmp_path, rabbitmq, [queue], sets=(f"options.gate={gate}", "source.heartbeat_s=5",
                                                  "source.prefetch=100", "watch.suspect_s=600",
                                                  "watch.hard_block_s=700", "watch.hard_cpu_s=700")) as running:
        running.until(lambda views: views["parser.1"].phase == "WORK", "a record in hand")

        def is_held() -> bool:  # the consumer is cancelled, and nothing is un-acknowledged
            found = rabbitmq.ask(f"queues/%2F/{queue}")
            is_quiet = consumers_of(rabbitmq.url(), queue) == 0 and found.get("messages_unacknowledged") == 0
            return is_quiet and 0 < waiting_in(rabbitmq.url(), queue) < count

        eventually(is_held, "nothing is un-acknowledged")
        eventually(lambda: any(
            one.get("client_properties", {}).get("connection_name") == "thresher"
            for one in rabbitmq.ask("connections")), "its connection is there")

        def behind() -> int:
            found = read_lag(path_for(tmp_path / "state"))
            return 0 if found is None else found.records

        eventually(lambda: 0 < behind() < count, "how far it is behind")
        gate.touch()
        done(running, count)
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0, running.output()
        assert running.of("outage") == []
    assert_each_once(tmp_path / "state", count)
    assert take_all(rabbitmq.url(), queue) == []


def test_of_two_runs_on_one_queue_that_are_killed_at_random_nothing_is_lost(
    tmp_path: Path, rabbitmq: Server
) -> None:
    """What a killed reader had journalled and not acknowledged is read by both, as the docs say."""
    queue, chance = rabbitmq.new_name(), random.Random(20261130)
    declare(rabbitmq.url(), queue)
    sets = ("source.prefetch=20", "options.pause_s=0.0005")
    with ExitStack() as stack:
        runs = [stack.enter_context(start(tmp_path, rabbitmq, [queue], state=name, sets=sets)) for name in ("a", "b")]
        with fed(rabbitmq, queue, 200) as count:
            eventually(lambda: consumers_of(rabbitmq.url(), queue) == 2, "both consume")
            for _ in range(3):
                for running in runs:
                    running.kill(chance.choice(["reader.1", "parser.1", "writer.lined"]), chance.randrange(1, 4))
            os.kill(runs[0].process.pid, signal.SIGKILL)
            runs[0].process.wait()
        runs[1].process.send_signal(signal.SIGTERM)
        assert runs[1].wait() in (0, 3), runs[1].output()
    for name in ("a", "b"):
        with start(tmp_path, rabbitmq, [queue], "--once", state=name, output=f"{name}.rest") as rest:
            assert rest.wait() == 0, rest.output()
        assert_counts_add_up(tmp_path / name)
    found = {name: [*lined(tmp_path / name), *(int(letter.raw) for letter in letters(tmp_path / name))]
             for name in ("a", "b")}
    assert all(len(set(numbers)) == len(numbers) > 0 for numbers in found.values()), "none twice by one run"
    assert {number for numbers in found.values() for number in numbers} == set(range(count[0])), "nothing is lost"
    assert take_all(rabbitmq.url(), queue) == []


def test_beside_another_consumer_each_message_goes_to_one_of_them(tmp_path: Path, rabbitmq: Server) -> None:
    queue, count = rabbitmq.new_name(), 3000
    declare(rabbitmq.url(), queue)
    taken: list[int] = []
    over = threading.Event()

    def consume() -> None:
        with channel(rabbitmq.url()) as client:
            client.basic_qos(prefetch_count=20)
            for method, _, body in client.consume(queue, inactivity_timeout=0.05):
                if method is not None:
                    taken.append(int(body))
                    client.basic_ack(method.delivery_tag)
                elif over.is_set():
                    return

    other = threading.Thread(target=consume)
    other.start()
    try:
        with start(tmp_path, rabbitmq, [queue], sets=("source.prefetch=20",)) as running:
            eventually(lambda: consumers_of(rabbitmq.url(), queue) == 2, "both consume")
            publish(rabbitmq.url(), queue, numbers(count))
            eventually(lambda: len(taken) + sum(
                running.views()[name].records for name in ("writer.lined", "writer.dead_letters")
                if name in running.views()) >= count, "all")
            running.process.send_signal(signal.SIGTERM)
            assert running.wait() == 0, running.output()
    finally:
        over.set()
        other.join()
    state = tmp_path / "state"
    ours = [*lined(state), *(int(letter.raw) for letter in letters(state))]
    assert sorted([*ours, *taken]) == list(range(count))
    assert ours and taken


def test_what_is_damaged_in_the_journal_and_what_is_gone_is_told_and_all_else_is_read(
    tmp_path: Path, rabbitmq: Server
) -> None:
    queue, count, state = rabbitmq.new_name(), 200, tmp_path / "state"
    declare(rabbitmq.url(), queue)
    publish(rabbitmq.url(), queue, [b"%100d" % number for number in range(1, count + 1)])
    gate = tmp_path / "gate"
    sets = (f"options.gate={gate}", "options.bad_every=1000", "source.segment_bytes=10000",
            "source.journal_bytes=200000")
    with start(tmp_path, rabbitmq, [queue], sets=sets) as running:
        eventually(lambda: len(list(state.glob("journal/*.messages"))) >= 3, "three segments")
        running.until(lambda views: views["parser.1"].phase == "WORK", "a record in hand")
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
    found = sorted((state / "journal").glob("*.messages"))
    assert len(found) >= 3, found
    data = bytearray(found[0].read_bytes())
    data[len(data) // 2:len(data) // 2 + 300] = bytes(300)
    found[0].write_bytes(data)
    found[1].unlink()
    gate.touch()
    with start(tmp_path, rabbitmq, [queue], "--once", sets=sets, output="rest.out") as rest:
        assert rest.wait() == 4, rest.output()
    told = letters(state)
    assert {letter.reason for letter in told} == {"source_damaged", "source_lost"}
    assert all(f"{found[letter.reason == 'source_lost']}: " in letter.detail for letter in told)
    assert [path.name for path in (state / "journal").glob("*.damaged")] == [f"{found[0].name}.damaged"]
    assert [unit["verdict"].partition(" (")[0].partition(" any")[0] for unit in rest.of("report")[0]["units"][:2]] == [
        "not whole: some of what its source had is not what was written",
        "not whole: what its source had is gone before it was read"]
    numbered = lined(state)
    missing = set(range(1, count + 1)) - set(numbered)
    assert len(set(numbered)) == len(numbered) and 20 <= len(missing) <= 120, sorted(missing)
    assert_counts_add_up(state)


def test_a_letter_has_all_that_the_message_came_with(tmp_path: Path, rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    declare(rabbitmq.url(), queue)
    publish(rabbitmq.url(), queue, [b"9"], headers={"colour": "red"})
    with start(tmp_path, rabbitmq, [queue], "--once") as running:
        assert running.wait() == 0, running.output()
    (letter,) = letters(tmp_path / "state")
    record = unwrap(letter.envelope, letter.raw, letter.offset, letter.line)
    assert (record.value, record.key) == (b"9", queue.encode())
    assert dict(record.headers) == {
        "colour": b"red", "amqp-queue": f"127.0.0.1:{rabbitmq.port}/{queue}".encode(), "amqp-exchange": b"",
        "amqp-routing-key": queue.encode(), "amqp-message-id": b"id-0"}
    with Running(tmp_path / "state", "dlq", "retry", "tests.pipelines.queued", "--set", "options.bad_every=1000",
                 output=tmp_path / "retry.out") as retried:
        assert retried.wait() == 0, retried.output()
    assert lined(tmp_path / "state") == [9]


def test_a_dry_run_is_refused_and_takes_nothing_and_explain_says_what_is_promised(
    tmp_path: Path, rabbitmq: Server
) -> None:
    queue = rabbitmq.new_name()
    declare(rabbitmq.url(), queue)
    publish(rabbitmq.url(), queue, numbers(5))
    with start(tmp_path, rabbitmq, [queue], "--dry-run") as running:
        assert running.wait() == 78, running.output()
    assert "would take the messages away and keep nothing of them" in running.output()
    assert waiting_in(rabbitmq.url(), queue) == 5
    topics = json.dumps([rabbitmq.url(f"?queue={queue}")])
    with Running(tmp_path / "state", "explain", "tests.pipelines.queued", "--set", f"source.topics={topics}",
                 output=tmp_path / "explain.out") as explained:
        assert explained.wait() == 0
    assert "one without at least once" in " ".join(explained.output().split())


def test_begun_anew_it_forgets_what_it_has_read_and_leaves_the_queues(tmp_path: Path, rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    declare(rabbitmq.url(), queue)
    for words in ((), ("--fresh",)):
        publish(rabbitmq.url(), queue, numbers(50))
        with start(tmp_path, rabbitmq, [queue], "--once", *words, output=f"out{len(words)}") as running:
            assert running.wait() == 0, running.output()
        assert_each_once(tmp_path / "state", 50)


def test_a_wrong_password_ends_the_run_with_code_78_and_is_shown_nowhere(tmp_path: Path, rabbitmq: Server) -> None:
    topics = json.dumps([rabbitmq.url("?queue=q", password="hidden-word")])
    for verb in ("run", "check", "explain", "echo"):
        with Running(tmp_path / "state", verb, "tests.pipelines.queued", "--set", f"source.topics={topics}",
                     output=tmp_path / f"{verb}.out") as running:
            code = running.wait()
        assert code == (78 if verb in ("run", "check") else 0), running.output()
        assert "hidden-word" not in running.output()
    assert "it refuses this user, or the password" in (tmp_path / "run.out").read_text()
