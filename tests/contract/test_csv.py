"""The sink csv: what is in its files is what any reader of CSV finds there, once, whoever dies when."""

from __future__ import annotations

import csv
import io
import math
import os
import resource
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.errors import ConfigError, Reject, Retryable
from actors.runtime.values import Payload
from actors.sinks.csv import Csv
from actors.sinks.csv_files import index_of
from actors.sinks.dead_letters import read_letters
from actors.sinks.lines_manifest import manifest_path
from tests.loads import Running

TABLE = Csv(columns=["asin", "mean", "count"], sync=False)
FILES = Csv(columns=["asin", "count"], folder="minutes", sync=False)
FIELDS = st.one_of(st.none(), st.integers(), st.floats(), st.booleans(), st.text(
    st.one_of(st.sampled_from('",\r\n;\0 '), st.characters(exclude_categories=["Cs"])), max_size=6))


def payload(options: Csv, items: list[Any], start: int, end: int, partition: str = "p") -> Payload:
    return Payload(partition, start, end, len(items), options.pack(items))


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith(".")}


def killed(sink: Any) -> None:
    """What is left of a sink whose process was killed: its files, without the lock."""
    os.close(sink._descriptor)
    sink._descriptor = None


# What is written ------------------------------------------------------------------------------------------------------

@settings(max_examples=200)
@given(st.lists(st.tuples(FIELDS, FIELDS, FIELDS), max_size=5), st.sampled_from(",;\t|"))
def test_any_reader_finds_the_fields_that_were_written_as_text(rows: list[tuple[Any, ...]], delimiter: str) -> None:
    options = Csv(columns=["a", "b", "c"], delimiter=delimiter)
    data = options.pack(rows)
    expected = [tuple("" if field is None else str(field) for field in row) for row in rows]
    assert [tuple(row) for row in csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter)] == expected
    assert options.unpack(data) == expected
    assert options.pack(options.unpack(data)) == data
    assert not data or data.endswith(b"\n")


@given(st.floats())
def test_a_float_is_read_as_the_same_float(number: float) -> None:
    ((found,),) = Csv(columns=["a"]).unpack(Csv(columns=["a"]).pack([(number,)]))
    assert float(found) == number or (math.isnan(number) and math.isnan(float(found)))


def test_only_what_needs_it_is_quoted_and_rows_end_in_a_newline() -> None:
    rows = [("x", 4.5), (None, True), ("a,b", 'say "c"'), ("d\re", "f\ng"), ["", -0.0]]
    assert Csv(columns=["a", "b"]).pack(rows) == (
        b'x,4.5\n,True\n"a,b","say ""c"""\n"d\re","f\ng"\n,-0.0\n')
    assert Csv(columns=["a"]).pack([(None,), ("",)]) == b'""\n""\n'


class Row(msgspec.Struct):
    count: int
    asin: str


def test_a_row_may_have_its_columns_by_name() -> None:
    options = Csv(columns=["asin", "count"])
    assert options.pack([{"count": 1, "asin": "a"}, Row(2, "b")]) == b"a,1\nb,2\n"


@pytest.mark.parametrize(("row", "reason", "detail"), [
    (("a", 1), "columns", r"expected 3 \(asin, mean, count\), got 2"),
    ({"asin": "a", "mean": 1.0, "number": 2}, "columns", "expected asin, mean, count, got asin, mean, number"),
    (("a", b"1.0", 1), "field", "mean: expected text, a number, a time or None, got bytes b'1.0'"),
    (("a", [1.0], 1), "field", r"mean: expected .* got list \[1.0\]"),
    ("abc", "row", "expected a tuple, a list, a mapping or a struct, got str 'abc'"),
])
def test_a_row_that_is_none_is_rejected(row: Any, reason: str, detail: str) -> None:
    with pytest.raises(Reject, match=detail) as caught:
        TABLE.pack([("a", 1.0, 1), row])
    assert caught.value.reason == reason


@pytest.mark.parametrize("name", ["", ".", "..", "../a.csv", "a/b.csv", "/etc/passwd", ".hidden.csv", "a\nb.csv", "a\0",
                                  "a\udcff", "ä" * 121])
