"""Parquet files of a journal: when they are made, what a kill at each step leaves, what is refused and waited for."""

from __future__ import annotations

import datetime
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.runtime import disk
from actors.runtime.errors import ConfigError, Reject, Retryable
from actors.runtime.ports import GatheringSink
from actors.runtime.values import Payload
from actors.sinks import growing_file, lines_manifest, parquet_files
from actors.sinks.lines_manifest import manifest_path
from actors.sinks.parquet import Parquet
from actors.sinks.parquet_files import ParquetFolder
from tests.loads import ROOT

COLUMNS = {"number": "integer", "text": "text?"}


def rows(options: Parquet, numbers: range, partition: str = "p") -> Payload:
    """A batch of these numbers, whose positions they are."""
    return Payload(partition, numbers.start, numbers.stop, len(numbers),
                   options.pack([(number, f"row {number}") for number in numbers]))


def read(path: Path) -> pa.Table:
    """What is in a file."""
    with pq.ParquetFile(path) as file:
        return file.read(use_threads=False)


def files(folder: Path) -> list[list[int]]:
    """The numbers in each file that has its name; all columns are read."""
    found = [read(path) for path in sorted(folder.glob("part-*.parquet"))]
    for table in found:
        assert table.column("text").to_pylist() == [f"row {number}" for number in table.column("number").to_pylist()]
    return [table.column("number").to_pylist() for table in found]


def waiting(folder: Path) -> list[int]:
    """The numbers in the journal, as a reader of Arrow finds them."""
    numbers: list[int] = pa.ipc.open_stream((folder / ".out.journal").read_bytes()).read_all()["number"].to_pylist()
    return numbers


def killed(sink: Any) -> None:
    """What is left of a sink whose process was killed: its files, without the lock."""
    if sink._descriptor is not None:
        os.close(sink._descriptor)
        sink._descriptor = None


def test_rows_wait_in_the_journal_until_it_is_long_or_the_input_has_ended(tmp_path: Path) -> None:
    options = Parquet(folder="f", columns=COLUMNS, roll_bytes=1500, roll_s=0)
    with closing(options.open("out", tmp_path)) as sink:
        for start in range(0, 110, 10):
            sink.write([rows(options, range(start, start + 10))])
            sink.write([rows(options, range(start, start + 10))])  # it is delivered again
            assert sink.tick() is None
        made = files(tmp_path / "f")
        assert len(made) > 1
        assert [number for numbers in [*made, waiting(tmp_path / "f")] for number in numbers] == list(range(110))
        assert waiting(tmp_path / "f") != []
        for _ in range(2):
            sink.end()
        assert [number for numbers in files(tmp_path / "f") for number in numbers] == list(range(110))
        assert waiting(tmp_path / "f") == []
        names = sorted(path.name for path in (tmp_path / "f").iterdir())
        assert names[:2] == [".out.journal", ".out.journal.manifest"]
        assert len({name.split("-")[2] for name in names[2:]}) == 1, "the names say whose they are"


def test_a_file_is_made_when_the_first_row_is_old_enough_also_after_a_restart(tmp_path: Path) -> None:
    now = [1000.0]
    options = Parquet(folder="f", columns=COLUMNS, roll_s=60)

    def opened() -> ParquetFolder:
        return ParquetFolder(tmp_path / "f", "out", options, lambda: now[0])

    with closing(opened()) as sink:
        assert sink.tick() is None, "nothing waits"
        sink.write([rows(options, range(5))])
        now[0] += 20
        sink.write([rows(options, range(5, 10))])
        assert sink.tick() == 40
    now[0] -= 500
    with closing(opened()) as sink:
        assert sink.tick() == 60, "a clock that has gone back keeps nothing waiting"
        now[0] += 540
        assert sink.tick() is None
        assert files(tmp_path / "f") == [list(range(10))]
        assert sink.tick() is None
        sink.write([rows(options, range(10, 12))])
        assert sink.tick() == 60


class Killed(BaseException):
    """The process is gone."""


