"""Files as they come: cut off, damaged, odd, changed under the reader's hands. Each is a real run.

Whatever the file, every record read has one outcome, every good line is stored, and the report says in a sentence what
was wrong with it. Files change while they are read by holding a writer still: the window fills, and the reader stops in
the middle of a file until the writer goes on.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.runtime.ledger import read_units
from actors.sinks.dead_letters import StoredLetter, read_letters
from scripts.make_logs import make_lines
from tests.loads import ROOT, Load, assert_counts_add_up, expected_stores, lmdb_stores, load

LINES = list(make_lines(2000, 3))
BODY = b"".join(line + b"\n" for line in LINES)
GZIP = gzip.compress(BODY)
ACCEPTABLE = "acceptable error rate, successful load"
HIGH = "high error rate, failed load"
NOT_WHOLE = ("not whole, failed load: kept its name; give the whole file under the same name, it goes on behind what "
             "was read")
#: Small enough that the reader is in the middle of a file of some megabytes when its window is full.
NARROW = ("flow.batch_bytes=16384", "flow.window_batches=4")
BIG = [line for seed in range(4) for line in make_lines(3000, 100 + seed)]
BIG_BODY = b"".join(line + b"\n" for line in BIG)
CHANGED = "while it was loaded: what was read is loaded, the file keeps its name; run again to load it as it is now"
MISSING = "there is no such file (check the name; it may have been moved or deleted)"


def _unit(running: Load) -> dict[str, Any]:
    """The one file of a run's report."""
    (report,) = running.of("report")
    (unit,) = report["units"]
    assert unit["balanced"]
    assert_counts_add_up(running.state)
    return dict(unit)


def _letters(state: Path) -> list[StoredLetter]:
    return list(read_letters(state / "dead-letters.db"))


def _load(tmp_path: Path, name: str, content: bytes, *sets: str) -> tuple[Load, Path]:
    path = tmp_path / "logs" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return load(path, tmp_path / "state", *sets), path


def _complete_lines(content: bytes) -> list[bytes]:
    return content[:content.rfind(b"\n") + 1].split(b"\n")[:-1]


# Gzip.


def test_of_a_truncated_gzip_all_complete_lines_are_loaded_and_the_rest_is_one_dead_letter(tmp_path: Path) -> None:
    kept = len(GZIP) - 5000
    done, path = _load(tmp_path, "1.tsv.gz", GZIP[:kept])
    stored = lmdb_stores(tmp_path / "state")
    lines = sum(map(len, stored.values()))  # no key comes twice
    (letter,) = _letters(tmp_path / "state")
    assert stored == expected_stores(LINES[:lines])
    assert BODY.startswith(b"".join(line + b"\n" for line in LINES[:lines]) + letter.raw)
    unit = _unit(done)
    text = (f"the gzip data stop in the middle, after {kept} compressed bytes; "
            "the file was probably not copied to its end")
    assert (unit["rejected"], unit["problem"], unit["verdict"]) == ({"truncated_gzip": 1}, text, NOT_WHOLE)
    assert (letter.reason, letter.detail, letter.line) == ("truncated_gzip", text, lines + 1)
    assert (done.process.returncode, path.exists()) == (4, True)  # the end of it may have been most of it
    (report,) = done.of("report")
    assert report["reason"] == f"1 of 1 files are not whole, the first is {path}"
    assert report["meaning"] == (
        "files are not whole: give each whole file under the same name and run again: only the rest is loaded")


@pytest.mark.parametrize("cut", [len(GZIP) - 5000, len(GZIP) - 4, 5])
def test_a_truncated_gzip_that_is_given_again_whole_goes_on_behind_what_was_read(tmp_path: Path, cut: int) -> None:
    _load(tmp_path, "1.tsv.gz", GZIP[:cut])
    before = sum(map(len, lmdb_stores(tmp_path / "state").values()))
    again, path = _load(tmp_path, "1.tsv.gz", GZIP[:cut])  # nobody has mended it yet
    assert (again.process.returncode, _unit(again)["processed"], path.exists()) == (4, 0, True)
    done, path = _load(tmp_path, "1.tsv.gz", gzip.compress(BODY, 1))  # packed in another way: the content counts
    unit = _unit(done)
    assert (done.process.returncode, unit["processed"], path.exists()) == (0, len(LINES) - before, False)
    assert lmdb_stores(tmp_path / "state") == expected_stores(LINES)
    assert ("were loaded before" in unit["note"]) == (before > 0)