def test_what_is_no_name_of_a_file_is_rejected(name: str) -> None:
    with pytest.raises(Reject, match="expected ") as caught:
        FILES.pack([(name, [("a", 1)])])
    assert caught.value.reason == "name"


@pytest.mark.parametrize("item", ["a.csv", ("a.csv",), ("a.csv", "rows"), (1, []), ("a.csv", [], 2), {"a.csv": []}])
def test_what_is_no_file_is_rejected(item: Any) -> None:
    with pytest.raises(Reject, match=r"expected \(name, rows\), got"):
        FILES.pack([item])


@pytest.mark.parametrize(("options", "problem"), [
    ({"columns": []}, "columns: expected one or more"), ({"columns": ["a", "a"]}, "columns: expected one or more"),
    ({"columns": ["a"], "path": "a", "folder": "b"}, "expected one of them"),
    ({"columns": ["a"], "delimiter": "\n"}, "delimiter: expected one character"),
    ({"columns": ["a"], "delimiter": ",,"}, "delimiter: expected one character"),
])
def test_options_of_which_nothing_can_be_made_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Csv(**options)


# A table --------------------------------------------------------------------------------------------------------------

def test_a_table_begins_with_its_head_also_without_rows_and_has_it_once(tmp_path: Path) -> None:
    for start in range(3):
        with closing(TABLE.open("out", tmp_path)) as sink:
            assert (tmp_path / "out.csv").read_text().startswith("asin,mean,count\n")
            sink.write([payload(TABLE, [("a", 4.5, start)], start, start + 1)])
    assert (tmp_path / "out.csv").read_text() == "asin,mean,count\na,4.5,0\na,4.5,1\na,4.5,2\n"
    TABLE.clear("out", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_table_without_a_head_has_none(tmp_path: Path) -> None:
    options = Csv(columns=["a"], header=False)
    with closing(options.open("out", tmp_path)) as sink:
        sink.write([payload(options, [("x",)], 0, 1)])
    assert (tmp_path / "out.csv").read_text() == "x\n"


@pytest.mark.parametrize("torn", [b"", b"as", b"asin,mean,count\n"])
def test_a_kill_while_the_head_is_written_leaves_one_head(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "out.csv").write_bytes(torn)
    manifest_path(tmp_path / "out.csv").write_text('{"length": 0}')
    with closing(TABLE.open("out", tmp_path)):
        assert (tmp_path / "out.csv").read_text() == "asin,mean,count\n"


def test_a_table_with_other_columns_is_refused_before_and_when_it_is_opened(tmp_path: Path) -> None:
    with closing(TABLE.open("out", tmp_path)) as sink:
        sink.write([payload(TABLE, [("a", 1.0, 1)], 0, 1)])
    other = Csv(columns=["asin", "count"])
    for use in (other.open, other.check):
        with pytest.raises(ConfigError, match=r"out\.csv: expected it to begin with 'asin,count\\n', got 'asin,mean"):
            use("out", tmp_path)
    with closing(TABLE.open("out", tmp_path)):
        pass


def test_a_table_that_was_there_before_is_gone_on_with_on_a_line_of_its_own(tmp_path: Path) -> None:
    before = "asin,mean,count\nold,1.0,1"
    (tmp_path / "out.csv").write_text(before)
    with closing(TABLE.open("out", tmp_path)) as sink:
        sink.write([payload(TABLE, [("new", 2.0, 2)], 0, 1)])
    assert (tmp_path / "out.csv").read_text() == before + "\nnew,2.0,2\n"
    TABLE.clear("out", tmp_path)
    assert (tmp_path / "out.csv").read_text() == before


# Files ----------------------------------------------------------------------------------------------------------------

def test_each_file_has_its_head_and_a_revision_takes_its_place_whole(tmp_path: Path) -> None:
    folder = tmp_path / "minutes"
    with closing(FILES.open("out", tmp_path)) as sink:
        sink.write([payload(FILES, [("1.csv", [("a", 1), ("b", 2)]), ("2.csv", [])], 0, 1)])
        with (folder / "1.csv").open() as before:
            sink.write([payload(FILES, [("1.csv", [("a", 3)])], 1, 2)])
            assert before.read() == "asin,count\na,1\nb,2\n"
        assert files(folder) == {"1.csv": "asin,count\na,3\n", "2.csv": "asin,count\n"}
        assert [path.name for path in folder.iterdir() if path.name.endswith(".new")] == []


def test_a_batch_that_comes_again_brings_no_earlier_version_back(tmp_path: Path) -> None:
    early, late = (payload(FILES, [("1.csv", [("a", number)])], number, number + 1) for number in range(2))
    for group in ([early, late], [early], [early, late]):
        with closing(FILES.open("out", tmp_path)) as sink:
            sink.write(group)
        assert files(tmp_path / "minutes") == {"1.csv": "asin,count\na,1\n"}
    assert FILES.positions("out", tmp_path) == {"p": 2}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["", "index", "file", "no manifest"])), min_size=1,
                max_size=10))
