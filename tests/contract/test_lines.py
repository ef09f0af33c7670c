"""Files of lines: exact after a kill, whatever was written when, and clear when they cannot be."""

from __future__ import annotations

import json
import os
import resource
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.errors import ConfigError, Reject, Retryable
from actors.runtime.ports import Sink
from actors.runtime.values import Payload
from actors.sinks.jsonl import Jsonl
from actors.sinks.lines import Lines
from actors.sinks.lines_manifest import manifest_path
from tests.apps.test_operations import TARGET
from tests.loads import Load


def payload(items: list[Any], start: int, end: int, partition: str = "p", options: Lines | None = None) -> Payload:
    return Payload(partition, start, end, len(items), (options or Lines()).pack(items))


def killed(sink: Any) -> None:
    """What is left of a sink whose process was killed: its file, without the lock."""
    os.close(sink._descriptor)
    sink._descriptor = None


def test_lines_are_appended_in_order_and_a_batch_that_comes_again_is_not(tmp_path: Path) -> None:
    options = Lines()
    with closing(options.open("out", tmp_path)) as sink:
        assert sink.write([payload([b"a", "ä"], 0, 10), payload([b"c"], 10, 20)]) == []
        sink.write([payload([b"c"], 10, 20), payload([b"d"], 20, 30)])
        sink.write([payload([b"x"], 0, 5, "q")])
    assert (tmp_path / "out.log").read_text() == "a\nä\nc\nd\nx\n"


def test_what_a_kill_left_half_way_is_cut_off_and_written_again(tmp_path: Path) -> None:
    sink: Any = Lines().open("out", tmp_path)
    sink.write([payload([b"a"], 0, 10)])
    os.pwrite(sink._descriptor, b"half a li", 2)
    killed(sink)
    with closing(Lines().open("out", tmp_path)) as again:
        assert (tmp_path / "out.log").read_bytes() == b"a\n"
        again.write([payload([b"a"], 0, 10), payload([b"b"], 10, 20)])
    assert (tmp_path / "out.log").read_bytes() == b"a\nb\n"


def test_a_kill_in_the_very_first_write_leaves_nothing(tmp_path: Path) -> None:
    sink: Any = Lines().open("out", tmp_path)
    os.pwrite(sink._descriptor, b"torn", 0)
    killed(sink)
    with closing(Lines().open("out", tmp_path)) as again:
        again.write([payload([b"a"], 0, 10)])
    assert (tmp_path / "out.log").read_bytes() == b"a\n"


def test_halves_of_a_batch_that_is_there_are_there(tmp_path: Path) -> None:
    with closing(Lines().open("out", tmp_path)) as sink:
        sink.write([payload([b"a", b"b"], 0, 20)])
        sink.write([payload([b"a"], 0, 10), payload([b"b"], 10, 20), payload([b"c"], 20, 30)])
    assert (tmp_path / "out.log").read_bytes() == b"a\nb\nc\n"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 12)), min_size=1, max_size=12))
def test_whatever_is_killed_when_each_line_is_there_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool, int]]
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    batches = [[b"%d-%d" % (batch, line) for line in range(3)] for batch in range(20)]
    sink: Any = Lines(sync=False).open("out", folder)
    done = 0
    for size, kill, torn in steps:
        upto = min(len(batches), done + size)
        sink.write([payload(batches[number], number, number + 1) for number in range(max(0, done - 2), upto)])
        done = upto
        if kill:
            os.pwrite(sink._descriptor, b"torn line\ntorn"[:torn], os.fstat(sink._descriptor).st_size)
            killed(sink)
            sink = Lines(sync=False).open("out", folder)
    sink.close()
    assert (folder / "out.log").read_bytes() == b"".join(line + b"\n" for batch in batches[:done] for line in batch)


