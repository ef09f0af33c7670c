"""Lines that are read back while they are written: all of those that count, each once, the last ones first of all."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.sinks.csv import Csv
from actors.sinks.jsonl import Jsonl
from actors.sinks.lines import Lines
from tests.contract.test_lines import killed, payload


def test_nothing_is_there_before_the_file_is(tmp_path: Path) -> None:
    follower = Lines().follow("out", tmp_path, 10)
    assert follower.new() == []
    with closing(Lines().open("out", tmp_path)) as sink:
        assert follower.new() == []
        sink.write([payload([b"a", b"b"], 0, 1)])
        assert follower.new() == [b"a", b"b"]
        assert follower.new() == []
    follower.close()


def test_values_come_back_as_plain_data(tmp_path: Path) -> None:
    items: list[Any] = [{"a": [1, None]}, "text\nof two lines", 4.5]
    with closing(Jsonl().open("out", tmp_path)) as sink:
        sink.write([payload(items, 0, 1, options=Jsonl())])
    assert Jsonl().follow("out", tmp_path, 10).new() == items


def test_what_a_kill_has_left_half_way_is_not_read(tmp_path: Path) -> None:
    sink: Any = Lines().open("out", tmp_path)
    sink.write([payload([b"a"], 0, 1)])
    os.pwrite(sink._descriptor, b"half\n", 2)
    killed(sink)
    follower = Lines().follow("out", tmp_path, 10)
    assert follower.new() == [b"a"]
    with closing(Lines().open("out", tmp_path)) as again:
        again.write([payload([b"b"], 1, 2)])
    assert follower.new() == [b"b"]


def test_a_file_that_was_begun_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    follower = Lines().follow("out", tmp_path, 10)
    for number in range(3):
        with closing(Lines().open("out", tmp_path)) as sink:
            sink.write([payload([b"%d" % number, b"more"], 0, 1)])
        assert follower.new() == [b"%d" % number, b"more"]
        Lines().clear("out", tmp_path)
        assert follower.new() == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.binary(max_size=9).map(lambda text: text.replace(b"\n", b"")), max_size=9), max_size=9),
       st.integers(1, 12), st.integers(1, 40))
def test_of_what_is_new_the_last_lines_are_read_in_order(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[bytes]], most: int, block: int
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    follower = Lines().follow("out", folder, most)
    with pytest.MonkeyPatch.context() as patch, closing(Lines(sync=False).open("out", folder)) as sink:
        patch.setattr("actors.sinks.lines_read._BLOCK_BYTES", block)
        for number, lines in enumerate(groups):
            sink.write([payload(list(lines), number, number + 1)])
            assert follower.new() == lines[-most:]


def test_no_more_than_the_last_bytes_are_read_however_few_lines_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.sinks.lines_read._BLOCK_BYTES", 1000)
    monkeypatch.setattr("actors.sinks.lines_read._MOST_BYTES", 3000)
    with closing(Lines().open("out", tmp_path)) as sink:
        sink.write([payload([b"a" * 5000, b"b" * 2000], 0, 1)])
    assert Lines().follow("out", tmp_path, 10).new() == [b"b" * 2000]


def test_a_line_that_is_no_json_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("not JSON\n")
    with closing(Jsonl().open("out", tmp_path)), pytest.raises(msgspec.DecodeError):
        Jsonl().follow("out", tmp_path, 10).new()


def test_a_sink_that_reads_nothing_back_says_so(tmp_path: Path) -> None:
    assert Csv(columns=["a"]).follow("out", tmp_path, 10) is None