def test_another_file_under_the_name_of_a_truncated_one_is_read_from_its_beginning(tmp_path: Path) -> None:
    _load(tmp_path, "1.tsv.gz", GZIP[:-5000])
    done, _ = _load(tmp_path, "1.tsv.gz", gzip.compress(BIG_BODY))
    assert (done.process.returncode, _unit(done)["processed"]) == (0, len(BIG))


def test_a_truncated_gzip_can_be_accepted_within_the_budget(tmp_path: Path) -> None:
    done, path = _load(tmp_path, "1.tsv.gz", GZIP[:-5000], "source.damaged=accept")
    unit = _unit(done)
    assert (done.process.returncode, unit["rejected"], unit["verdict"]) == (0, {"truncated_gzip": 1}, ACCEPTABLE)
    assert not path.exists()


def test_other_bytes_behind_a_gzip_are_told_and_leave_it_whole(tmp_path: Path) -> None:
    done, path = _load(tmp_path, "1.tsv.gz", gzip.compress(LINES[0] + b"\n") + b"a signature\n")
    unit = _unit(done)
    assert (done.process.returncode, unit["errors"], unit["verdict"], path.exists()) == (0, 0, ACCEPTABLE, False)
    assert "12 bytes behind the gzip data" in unit["note"]


def test_all_members_of_a_gzip_are_read(tmp_path: Path) -> None:
    half = BODY.index(b"\n", len(BODY) // 2) - 7  # within a line
    members = gzip.compress(BODY[:half]) + gzip.compress(b"") + gzip.compress(BODY[half:]) + bytes(512)
    done, _ = _load(tmp_path, "1.tsv.gz", members)
    assert lmdb_stores(tmp_path / "state") == expected_stores(LINES)
    unit = _unit(done)
    assert (unit["processed"], unit["problem"], unit["verdict"]) == (2000, "", ACCEPTABLE)


def test_of_a_gzip_with_a_damaged_block_what_lies_before_it_is_loaded(tmp_path: Path) -> None:
    first, second = gzip.compress(BODY, 0), bytearray(GZIP)
    second[10:40] = b"\xff" * 30  # an impossible block right behind the header
    done, path = _load(tmp_path, "1.tsv.gz", first + bytes(second) + GZIP)
    assert lmdb_stores(tmp_path / "state") == expected_stores(LINES)
    unit = _unit(done)
    assert (unit["processed"], unit["rejected"], unit["verdict"]) == (2000, {"corrupt_gzip": 1}, NOT_WHOLE)
    assert unit["problem"] == (
        f"the gzip data are damaged at or shortly before compressed byte {len(first) + 11} "
        "(Error -1 Invalid deflate block found); nothing behind it was read")
    assert done.process.returncode == 4 and path.exists()


def test_a_gzip_whose_checksum_is_wrong_says_that_its_records_may_be(tmp_path: Path) -> None:
    damaged = bytearray(GZIP)
    damaged[-6] ^= 1
    done, _ = _load(tmp_path, "1.tsv.gz", bytes(damaged))
    unit = _unit(done)
    assert (unit["processed"], unit["rejected"]) == (2000, {"corrupt_gzip": 1})
    assert unit["problem"] == (
        f"the gzip data are damaged somewhere between the compressed bytes 0 and {len(GZIP)}, so that records read "
        "from there may be wrong (incorrect checksum); nothing behind it was read")


@pytest.mark.parametrize(("name", "content"), [
    ("1.tsv", b""), ("1.tsv.gz", b""), ("1.tsv.gz", gzip.compress(b"")), ("1.tsv", b"\xef\xbb\xbf"), ("1.tsv", b"\n\n"),
], ids=["empty", "empty under gz", "empty gzip", "nothing but a mark", "blank lines"])
def test_a_file_without_records_is_loaded_and_put_away(tmp_path: Path, name: str, content: bytes) -> None:
    done, path = _load(tmp_path, name, content)
    unit = _unit(done)
    assert (done.process.returncode, unit["read"], unit["problem"], unit["verdict"]) == (0, 0, "", ACCEPTABLE)
    assert not path.exists() and (path.parent / f".{name}").read_bytes() == content


def test_text_under_a_name_that_ends_in_gz_fails_and_says_what_to_do(tmp_path: Path) -> None:
    done, path = _load(tmp_path, "1.tsv.gz", b"idfa\t1\t1.0\t2.0\t1\n" * 100)
    unit = _unit(done)
    assert (done.process.returncode, unit["rejected"], unit["verdict"]) == (4, {"not_gzip": 1}, HIGH)
    assert unit["problem"] == (
        "the name ends in .gz but the content is not gzip: it begins with 69 64 66 61 09 31 09 31, expected 1f 8b; "
        "if it is plain text, rename it without .gz")
    assert path.exists()


def test_a_gzip_under_another_name_is_read_as_gzip(tmp_path: Path) -> None:
    done, _ = _load(tmp_path, "1.tsv", GZIP)
    assert lmdb_stores(tmp_path / "state") == expected_stores(LINES)
    assert _unit(done)["processed"] == 2000


# Text.


@pytest.mark.parametrize("content", [
    b"\xef\xbb\xbf" + BODY, BODY.replace(b"\n", b"\r\n"), BODY[:-1], BODY.replace(b"\n", b"\n\r\n \n"),
], ids=["byte order mark", "crlf", "no newline at the end", "blank lines"])
def test_text_in_every_dress_is_loaded_whole(tmp_path: Path, content: bytes) -> None:
    done, path = _load(tmp_path, "1.tsv", content, "flow.batch_bytes=20000")
    assert lmdb_stores(tmp_path / "state") == expected_stores(LINES)
    unit = _unit(done)
    assert (unit["processed"], unit["errors"], unit["problem"], unit["verdict"]) == (2000, 0, "", ACCEPTABLE)
    assert done.process.returncode == 0 and not path.exists()


def test_bytes_that_are_no_text_are_stored_in_ids_and_rejected_where_they_cannot_be(tmp_path: Path) -> None:
    good = [b"idfa\t\xff\xfe\x80\t1.0\t2.0\t5", b"gaid\t\xc3\xa9\xf0\x9f\x98\x80\t1.0\t2.0\t5"]
    bad = {b"id\xfffa\tx\t1.0\t2.0\t3": "device_type_unknown", b"idfa\tx\t1\xff.0\t2.0\t3": "latitude",
           b"idfa\ta\x00b\t1.0\t2.0\t3": "key", b"\x00" * 500: "columns", b"idfa\tx\t1.0\t2\x00\t3": "longitude"}
    done, _ = _load(tmp_path, "1.tsv", b"\n".join([*LINES, *good, *bad, b"dvid\tlast\t1.0\t2.0\t\x00,7,\xff"]))
    stored = lmdb_stores(tmp_path / "state")
    assert stored == expected_stores([*LINES, *good, b"dvid\tlast\t1.0\t2.0\t7"])
    assert {letter.raw: letter.reason for letter in _letters(tmp_path / "state")} == bad
    assert _unit(done)["processed"] == len(LINES) + len(good) + 1


_PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def _peak_of_a_line(folder: Path, megabytes: int) -> int:
    """Load a line of so many megabytes between good ones; return the peak memory of the largest process, in bytes."""
    (folder / "logs").mkdir(parents=True)
    monster = b"idfa\tbig\t1.0\t2.0\t" + b"1," * (megabytes << 19)
    with (folder / "logs/1.tsv").open("wb") as file:
        file.writelines([*(line + b"\n" for line in LINES[:1000]), monster, b"\n",
                         *(line + b"\n" for line in LINES[1000:])])
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, sys.executable, "-m", "actors.cli", "run", "appsinstalled", "--format", "json",
         "--state", str(folder / "state"), "--set", f"source.pattern={folder}/logs/*"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    code, peak = map(int, done.stdout.split())
    assert code == 0, done.stderr
    assert lmdb_stores(folder / "state") == expected_stores(LINES)
    letters = _letters(folder / "state")
    assert [(letter.reason, letter.line, letter.raw) for letter in letters] == [("line_too_long", 1001, b"")]
    assert letters[0].detail == (
        f"line 1001 is longer than 16777216 bytes (max_line_bytes): the {len(monster) + 1} bytes from byte "
        f"{sum(len(line) + 1 for line in LINES[:1000])} of the content on; its bytes are not kept; they are in the "
        "file")
    assert_counts_add_up(folder / "state")
    return peak


def test_a_line_of_fifty_megabytes_is_one_dead_letter_and_memory_is_that_of_a_longer_one(
    tmp_path: Path
) -> None:
    short = _peak_of_a_line(tmp_path / "50", 50)
    long = _peak_of_a_line(tmp_path / "150", 150)
    assert long < short + 48 * 1024 * 1024, f"{short:,} bytes, then {long:,}"


def _bomb(path: Path, block: bytes) -> None:
    """A small gzip: some lines, 512 MB without a newline, some lines."""
    packed = zlib.compressobj(1, zlib.DEFLATED, 31)
    half = b"".join(line + b"\n" for line in LINES[:1000])
    with path.open("wb") as file:
        file.write(packed.compress(half))
        for _ in range(32):
            file.write(packed.compress(block))
        file.write(packed.compress(b"\n" + BODY[len(half):]) + packed.flush())


@pytest.mark.parametrize(("byte", "reason"), [(b"\0", "nul_hole"), (b"x", "line_too_long")])
def test_a_bomb_without_a_newline_is_one_dead_letter_and_what_is_behind_it_is_loaded(
    tmp_path: Path, byte: bytes, reason: str
) -> None:
    (tmp_path / "logs").mkdir()
    _bomb(tmp_path / "logs/1.tsv.gz", byte * (16 << 20))
    done = load(tmp_path / "logs/*", tmp_path / "state")
    unit = _unit(done)
    assert (unit["processed"], unit["rejected"], done.process.returncode) == (2000, {reason: 1}, 0)
    assert lmdb_stores(tmp_path / "state") == expected_stores(LINES)
    (letter,) = _letters(tmp_path / "state")
    assert (letter.raw, letter.line) == (b"", 1001)
    assert (tmp_path / "state/dead-letters.db").stat().st_size < 1 << 20


# What changes while it is read.


@contextmanager
def _in_the_middle(tmp_path: Path, pattern: Path | str) -> Iterator[Load]:
    """A run that stands still in the middle of its first file within the block, and ends after it."""
    with Load(pattern, tmp_path / "state", *NARROW) as running:
        views = running.until(lambda views: views["writer.idfa"].batches >= 5, "5 batches")
        os.kill(views["writer.idfa"].pid, signal.SIGSTOP)
        running.until(lambda views: views["reader.1"].phase == "WAIT_CREDIT" and views["reader.1"].open == 4,
                      "a full window")
        yield running
        os.kill(views["writer.idfa"].pid, signal.SIGCONT)
        running.wait()


def _big(tmp_path: Path, name: str = "1.tsv") -> Path:
    path = tmp_path / "logs" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(BIG_BODY, 1) if name.endswith(".gz") else BIG_BODY)
    return path