def test_a_full_disk_is_waited_for_and_nothing_is_there_twice(tmp_path: Path) -> None:
    sink: Sink = Lines().open("out", tmp_path)
    sink.write([payload([b"a"], 0, 10)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(Retryable, match=r"out\.log: file too large"):
            sink.write([payload([b"b" * 2000], 10, 20)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sink.write([payload([b"b" * 2000], 10, 20)])
    sink.close()
    assert (tmp_path / "out.log").read_bytes() == b"a\n" + b"b" * 2000 + b"\n"


def test_what_was_in_the_file_before_stays(tmp_path: Path) -> None:
    (tmp_path / "out.log").write_bytes(b"old\n")
    with closing(Lines().open("out", tmp_path)) as sink:
        sink.write([payload([b"new"], 0, 10)])
    assert (tmp_path / "out.log").read_bytes() == b"old\nnew\n"


def test_a_file_that_was_cut_or_replaced_is_a_clear_error(tmp_path: Path) -> None:
    with closing(Lines().open("out", tmp_path)) as sink:
        sink.write([payload([b"a line"], 0, 10)])
    (tmp_path / "out.log").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"expected at least 7 bytes, as out\.log\.manifest says, got 0: it was cut"):
        Lines().open("out", tmp_path)
    manifest_path(tmp_path / "out.log").write_bytes(b"{")
    with pytest.raises(ConfigError, match=r"not a manifest"):
        Lines().open("out", tmp_path)


@pytest.mark.parametrize("how", ["removed", "rotated", "replaced", "cut"])
def test_what_somebody_does_to_the_file_under_its_writer_is_told_and_nothing_is_written_on(
    tmp_path: Path, how: str,
) -> None:
    path = tmp_path / "out.log"
    with closing(Lines().open("out", tmp_path)) as sink:
        sink.write([payload([b"a"], 0, 10)])
        before = manifest_path(path).read_bytes()
        disturb(path, how)
        for _ in range(2):  # it is delivered again
            with pytest.raises(ConfigError, match=r"out\.log: .*while it was written to.*out\.log\.manifest"):
                sink.write([payload([b"b"], 10, 20)])
        assert manifest_path(path).read_bytes() == before, "what was not appended does not count"
    there = path.exists()
    with pytest.raises(ConfigError, match=r"expected at least 2 bytes, as out\.log\.manifest says, got (0|no file)"):
        Lines().open("out", tmp_path)
    assert path.exists() == there, "a refusal changes nothing"
    path.write_bytes(b"a\n")
    with closing(Lines().open("out", tmp_path)) as sink:
        sink.write([payload([b"b"], 10, 20)])
    assert path.read_bytes() == b"a\nb\n"


def disturb(path: Path, how: str) -> None:
    if how == "rotated":
        path.rename(path.with_name("out.log.1"))
    elif how == "cut":
        os.truncate(path, 0)
    else:
        path.unlink()
    if how == "replaced":
        path.touch()


def test_a_file_that_another_writes_is_refused(tmp_path: Path) -> None:
    with closing(Lines().open("out", tmp_path)), pytest.raises(ConfigError, match="another process writes to it"):
        Lines().open("out", tmp_path)


def test_an_item_with_a_newline_is_rejected_and_json_has_none(tmp_path: Path) -> None:
    with pytest.raises(Reject, match="newline"):
        Lines().pack([b"a", b"b\nc"])
    assert Lines().pack([]) == Jsonl().pack([]) == b""
    assert Jsonl().pack([{"a": "x\ny"}, [1, None], "ä"]).splitlines() == [
        b'{"a":"x\\ny"}', b"[1,null]", '"ä"'.encode()]
    with pytest.raises(TypeError):
        Jsonl().pack([object()])


@pytest.mark.parametrize("kind", ["lines", "jsonl"])
def test_a_run_that_is_killed_again_and_again_leaves_every_line_once(tmp_path: Path, kind: str) -> None:
    folder, state, records = tmp_path / "logs", tmp_path / "state", 100_000
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"".join(b"k%d value %d\n" % (number, number) for number in range(records)))
    module = "tests.pipelines.liner" if kind == "lines" else TARGET
    sets = ("flow.batch_bytes=3000", f"sinks.store.type={kind}", "sinks.store.path=out.txt", "sinks.store.sync=false")
    code = None
    for batches in (3, 8, 20):
        with Load(folder / "*.txt", state, *sets, target=module) as running:
            running.kill("writer.store", after_batches=batches)
            running.until(lambda views: views["writer.store"].generation > 1, "another writer")
            running.process.kill()
            running.wait()
    with Load(folder / "*.txt", state, *sets, target=module) as running:
        code = running.wait()
    assert code == 0, running.output()
    lines = (state / "out.txt").read_bytes().splitlines()
    if kind == "jsonl":
        lines = [b" ".join(part.encode() for part in parts) for parts in map(_decoded, lines)]
    assert lines == [b"k%d value %d" % (number, number) for number in range(records)]


def _decoded(line: bytes) -> list[str]:
    """msgspec writes bytes as base64."""
    return [msgspec.convert(part, bytes).decode() for part in json.loads(line)]


def test_a_manifest_knows_the_partitions_written_to_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.sinks.lines_manifest.MAX_PARTITIONS", 3)
    with closing(Lines().open("out", tmp_path)) as sink:
        sink.write([payload([f"{number}"], 0, 10, f"p{number}") for number in range(3)])
        sink.write([payload(["again"], 10, 20, "p0")])
        sink.write([payload(["3"], 0, 10, "p3")])
        sink.write([payload(["again"], 10, 20, "p0"), payload(["2"], 0, 10, "p2"), payload(["3"], 0, 10, "p3")])
    assert (tmp_path / "out.log").read_text().split() == ["0", "1", "2", "again", "3"]
    manifest = json.loads(manifest_path(tmp_path / "out.log").read_bytes())
    assert manifest["applied"] == {"p2": 10, "p0": 20, "p3": 10}


def test_a_group_of_very_many_batches_is_written_whole(tmp_path: Path) -> None:
    with closing(Lines().open("out", tmp_path)) as sink:
        sink.write([payload([f"{number}"], number, number + 1) for number in range(3000)])
    assert (tmp_path / "out.log").read_text().split() == [str(number) for number in range(3000)]


def test_what_was_there_before_without_a_newline_gets_one(tmp_path: Path) -> None:
    (tmp_path / "out.log").write_bytes(b"old")
    for start in range(2):
        with closing(Lines().open("out", tmp_path)) as sink:
            sink.write([payload([b"new"], start, start + 1)])
    assert (tmp_path / "out.log").read_bytes() == b"old\nnew\nnew\n"
    Lines().clear("out", tmp_path)
    assert (tmp_path / "out.log").read_bytes() == b"old"