@contextmanager
def killed_at(step: int) -> Iterator[list[str]]:
    """Be killed before the change to the disk of this number; yields what was done before."""
    done: list[str] = []
    patch = pytest.MonkeyPatch()

    def before(of: Any, name: str) -> None:
        real = getattr(of, name)

        def stepped(*args: Any, **words: Any) -> Any:
            if len(done) == step:
                raise Killed
            done.append(name)
            return real(*args, **words)

        patch.setattr(of, name, stepped)

    for of, name in ((os, "ftruncate"), (os, "fsync"), (os, "fdatasync"), (Path, "rename"), (Path, "replace"),
                     (Path, "unlink"), (growing_file, "write_all"), (parquet_files, "write_all")):
        before(of, name)
    try:
        yield done
    finally:
        patch.undo()


def test_whatever_step_a_kill_comes_at_each_row_is_in_one_file_once_and_what_was_taken_away_stays_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Parquet(folder="f", columns=COLUMNS, roll_bytes=1, row_group_bytes=1)
    batches = [rows(options, range(start, start + 3)) for start in range(0, 6, 3)]
    for flush in ("fsync", "fdatasync"):  # a kill takes nothing that was written, so that the test need not wait
        monkeypatch.setattr(os, flush, lambda descriptor: None)

    def writes(folder: Path) -> None:
        sink = options.open("out", folder)
        try:
            for number in range(len(batches)):
                sink.write(batches[max(0, number - 1):number + 1])
            sink.end()
        finally:
            killed(sink)

    step, was_killed = 0, True
    while was_killed:
        folder = tmp_path / f"{step}"
        with killed_at(step) as done:
            try:
                writes(folder)
                was_killed = False
            except Killed:
                pass
        taken: list[int] = []
        for path in sorted((folder / "f").glob("part-*")) if was_killed else ():
            taken += read(path).column("number").to_pylist()
            path.unlink()  # somebody has seen it, and moves it away at once
        writes(folder)
        found = [*taken, *(number for numbers in files(folder / "f") for number in numbers)]
        assert found == list(range(6)), f"killed before {step}, behind {done[-3:]}"
        assert not list((folder / "f").glob(".part-*")), f"killed before {step}"
        step += 1
    assert step > 30, "the steps were counted"