def test_of_a_file_that_shrinks_the_lines_that_are_left_are_loaded_and_it_keeps_its_name(tmp_path: Path) -> None:
    path = _big(tmp_path)
    line = BIG_BODY.rindex(b"\n", 0, len(BIG_BODY) // 2) + 1
    cut = BIG_BODY.index(b"\t", line) + 3  # within the device id
    with _in_the_middle(tmp_path, path) as running:
        os.truncate(path, cut)
    assert running.process.returncode == 1, running.output()
    assert lmdb_stores(tmp_path / "state") == expected_stores(_complete_lines(BIG_BODY[:cut]))
    unit = _unit(running)
    problem = f"{path} became shorter (from {len(BIG_BODY)} to {cut} bytes) {CHANGED}"
    assert (unit["rejected"], unit["verdict"]) == ({"columns": 1}, f"{ACCEPTABLE}; {problem}")
    assert running.of("report")[0]["reason"] == f"1 of 1 files could not be read or put away, the first is {path}"
    assert path.exists()


def test_a_file_that_grows_is_loaded_as_far_as_it_was_read_and_keeps_its_name(tmp_path: Path) -> None:
    path = _big(tmp_path)
    more = b"idfa\tmore\t1.0\t2.0\t1\n"
    with _in_the_middle(tmp_path, path) as running, path.open("ab") as file:
        file.write(more)
    assert running.process.returncode == 1, running.output()
    assert lmdb_stores(tmp_path / "state") == expected_stores([*BIG, more])
    assert _unit(running)["verdict"] == (
        f"{ACCEPTABLE}; {path} grew (from {len(BIG_BODY)} to {len(BIG_BODY) + len(more)} bytes) {CHANGED}")
    assert path.exists()


def test_a_gzip_that_shrinks_is_a_truncated_one_that_keeps_its_name(tmp_path: Path) -> None:
    path = _big(tmp_path, "1.tsv.gz")
    size = path.stat().st_size
    with _in_the_middle(tmp_path, path) as running:
        os.truncate(path, size - 10_000)
    assert running.process.returncode == 4, running.output()
    stored = lmdb_stores(tmp_path / "state")
    lines = sum(map(len, stored.values()))  # no key comes twice
    assert stored == expected_stores(BIG[:lines]) and len(BIG) // 2 < lines < len(BIG)
    unit = _unit(running)
    assert unit["rejected"] == {"truncated_gzip": 1}
    assert unit["problem"].startswith(f"{path} became shorter (from {size} to {size - 10_000} bytes)")
    assert path.exists()


def test_a_file_that_is_replaced_is_loaded_as_it_was_and_the_new_one_by_the_next_run(tmp_path: Path) -> None:
    path = _big(tmp_path)
    (tmp_path / "new").write_bytes(b"idfa\tnew\t1.0\t2.0\t1\n")
    with _in_the_middle(tmp_path, path) as running:
        os.replace(tmp_path / "new", path)
    assert running.process.returncode == 1, running.output()
    assert lmdb_stores(tmp_path / "state") == expected_stores(BIG)
    unit = _unit(running)
    assert unit["verdict"] == f"{ACCEPTABLE}; {path} was replaced by another file {CHANGED}"
    again = load(path, tmp_path / "state")
    assert again.process.returncode == 0, again.output()
    assert lmdb_stores(tmp_path / "state") == expected_stores([*BIG, b"idfa\tnew\t1.0\t2.0\t1"])
    assert not path.exists()


def test_a_file_that_is_deleted_while_it_is_read_is_loaded_whole(tmp_path: Path) -> None:
    path = _big(tmp_path)
    with _in_the_middle(tmp_path, path) as running:
        path.unlink()
    assert running.process.returncode == 1, running.output()
    assert lmdb_stores(tmp_path / "state") == expected_stores(BIG)
    assert _unit(running)["verdict"] == (
        f"{ACCEPTABLE}; {path} is loaded but cannot be renamed to {path.parent}/.1.tsv: no such file or directory "
        "(rename it by hand, or make its folder writable and run again)")


def _report_of_others(running: Load, path: Path) -> dict[str, Any]:
    """The unit of a file that could not be read; the others were loaded."""
    assert running.process.returncode == 1, running.output()
    report = running.of("report")[0]
    units = {unit["name"]: unit for unit in report["units"]}
    bad: dict[str, Any] = units.pop(str(path))
    assert (bad["status"], bad["read"]) == ("broken", 0)
    assert {(unit["status"], unit["verdict"]) for unit in units.values()} == {("done", ACCEPTABLE)}
    assert report["reason"] == (
        f"1 of {1 + len(units)} files could not be read or put away, the first is {path}")
    assert_counts_add_up(running.state)
    return bad


def test_a_file_that_vanishes_before_its_turn_is_reported_and_the_others_are_loaded(tmp_path: Path) -> None:
    first = _big(tmp_path)
    second, third = first.with_name("2.tsv"), first.with_name("3.tsv")
    second.write_bytes(BODY)
    third.write_bytes(b"idfa\tthird\t1.0\t2.0\t1\n")
    with _in_the_middle(tmp_path, f"{tmp_path}/logs/*") as running:
        second.unlink()
    bad = _report_of_others(running, second)
    assert bad["verdict"] == f"could not be read: cannot read {second}: {MISSING}"
    assert lmdb_stores(tmp_path / "state") == expected_stores([*BIG, b"idfa\tthird\t1.0\t2.0\t1"])


# What is no file, or not for us.


@pytest.mark.parametrize(("make", "text"), [
    (Path.mkdir, "it is a directory (for the files in it, give {path}/*)"),
    (os.mkfifo, "it is a pipe or a device, which cannot be read again after a crash (write it to a file first)"),
    (lambda path: path.symlink_to("nowhere"), MISSING),
    (lambda path: path.symlink_to("/dev/zero"),
     "it is a pipe or a device, which cannot be read again after a crash (write it to a file first)"),
    (lambda path: path.symlink_to(path), "too many levels of symbolic links"),
], ids=["directory", "pipe", "dangling link", "device", "link to itself"])
def test_what_is_no_file_is_reported_and_the_others_are_loaded(
    tmp_path: Path, make: Callable[[Path], object], text: str
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/1.tsv").write_bytes(BODY)
    bad = tmp_path / "logs/2.tsv"
    make(bad)
    (tmp_path / "logs/3.tsv").write_bytes(b"idfa\tthird\t1.0\t2.0\t1\n")
    done = load(f"{tmp_path}/logs/*", tmp_path / "state")
    assert _report_of_others(done, bad)["verdict"] == (
        f"could not be read: cannot read {bad}: {text.format(path=bad)}")
    assert lmdb_stores(tmp_path / "state") == expected_stores([*LINES, b"idfa\tthird\t1.0\t2.0\t1"])
    assert os.path.lexists(bad)


_WITHOUT_PRIVILEGES = """
import ctypes, os, sys
for capability in (1, 2):  # DAC_OVERRIDE, DAC_READ_SEARCH: what lets root open every file; gone with the next exec
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_a_file_without_permission_is_reported_and_the_others_are_loaded(tmp_path: Path) -> None:
    bad, good = tmp_path / "1.tsv", tmp_path / "2.tsv"
    for path in (bad, good):
        path.write_bytes(BODY)
    bad.chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_PRIVILEGES, "-m", "actors.cli", "run", "appsinstalled", "--format", "json",
         "--state", str(tmp_path / "state"), "--set", f"source.pattern={tmp_path}/*.tsv"],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    report = next(event for line in done.stdout.splitlines() if (event := json.loads(line))["event"] == "report")
    assert [unit["verdict"] for unit in report["units"]] == [
        f"could not be read: cannot read {bad}: permission denied (run as a user who may read it)", ACCEPTABLE]
    assert lmdb_stores(tmp_path / "state") == expected_stores(LINES)
    assert bad.exists() and not good.exists()


def test_a_name_that_is_no_text_is_loaded_and_put_away(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    name = os.fsencode(tmp_path / "logs") + b"/\xff\n.tsv"
    with open(name, "wb") as file:
        file.write(BODY)
    done = load(f"{tmp_path}/logs/*", tmp_path / "state")
    assert done.process.returncode == 0, done.output()
    assert lmdb_stores(tmp_path / "state") == expected_stores(LINES)
    assert os.listdir(os.fsencode(tmp_path / "logs")) == [b".\xff\n.tsv"]
    (unit,) = read_units(tmp_path / "state/positions.db")
    assert unit.name == f"{tmp_path}/logs/\\xff\n.tsv"