def test_whatever_is_killed_when_each_file_has_its_last_rows_and_all_are_known(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    state = tmp_path_factory.mktemp("csv")
    options = FILES
    folder, index = state / "minutes", index_of(state / "minutes", "out")
    batches = [[(f"{batch % 5}.csv", [("a", batch)])] for batch in range(30)]
    sink: Any = options.open("out", state)
    done = committed = 0
    for size, torn in steps:
        before = manifest_path(index).read_bytes() if committed else b""
        upto = min(len(batches), done + size)
        sink.write([payload(options, batches[number], number, number + 1) for number in range(committed, upto)])
        done = committed = upto
        if torn:
            killed(sink)
            if torn == "index":
                index.write_bytes(index.read_bytes() + b"half a na")
            elif torn == "file":
                (folder / ".0.csv.new").write_bytes(b"asin,co")
            elif before:  # between the renames and the manifest: all of it comes again
                manifest_path(index).write_bytes(before)
                committed = FILES.positions("out", state).get("p", 0)
            sink = options.open("out", state)
    sink.write([payload(options, batches[number], number, number + 1) for number in range(committed, done)])
    sink.close()
    assert files(folder) == {name: f"asin,count\n{rows[0][0]},{rows[0][1]}\n" for ((name, rows),) in batches[:done]}
    (folder / "of somebody else.csv").touch()
    options.clear("out", state)
    assert [path.name for path in folder.iterdir()] == ["of somebody else.csv"]


def test_files_of_a_group_that_was_not_finished_are_cleared_as_well(tmp_path: Path) -> None:
    sink: Any = FILES.open("out", tmp_path)
    sink.write([payload(FILES, [("1.csv", []), ("2.csv", [])], 0, 1)])
    killed(sink)
    manifest_path(index_of(tmp_path / "minutes", "out")).unlink()
    (tmp_path / "minutes" / ".2.csv.new").touch()
    FILES.clear("out", tmp_path)
    assert list((tmp_path / "minutes").iterdir()) == []


def test_an_index_that_somebody_removes_is_told_before_a_file_is_written_that_is_nobodys(tmp_path: Path) -> None:
    options = Csv(columns=["n"], folder="by")
    with closing(options.open("out", tmp_path)) as sink:
        sink.write([payload(options, [("a.csv", [(1,)])], 0, 10)])
        index_of(tmp_path / "by", "out").unlink()
        with pytest.raises(ConfigError, match="it was removed, moved away or replaced while it was written to"):
            sink.write([payload(options, [("b.csv", [(2,)])], 10, 20)])
    assert set(files(tmp_path / "by")) == {"a.csv"}


def test_files_are_cleared_only_when_nobody_writes_them(tmp_path: Path) -> None:
    with closing(FILES.open("out", tmp_path)) as sink:
        sink.write([payload(FILES, [("1.csv", [])], 0, 1)])
        with pytest.raises(ConfigError, match="another process writes to it"):
            FILES.clear("out", tmp_path)
        with pytest.raises(ConfigError, match="another process writes to it"):
            FILES.open("out", tmp_path)
        with closing(FILES.open("another", tmp_path)):
            assert files(tmp_path / "minutes") == {"1.csv": "asin,count\n"}


def test_a_full_disk_is_waited_for_and_its_space_given_back(tmp_path: Path) -> None:
    with closing(FILES.open("out", tmp_path)) as sink:
        sink.write([payload(FILES, [("1.csv", [("a", 1)])], 0, 1)])
        more = payload(FILES, [("1.csv", [("b" * 2000, 2)]), ("2.csv", [])], 1, 2)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            with pytest.raises(Retryable, match=r"minutes: file too large"):
                sink.write([more])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        assert files(tmp_path / "minutes") == {"1.csv": "asin,count\na,1\n"}
        assert not list((tmp_path / "minutes").glob("*.new"))
        assert sink.write([more]) == []
        assert files(tmp_path / "minutes") == {"1.csv": "asin,count\n" + "b" * 2000 + ",2\n", "2.csv": "asin,count\n"}


def test_a_folder_in_the_place_of_a_file_is_named_and_waited_for(tmp_path: Path) -> None:
    (tmp_path / "minutes" / "1.csv").mkdir(parents=True)
    with closing(FILES.open("out", tmp_path)) as sink:
        with pytest.raises(Retryable, match=r"minutes/1\.csv: is a directory"):
            sink.write([payload(FILES, [("1.csv", [])], 0, 1)])
        (tmp_path / "minutes" / "1.csv").rmdir()
        sink.write([payload(FILES, [("1.csv", [])], 0, 1)])
    assert files(tmp_path / "minutes") == {"1.csv": "asin,count\n"}


def test_a_link_in_the_place_of_a_file_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "minutes").mkdir()
    (tmp_path / "theirs").write_text("theirs")
    for name in ("1.csv", ".2.csv.new"):
        (tmp_path / "minutes" / name).symlink_to(tmp_path / "theirs")
    with closing(FILES.open("out", tmp_path)) as sink:
        sink.write([payload(FILES, [("1.csv", [])], 0, 1)])
        with pytest.raises(Retryable):
            sink.write([payload(FILES, [("2.csv", [])], 1, 2)])
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_a_check_says_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "minutes").write_text("in the way")
    assert FILES.check("out", tmp_path) == [f"{tmp_path}/minutes: expected a folder, got a file: move it away"]
    (tmp_path / "out.csv").mkdir()
    assert TABLE.check("out", tmp_path) == [
        f"{tmp_path}/out.csv: expected a file, got a folder: move it away, or give another path"]