def _full(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """A disk that takes so many writes of a file that is made, and half of the next one."""
    left = [after]

    def write_all(descriptor: int, buffers: list[memoryview], offset: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            disk.write_all(descriptor, [buffers[0][:1]], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        disk.write_all(descriptor, buffers, offset)

    monkeypatch.setattr(parquet_files, "write_all", write_all)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_full_disk_is_waited_for_gives_its_bytes_back_and_nothing_is_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    options = Parquet(folder="f", columns=COLUMNS, roll_bytes=1)
    with closing(options.open("out", tmp_path)) as sink:
        sink.write([rows(options, range(50))])
        _full(monkeypatch, after)
        tries: list[Callable[[], object]] = [sink.tick, sink.end, lambda: sink.write([rows(options, range(50, 60))])]
        for attempt in tries:
            with pytest.raises(Retryable, match=rf"^{tmp_path}/f: no space left on device$"):
                attempt()
            assert not list((tmp_path / "f").glob("*part-*"))
        monkeypatch.undo()
        sink.write([rows(options, range(50, 60))])
        sink.end()
    assert files(tmp_path / "f") == [list(range(50)), list(range(50, 60))]


def test_rows_of_other_columns_become_a_file_of_their_own(tmp_path: Path) -> None:
    before = Parquet(folder="f", columns=COLUMNS)
    with closing(before.open("out", tmp_path)) as sink:
        sink.write([rows(before, range(5))])
    after = Parquet(folder="f", columns={"word": "text"})
    for _ in range(2):
        with closing(after.open("out", tmp_path)):
            assert files(tmp_path / "f") == [[0, 1, 2, 3, 4]]
    with closing(after.open("out", tmp_path)) as sink:
        sink.write([Payload("p", 5, 6, 1, after.pack([("a",)]))])
        sink.end()
    assert [read(path).to_pydict() for path in sorted((tmp_path / "f").glob("part-*"))][1] == {"word": ["a"]}


class Item(msgspec.Struct):
    a: Any
    b: Any


def test_every_type_is_there_as_it_was_and_may_be_packed_again(tmp_path: Path) -> None:
    kinds = ("text", "integer", "real", "timestamp", "json", "boolean", "bytes")
    at = datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, datetime.UTC)
    options = Parquet(columns={kind: f"{kind}?" for kind in kinds}, compression="none")
    items = [("ä\n", -2**63, -0.0, at, {"a": [1, None]}, False, b"\0\xff"), (None,) * 7,
             dict(zip(kinds, ("", 1, 2, 1_500_000_000_123, "t", True, b""), strict=True))]
    data = options.pack(items)
    with closing(options.open("out", tmp_path)) as sink:
        sink.write([Payload("p", 0, 1, 3, data)])
        sink.end()
    (path,) = (tmp_path / "out.parquet").glob("part-*")
    table = read(path)
    assert [str(field.type) for field in table.schema] == [
        "string", "int64", "double", "timestamp[us, tz=UTC]", "string", "bool", "binary"]
    found = table.set_column(3, "timestamp", table.column("timestamp").cast("int64")).to_pydict()
    assert found == {"text": ["ä\n", None, ""], "integer": [-2**63, None, 1], "real": [-0.0, None, 2.0],
                     "timestamp": [253402300799999999, None, 1_500_000_000_123_000],
                     "json": ['{"a":[1,null]}', None, '"t"'], "boolean": [False, None, True],
                     "bytes": [b"\0\xff", None, b""]}
    assert options.unpack(data)[:2] == items[:2]
    assert options.pack(options.unpack(data)) == data
    named = Parquet(columns={"a": "integer", "b": "text"})
    assert named.pack([Item(1, "x")]) == named.pack([{"b": "x", "a": 1}]) == named.pack([(1, "x")])


@pytest.mark.parametrize(("item", "problem"), [
    ((1,), "expected 2 values"), ((None, "x"), "number: expected integer"), (("1", "x"), "number: expected integer"),
    ((1, 2), "text: expected text"), ({"number": 1}, "expected an item with number, text"), (7, "expected an item")])
def test_a_row_that_does_not_fit_is_rejected_with_its_column(item: Any, problem: str) -> None:
    with pytest.raises(Reject, match=problem) as raised:
        Parquet(columns=COLUMNS).pack([(1, "x"), item])
    assert raised.value.reason == "column"


@pytest.mark.parametrize(("values", "problem"), [
    ({"columns": {}}, "columns: expected one or more"), ({"columns": {"a": "float"}}, "columns: a: expected text"),
    ({"columns": COLUMNS, "compression": "zip"}, "compression"), ({"columns": COLUMNS, "roll_bytes": 0}, "roll_bytes")])
def test_options_that_make_no_file_are_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError), match=problem):
        msgspec.convert(values, Parquet)


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "lz4", "zstd"])
def test_files_are_compressed_as_is_wanted_and_row_groups_are_bounded(tmp_path: Path, compression: Any) -> None:
    options = Parquet(folder="f", columns=COLUMNS, compression=compression, row_group_bytes=2000)
    with closing(options.open("out", tmp_path)) as sink:
        sink.write([rows(options, range(at, at + 20)) for at in range(0, 400, 20)])
        sink.end()
    (path,) = (tmp_path / "f").glob("part-*")
    found = pq.ParquetFile(path).metadata
    assert {found.row_group(0).column(at).compression for at in (0, 1)} == {
        "UNCOMPRESSED" if compression == "none" else compression.upper()}
    assert found.num_row_groups > 3
    assert files(tmp_path / "f") == [list(range(400))]


@pytest.mark.parametrize("data", [b"", b"abc", b"\x91" * 200, "short", "zeros", "others"])
def test_what_another_sink_has_packed_gets_into_no_journal(tmp_path: Path, data: bytes | str) -> None:
    options = Parquet(folder="f", columns=COLUMNS)
    good = rows(options, range(3))
    whole = bytes(good.data)
    bad = data if isinstance(data, bytes) else {
        "short": whole[:-8], "zeros": whole[:8] + bytes(len(whole) - 8), "others": Parquet(
            columns={"number": "integer"}).pack([(1,)] * 3)}[data]
    with closing(options.open("out", tmp_path)) as sink:
        with pytest.raises(ValueError, match=r"."):
            sink.write([good, Payload("p", 3, 4, 3, bad)])
        assert waiting(tmp_path / "f") == []


