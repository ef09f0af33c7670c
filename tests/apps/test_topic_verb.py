"""``thresher topic``: what people and scripts see of topics, while others write and read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.sinks.topic import Topic
from actors.topics.blocks import Message
from actors.topics.manifest import read_manifest
from actors.topics.places import partition_folder, segment_file, segments_in
from tests.loads import ROOT, WATCHDOG_S
from tests.topics import Feed, payload, values


def topic(*words: str | Path, code: int = 0, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the verb to its end."""
    done = subprocess.run([sys.executable, "-m", "actors.cli", "topic", *map(str, words)], cwd=cwd, check=False,
                          capture_output=True, text=True, timeout=WATCHDOG_S,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def from_json(*words: str | Path, code: int = 0) -> Any:
    return json.loads(topic(*words, "--json", code=code).stdout)


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    """A topic of two partitions, with a message a second, three a segment."""
    now = [1_700_000_000.0]
    made = Feed(tmp_path / "topics" / "words", clock=lambda: now[0], partitions=2, segment_bytes=300)
    with closing(made.open()) as writer:
        for number in range(20):
            writer.append([made.batch((b"%d" % (number % 10), b"value %02d" % number + b"." * 50))])
            now[0] += 1
    return made


def test_topics_of_a_folder_are_listed_with_what_is_in_them_and_who_writes(tmp_path: Path, feed: Feed) -> None:
    (tmp_path / "topics" / "no topic").mkdir()
    with closing(Topic(topic=str(tmp_path / "topics" / "other")).open("feed", tmp_path / "state")):
        other, words = from_json("ls", tmp_path / "topics")
        assert (words["messages"], words["partitions"], words["writer"]) == (20, 2, None)
        assert words["last"] == 1_700_000_019_000
        held = sum(path.stat().st_size for path in feed.topic.rglob("*.log"))
        assert words["bytes"] == held
        assert (other["messages"], other["last"]) == (0, None)
        assert f"process {os.getpid()} (sink feed of {tmp_path}/state)" == other["writer"]
        assert [row["topic"] for row in from_json("ls", feed.topic)] == [str(feed.topic)]
        said = topic("ls", cwd=tmp_path / "topics").stdout
    assert "words" in said and "2023-11-14T22:13:39.000Z" in said and "sink feed" in said
    assert topic("ls", tmp_path).stdout == f"no topics in {tmp_path}\n"


def test_a_topic_is_shown_by_partition(feed: Feed) -> None:
    found = from_json("show", feed.topic)
    assert sum(one["messages"] for one in found["partitions"]) == 20
    for number, one in enumerate(found["partitions"]):
        assert (one["first"], one["next"]) == (0, len(values(feed.topic, number)))
        assert one["segments"] == len(segments_in(partition_folder(feed.topic, number)))
    assert min(one["oldest"] for one in found["partitions"]) == 1_700_000_000_000
    assert max(one["newest"] for one in found["partitions"]) == 1_700_000_019_000
    said = topic("show", f"topic://{feed.topic}", "--check").stdout
    assert "20 messages" in said and "nobody now" in said and "all of it is as it was written" in said


def test_damage_is_found_and_has_an_exit_code(feed: Feed) -> None:
    path = segment_file(partition_folder(feed.topic, 0), 0)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    damage, = from_json("show", feed.topic, "--check", code=4)["damage"]
    assert damage.startswith(f"{path} is damaged: offsets 0 to 0: ")
    said = topic("tail", feed.topic, "--start", "earliest", "--raw", code=4)
    assert len(said.stdout.splitlines()) == 19
    assert said.stderr.startswith(f"{path} is damaged")


@pytest.mark.parametrize("partition", [False, True])
def test_a_segment_that_somebody_removed_is_damage(feed: Feed, partition: bool) -> None:
    folder = partition_folder(feed.topic, 1)
    last = segments_in(folder)[-1]
    shutil.rmtree(folder) if partition else segment_file(folder, last).unlink()
    damage, = from_json("show", feed.topic, "--check", code=4)["damage"]
    assert f"offsets {last} to {read_manifest(feed.topic).partitions[1].next - 1}" in damage
    assert "all of it" not in topic("show", feed.topic, "--check", code=4).stdout


def test_the_newest_messages_are_printed_in_the_order_of_their_times(feed: Feed) -> None:
    lines = topic("tail", feed.topic, "-n", "3").stdout.splitlines()
    assert [line.split("  ")[1:] for line in lines] == [
        [f"2023-11-14T22:13:{37 + at}.000Z", f"{(17 + at) % 10}", f"value {17 + at}" + "." * 50] for at in range(3)]
    assert len(topic("tail", feed.topic).stdout.splitlines()) == 10
    assert topic("tail", feed.topic, "-n", "0").stdout == ""


def test_messages_are_printed_from_a_moment_on_and_of_one_partition(feed: Feed) -> None:
    raw = topic("tail", feed.topic, "--raw", "--start", "2023-11-14T22:13:30").stdout.splitlines()
    assert [int(line[6:8]) for line in raw] == list(range(10, 20))
    raw = topic("tail", feed.topic, "--raw", "--start", "earliest", "-n", "4").stdout.splitlines()
    assert [int(line[6:8]) for line in raw] == list(range(4))
    one = topic("tail", feed.topic, "--raw", "--start", "earliest", "--partition", "1").stdout.encode().splitlines()
    assert one == values(feed.topic, 1)
    assert "it has 2, 0 to 1" in topic("tail", feed.topic, "--partition", "2", code=78).stderr


def test_as_json_a_message_has_all_that_it_has_and_bytes_that_are_no_text_are_base64(tmp_path: Path) -> None:
    Feed(tmp_path / "t").append(Message(None, b"\xff\n", 5, (("h", b"x"), ("h", None))), "ä\x1b[1m")
    first, second = map(json.loads, topic("tail", tmp_path / "t", "--json").stdout.splitlines())
    assert first == {"partition": 0, "offset": 0, "time": 5, "key": {"base64": "/wo="}, "value": None,
                     "headers": [["h", "x"], ["h", None]]}
    assert (second["value"], second["key"]) == ("ä\x1b[1m", None)
    assert "\x1b" not in topic("tail", tmp_path / "t").stdout


def test_a_topic_that_is_followed_is_printed_as_it_grows_also_into_a_pipe(feed: Feed) -> None:
    words = [sys.executable, "-m", "actors.cli", "topic", "tail", str(feed.topic), "-f", "-n", "1", "--raw"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline().startswith("value 19")
            for number in (20, 21):
                feed.append((b"k", b"value %d" % number))
                assert process.stdout.readline() == f"value {number}\n"
            process.stdout.close()  # `| head`
            feed.append((b"k", b"nobody reads"))
            assert process.wait(WATCHDOG_S) == 1
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_what_is_old_or_too_much_is_let_go_also_while_a_writer_has_the_topic(tmp_path: Path, feed: Feed) -> None:
    before = values(feed.topic)
    assert "expected --retain-bytes N or --retain-s S" in topic("trim", feed.topic, code=2).stderr
    with closing(feed.open()) as writer:
        writer.open()
        would = from_json("trim", feed.topic, "--retain-bytes", "1000", "--dry-run")
        assert values(feed.topic) == before
        told = from_json("trim", feed.topic, "--retain-bytes", "1000")
        assert told == {**would, "dry_run": False}
        assert told["messages"] == 20 - len(values(feed.topic)) > 0
        writer.append([payload([(b"k", b"new")], 90, 91, partitions=2)])
        assert b"new" in values(feed.topic)
    topic("trim", feed.topic, "--retain-s", "60")
    assert [len(segments_in(partition_folder(feed.topic, number))) for number in range(2)] == [1, 1]


@pytest.mark.parametrize("words", [("show",), ("tail",), ("trim", "--retain-s", "1")])
def test_what_is_no_topic_is_said_with_what_lists_them(tmp_path: Path, words: tuple[str, ...]) -> None:
    said = topic(words[0], tmp_path / "none", *words[1:], code=78).stderr
    assert f"{tmp_path}/none: there is no topic" in said and "thresher topic ls DIR" in said
