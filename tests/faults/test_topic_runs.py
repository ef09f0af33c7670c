"""Two runs with a topic between them, as real processes: kills, a full disk, one that is read-only, damage, a rival."""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from actors.topics.places import partition_folder, segment_file
from tests.loads import Running, Views, assert_counts_add_up
from tests.pipelines.published import KEYS
from tests.powercut import topics
from tests.powercut.cuts import BAD_EVERY, write_numbers
from tests.powercut.recording import may_be_read_only, require_recorder
from tests.topics import values

FILES, LINES = 3, 2000
SMALL = ("flow.batch_bytes=200", "flow.window_batches=4", "restart.max_backoff_s=0.2", "restart.intensity=50")


def start(folder: Path, target: str, state: str, *words: str, output: str = "") -> Running:
    sets = (word for item in SMALL for word in ("--set", item))
    return Running(folder / state, "run", f"tests.pipelines.{target}", "--format", "json", *sets, *words,
                   output=folder / (output or f"{state}.out"))


def publish(folder: Path, *words: str, output: str = "", state: str = "feed") -> Running:
    return start(folder, "published", state, "--set", f"source.pattern={folder}/data/*.txt",
                 "--set", "budget.max_error_rate=0.5", *words, output=output)


def expected(lines: int = LINES) -> dict[str, Any]:
    numbers = [number for number in range(FILES * lines) if number % BAD_EVERY]
    of = {key: [number for number in numbers if number % KEYS == key] for key in range(KEYS)}
    return {"topic": of, "lines": of, "folded": {str(key): [len(some), sum(some)] for key, some in of.items()}}


def test_whoever_is_killed_each_message_is_published_once_and_read_once(tmp_path: Path) -> None:
    write_numbers(tmp_path, FILES, LINES)
    slow = ("--set", "flow.batch_bytes=60")  # so that there is something left to read when it is killed
    with ExitStack() as stack:
        feed = stack.enter_context(publish(tmp_path))
        follow = stack.enter_context(start(tmp_path, "subscribed", "state", *slow))
        for name in ("writer.words", "reader.1", "parser.1", "writer.words"):
            feed.kill(name, 4)
        for name in ("reader.1", "writer.lined", "aggregator.1", "reader.1"):
            follow.kill(name, 4)
        for running in (feed, follow):
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait()
        feed = stack.enter_context(publish(tmp_path, output="again.out"))
        follow = stack.enter_context(start(tmp_path, "subscribed", "state", *slow, output="more.out"))
        assert feed.wait() == 0, feed.output()
        follow.process.send_signal(signal.SIGTERM)
        assert follow.wait() == 0, follow.output()
    topics.follow_to_the_end(tmp_path)
    assert topics.look(tmp_path) == expected()
    assert_counts_add_up(tmp_path / "state")


def _no_room(folder: Path, views: Views) -> Callable[[], None]:
    def limit(most: int) -> None:
        resource.prlimit(views["writer.words"].pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    limit(0)
    return lambda: limit(resource.RLIM_INFINITY)


def _read_only(folder: Path, views: Views) -> Callable[[], None]:
    (folder / "read-only").touch()
    return (folder / "read-only").unlink


@pytest.mark.parametrize(("hinder", "problem"), [(_no_room, "file too large"), (_read_only, "read-only file system")])
def test_a_disk_that_is_full_or_read_only_is_waited_for_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hinder: Callable[[Path, Views], Callable[[], None]], problem: str
) -> None:
    write_numbers(tmp_path, FILES, LINES)
    (tmp_path / "topic").mkdir()
    for name, value in may_be_read_only(require_recorder(tmp_path), tmp_path / "topic", tmp_path / "read-only",
                                        2).items():
        monkeypatch.setenv(name, value)
    said = f"topic {tmp_path}/topic: {problem}"
    with publish(tmp_path) as feed:
        views = feed.until(lambda views: views["writer.words"].batches >= 10, "ten batches")
        mend = hinder(tmp_path, views)

        def waits(views: Views) -> bool:
            view = views["writer.words"]
            return view.phase == "RETRY" and view.note == said[:len(view.note) or None]

        feed.until(waits, said)
        mend()
        assert feed.wait() == 0, feed.output()
    assert [event["actor"] for event in feed.of("outage")] == ["writer.words"]
    monkeypatch.delenv("LD_PRELOAD")
    topics.follow_to_the_end(tmp_path)
    assert topics.look(tmp_path) == expected()


@pytest.mark.parametrize("words", [("--once",), ()], ids=["once", "followed"])
def test_a_flipped_bit_ends_the_run_with_code_four_and_the_place_and_costs_one_block(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    write_numbers(tmp_path, FILES, 300)
    with publish(tmp_path) as feed:
        assert feed.wait() == 0, feed.output()
    path = segment_file(partition_folder(tmp_path / "topic", 0), 0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with start(tmp_path, "subscribed", "state", *words) as follow:
        if not words:
            follow.until(lambda views: views["reader.1"].records >= 782, "all but a block")
            follow.process.send_signal(signal.SIGTERM)
        assert follow.wait() == 4, follow.output()
    assert re.search(rf"{path} is damaged: offsets \d+ to \d+", follow.output())
    assert re.search(r"1 of \d partitions are not whole.*records of the source are damaged", follow.output(), re.DOTALL)
    lines = (tmp_path / "state" / "lined.log").read_text().splitlines()
    numbers = [int(line.split()[1]) for line in lines]
    everything = {number for some in expected(300)["topic"].values() for number in some}
    assert len(numbers) == len(set(numbers))
    assert set(numbers) < everything
    assert len(everything) - len(numbers) < 60
    counts = assert_counts_add_up(tmp_path / "state")
    assert counts["dead_lettered"] == 1


def test_a_second_run_that_writes_to_the_topic_is_refused_and_told_who_does(tmp_path: Path) -> None:
    write_numbers(tmp_path, FILES, 200)
    with publish(tmp_path, "--set", "flow.rate_hz=50") as feed:  # it goes on for longer than the other needs to start
        feed.until(lambda views: views["writer.words"].batches >= 1, "a batch")
        with publish(tmp_path, state="rival", output="rival.out") as rival:
            assert rival.wait() == 78, rival.output()
        assert f"(sink words of {tmp_path}/feed) writes to it, and a topic has one writer" in rival.output()
        assert "its message is above" not in rival.output(), "the reason for the end says it"
        assert feed.wait() == 0, feed.output()
    assert sorted(int(value or b"") for value in values(tmp_path / "topic")) == sorted(
        number for some in expected(200)["topic"].values() for number in some)