@pytest.mark.parametrize("how", ["zeros", "noise", "cut", "removed", "no manifest"])
def test_a_journal_that_is_not_what_was_written_is_told_and_no_row_is_left_out(tmp_path: Path, how: str) -> None:
    options = Parquet(folder="f", columns=COLUMNS)
    journal = tmp_path / "f" / ".out.journal"
    with closing(options.open("out", tmp_path)) as sink:
        head = len(journal.read_bytes())
        sink.write([rows(options, range(5)), rows(options, range(5, 10))])
    content = journal.read_bytes()
    match how:
        case "zeros" | "noise":
            middle = head + (len(content) - head) // 2
            journal.write_bytes(content[:middle] + bytes([how == "noise"]) * (len(content) - middle))
        case "cut":
            journal.write_bytes(content[:-1])
        case "removed":
            journal.unlink()
        case _:
            manifest_path(journal).unlink()
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"\.out\.journal: (not what was written|expected ).*put it back"):
            _end(options.open("out", tmp_path))
        assert not list((tmp_path / "f").glob("*part-*"))


def _end(sink: GatheringSink) -> None:
    with closing(sink):
        sink.end()


def test_the_journal_is_held_and_one_that_is_taken_away_under_its_writer_is_told(tmp_path: Path) -> None:
    options = Parquet(folder="f", columns=COLUMNS)
    with closing(options.open("out", tmp_path)) as sink:
        with pytest.raises(ConfigError, match="another process writes to it"):
            options.open("out", tmp_path)
        with pytest.raises(ConfigError, match="another process writes to it"):
            options.clear("out", tmp_path)
        with closing(options.open("other", tmp_path)) as other:
            other.write([rows(options, range(5))])
            other.end()
        sink.write([rows(options, range(5, 10))])
        (tmp_path / "f" / ".out.journal").unlink()
        for do in (lambda: sink.write([rows(options, range(10, 15))]), sink.end):
            with pytest.raises(ConfigError, match=r"removed, moved away or replaced"):
                do()
    assert files(tmp_path / "f") == [[0, 1, 2, 3, 4]]
    (tmp_path / "f" / ".out.journal.manifest").unlink()
    assert options.clear("other", tmp_path)
    assert list((tmp_path / "f").iterdir()) == []


def test_memory_is_bounded_by_a_row_group(tmp_path: Path) -> None:
    program = """if 1:
        import json, sys, pyarrow as pa
        from pathlib import Path
        from actors.runtime.values import Payload
        from actors.sinks.parquet import Parquet
        options = Parquet(folder="f", columns={"text": "text"}, row_group_bytes=int(sys.argv[2]), sync=False)
        sink = options.open("out", Path(sys.argv[1]))
        data = options.pack([("%07d" % at + "x" * 993,) for at in range(1000)])
        for at in range(32):
            sink.write([Payload("p", at, at + 1, 1000, data)])
        before = pa.default_memory_pool().max_memory()
        sink.end()
        print(json.dumps([before, pa.default_memory_pool().max_memory()]))
        """
    took = {}
    for size in (2_000_000, 64_000_000):
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path / str(size)), str(size)], cwd=ROOT,
                              capture_output=True, text=True, check=True, timeout=240)
        before, took[size] = json.loads(done.stdout)
        assert before < 3_000_000, "nothing is held while rows come"
    assert took[2_000_000] < 12_000_000 < 32_000_000 < took[64_000_000]


def test_a_missing_library_is_said_with_how_to_get_it(tmp_path: Path) -> None:
    program = ("import sys; sys.modules['pyarrow'] = None; from pathlib import Path\n"
               "from actors.sinks.parquet import Parquet\n"
               "Parquet(columns={'a': 'text'}).open('out', Path(sys.argv[1]))")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
                          check=False, timeout=240)
    assert done.stderr.splitlines()[-1] == (
        "actors.runtime.errors.ConfigError: sinks.out: type parquet needs pyarrow: pip install 'pyarrow>=18.0'")


def test_what_is_promised_says_when_a_row_is_in_a_file() -> None:
    assert lines_manifest.Manifest().made is msgspec.UNSET, "others have no such thing in their manifest"
    assert Parquet(columns=COLUMNS, roll_bytes=5, roll_s=2.5).promises().endswith(
        "once, in source order; a file is made after 2.5 s, at 5 bytes of journal, or at the end of the input")
    assert Parquet(columns=COLUMNS, roll_s=0).promises().endswith(
        "; a file is made at 134217728 bytes of journal, or at the end of the input")