# Runs -----------------------------------------------------------------------------------------------------------------

PROGRAM = """
from thresher import Pipeline
from thresher.sinks import Csv
from thresher.sources import Files


def encode(line):
    name, _, number = line.decode().partition(" ")
    return name, [(name, int(number))]


PIPELINE = Pipeline(name="filer", source=Files(pattern="data/*.txt"), parse=lambda line: line, encode=encode,
                    sinks={"out": Csv(columns=["name", "number"], folder="out")})
"""


def test_a_name_that_leads_elsewhere_is_a_dead_letter_and_its_neighbours_are_written(tmp_path: Path) -> None:
    (tmp_path / "filer.py").write_text(PROGRAM)
    (tmp_path / "lines.txt").write_text("1.csv 1\n../2.csv 2\n/tmp/3.csv 3\n.. 4\n5.csv 5\n1.csv 6\n")
    with Running(tmp_path / "state", "run", str(tmp_path / "filer.py"), str(tmp_path / "lines.txt"), "--set",
                 "budget.max_error_rate=1") as running:
        assert running.wait() == 0, running.output()
    assert files(tmp_path / "state" / "out") == {"1.csv": "name,number\n1.csv,6\n", "5.csv": "name,number\n5.csv,5\n"}
    letters = sorted((letter.reason, letter.raw) for letter in read_letters(tmp_path / "state" / "dead-letters.db"))
    assert letters == [("name", b".. 4"), ("name", b"../2.csv 2"), ("name", b"/tmp/3.csv 3")]
