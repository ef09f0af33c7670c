"""Messages of a topic that were rejected: seen with topic, partition, offset, key and headers, and sent in again."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from actors.sinks.lmdb import read_lmdb
from actors.topics.blocks import Message
from tests.apps.test_letters_of_records import thresher
from tests.apps.test_tombstones import run, table
from tests.letters import letters
from tests.topics import Feed

pytest.importorskip("sqlalchemy")

#: A key, a value and headers of which no part is text, or may be shown as it is.
ODD = Message(b"\xe9\0", b"\xff\n\x1b[31m", 1_700_000_000_123, (("trace", b"\xfe"), ("größe", b"1"), ("none", None)))


@pytest.fixture
def rejected(tmp_path: Path) -> Path:
    """The state of a run that has stored a key, and rejected its tombstone and what is no text."""
    Feed(tmp_path / "topic").append((b"a", b"x"), (b"b", b"y"), ODD, (b"a", None))
    with run(tmp_path, "budget.max_error_rate=1", target="tests.pipelines.erased:VALUES") as running:
        assert running.wait() == 0, running.output()
    assert dict(read_lmdb(tmp_path / "state" / "store.lmdb")) == {b"a": b"X", b"b": b"Y", ODD.key: b"\xe9\0"}
    return tmp_path / "state"


def dlq(verb: str, state: Path, *words: str, target: str = "tests.pipelines.erased") -> str:
    done = thresher("dlq", verb, target, *words, "--state", str(state))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.decode()


def test_a_tombstone_that_was_rejected_is_seen_with_its_place_and_key_and_deletes_when_it_is_sent_again(
    rejected: Path
) -> None:
    (line,) = [line for line in dlq("ls", rejected).splitlines() if " offset 3 " in line]
    assert line.split()[3:] == ["parse_error", "../topic/0", "offset", "3", "0", "open", "a", "(no", "value)"]
    (number,) = letters(rejected)
    assert "source    ../topic/0 offset 3\n" in dlq("show", rejected, str(number))
    (found,) = map(json.loads, dlq("export", rejected).splitlines())
    assert (found["source"], found["offset"], found["raw"], found["record"]["key"]) == (
        "../topic/0", 3, None, {"encoding": "utf-8", "value": "a"})
    assert "1 retried, 0 rejected again" in dlq("retry", rejected)
    assert dict(read_lmdb(rejected / "store.lmdb")) == {b"b": b"Y", ODD.key: b"\xe9\0"}
    assert table(rejected) == {}


def test_keys_and_headers_that_are_no_text_are_seen_whole_and_nothing_of_them_reaches_the_terminal(
    tmp_path: Path
) -> None:
    state = tmp_path / "state"
    Feed(tmp_path / "topic", partitions=2).append((b"a", b"x"), ODD)
    with run(tmp_path, "budget.max_error_rate=1") as running:
        assert running.wait() == 0, running.output()
    (letter,) = letters(state).values()
    assert f"{letter.source} offset 0" in dlq("ls", state)
    text = dlq("show", state, str(letter.id))
    for line in (f"source    {letter.source} offset 0\n", "key       \\xff\\n\\x1b[31m\n",
                 "published 2023-11-14T22:13:20.123Z\n", "header    trace: \\xfe\n", "header    größe: 1\n",
                 "header    none: (no value)\n", "          \\xe9\\x00\n"):
        assert line in text, text
    found: dict[str, Any] = json.loads(dlq("show", state, str(letter.id), "--json"))
    assert (found["source"], found["offset"]) == (letter.source, 0)
    assert found["record"] == {
        "time": 1_700_000_000_123, "key": {"encoding": "base64", "value": base64.b64encode(b"\xff\n\x1b[31m").decode()},
        "headers": [{"name": "trace", "encoding": "base64", "value": base64.b64encode(b"\xfe").decode()},
                    {"name": "größe", "encoding": "utf-8", "value": "1"},
                    {"name": "none", "encoding": None, "value": None}]}
    assert "1 retried, 0 rejected again" in dlq("retry", state, target="tests.pipelines.erased:VALUES")
    assert dict(read_lmdb(state / "store.lmdb")) == {b"a": b"x", b"\xff\n\x1b[31m": b"\xe9\0"}


def test_the_key_of_an_item_that_its_sink_has_refused_is_seen(tmp_path: Path) -> None:
    state, key = tmp_path / "state", b"\xe9" + b"k" * 600
    Feed(tmp_path / "topic").append((key, b"x"), (b"a", b"y"))
    target = "tests.pipelines.erased:VALUES"
    with run(tmp_path, "budget.max_error_rate=1", target=target) as running:
        assert running.wait() == 0, running.output()
    (letter,) = letters(state).values()
    assert (letter.stage, letter.reason, letter.source) == ("writer.store", "key", "../topic/0")
    assert "\\xe9" + 36 * "k" + "..." in dlq("ls", state, target=target)
    assert f"key       \\xe9{'k' * 600}\n" in dlq("show", state, str(letter.id), target=target)
    (found,) = map(json.loads, dlq("export", state, target=target).splitlines())
    assert base64.b64decode(found["packed"]["key"]["value"]) == key
