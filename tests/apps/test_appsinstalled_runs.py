"""The main job end to end, as processes: real data, bad data, odd files; the embedded stores and real memcacheds."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors.sinks.dead_letters import read_letters
from scripts.make_logs import make_lines, write_logs
from tests.loads import ROOT, SHARED, Load, assert_counts_add_up, expected_stores, lmdb_stores, load
from tests.servers import Memcached

GOOD = b"idfa\tabc\t67.7835424444\t-22.8044005471\t7942,8519"
real_data = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the shared data is not here")


def _gz(path: Path, *lines: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines)))
    return path


def _memc_load(logs: str, state: Path, servers: dict[str, Memcached], *more: str) -> subprocess.CompletedProcess[str]:
    addresses = [word for name, server in servers.items() for word in (f"--{name}", server.address)]
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts/memc_load.py"), "--pattern", logs, "--state", str(state), *addresses,
         *more], capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})


@real_data
def test_memc_load_loads_the_real_export_into_four_memcacheds(tmp_path: Path, servers: dict[str, Memcached]) -> None:
    export = tmp_path / "20170929000000.tsv.gz"
    shutil.copyfile(SHARED / "data/appsinstalled-10k.tsv.gz", export)
    done = _memc_load(str(export), tmp_path / "state", servers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: server.items() for name, server in servers.items()} == {
        "idfa": 2513, "gaid": 2459, "adid": 2493, "dvid": 2534}
    expected = expected_stores(gzip.decompress((tmp_path / ".20170929000000.tsv.gz").read_bytes()).split(b"\n"))
    for name, items in expected.items():
        assert servers[name].get_many(list(items)) == items
    assert not export.exists()


@real_data
@pytest.mark.parametrize(("name", "code", "reason"), [
    ("invalid_apps", 0, None), ("invalid_fmt", 4, "columns"), ("invalid_latitude", 4, "latitude"),
    ("invalid_longitude", 4, "longitude")])
def test_the_real_bad_files_end_as_they_should(tmp_path: Path, name: str, code: int, reason: str | None) -> None:
    source = SHARED / f"data/appsinstalled-bad/{name}.tsv.gz"
    path = tmp_path / "20170929000000.tsv.gz"
    shutil.copyfile(source, path)
    done = load(path, tmp_path / "state")
    assert done.process.returncode == code, done.output()
    unit = done.of("report")[0]["units"][0]
    if reason is None:
        assert unit["processed"] == 1
        assert unit["groups"][0]["numbers"] == {"records": 1, "apps": 0, "apps dropped": 2}
        assert not path.exists()
        return
    assert unit["rejected"] == {reason: 1}
    assert unit["verdict"] == "high error rate, failed load"
    assert path.exists()
    (letter,) = read_letters(tmp_path / "state/dead-letters.db")
    assert letter.raw == gzip.decompress(source.read_bytes()).rstrip(b"\n")


def test_five_percent_of_bad_lines_fail_the_load_and_are_kept_byte_for_byte(tmp_path: Path) -> None:
    (path,) = write_logs(tmp_path / "logs", files=1, records=20_000, bad_rate=0.05)
    lines = gzip.decompress(path.read_bytes()).split(b"\n")[:-1]
    done = load(path, tmp_path / "state")
    assert done.process.returncode == 4, done.output()
    assert lmdb_stores(tmp_path / "state") == expected_stores(lines)
    letters = list(read_letters(tmp_path / "state/dead-letters.db"))
    assert 800 < len(letters) < 1200
    content = b"\n".join(lines) + b"\n"
    for letter in letters:
        assert lines[letter.line - 1] == letter.raw
        assert content[letter.offset:].startswith(letter.raw + b"\n")
        assert letter.source == str(path)
    unit = done.of("report")[0]["units"][0]
    assert (unit["verdict"], unit["errors"]) == ("high error rate, failed load", len(letters))
    assert sum(unit["rejected"].values()) == len(letters)
    assert path.exists()
    again = load(path, tmp_path / "state")  # given again under its name: loaded again, from the start
    assert again.of("report")[0]["units"][0]["read"] == 20_000


def test_odd_files_load_what_is_whole_and_say_what_is_not(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    good = [b"gaid\tid%d\t1.5\t-2.5\t1,2,300" % number for number in range(500)]
    whole = gzip.compress(b"".join(line + b"\n" for line in good))
    _gz(logs / "01.tsv.gz")
    (logs / "02.tsv.gz").write_bytes(b"")
    (logs / "03.tsv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + GOOD))  # byte order mark, no last newline
    (logs / "04.tsv.gz").write_bytes(gzip.compress(GOOD.replace(b"abc", b"crlf") + b"\r\n\r\n"))
    (logs / "05.tsv.gz").write_bytes(whole + whole)
    (logs / "06.tsv.gz").write_bytes(whole[:-200])
    _gz(logs / "07.tsv.gz", *good, b"idfa\t\xff\xfe\x80\t1.0\t2.0\t5", b"\x00\x00\x00")
    (logs / "08.tsv.gz").mkdir()
    done = load(f"{logs}/*.tsv.gz", tmp_path / "state", "budget.max_error_rate=0.1")
    assert done.process.returncode == 1, done.output()  # the folder cannot be read
    units = {Path(unit["name"]).name: unit for unit in done.of("report")[0]["units"]}
    assert units["01.tsv.gz"]["read"] == units["02.tsv.gz"]["read"] == 0
    assert units["03.tsv.gz"]["processed"] == units["04.tsv.gz"]["processed"] == 1
    assert units["05.tsv.gz"]["processed"] == 1000
    assert units["06.tsv.gz"]["rejected"] == {"truncated_gzip": 1}
    assert 0 < units["06.tsv.gz"]["processed"] < 500
    assert (units["07.tsv.gz"]["processed"], units["07.tsv.gz"]["rejected"]) == (501, {"columns": 1})
    assert units["08.tsv.gz"]["verdict"].startswith("could not be read: ")
    stored = lmdb_stores(tmp_path / "state")
    assert b"idfa:abc" in stored["idfa"]
    assert b"idfa:crlf" in stored["idfa"]
    assert b"idfa:\xff\xfe\x80" in stored["idfa"]
    assert_counts_add_up(tmp_path / "state")
    assert sorted(path.name for path in logs.iterdir()) == [
        *(f".0{n}.tsv.gz" for n in (1, 2, 3, 4, 5, 7)), "06.tsv.gz", "08.tsv.gz"]  # what is not whole keeps its name


def test_a_line_of_fifty_megabytes_is_a_dead_letter_and_its_neighbours_are_loaded(tmp_path: Path) -> None:
    monster = b"idfa\tbig\t1.0\t2.0\t" + b"1," * 25_000_000
    lines = list(make_lines(2000, 3))
    _gz(tmp_path / "logs/1.tsv.gz", *lines[:1000], monster, *lines[1000:])
    with Load(f"{tmp_path}/logs/*.gz", tmp_path / "state") as running:
        assert running.wait() == 0, running.output()
    assert lmdb_stores(tmp_path / "state") == expected_stores(lines)
    letters = list(read_letters(tmp_path / "state/dead-letters.db"))
    assert [(letter.reason, letter.raw) for letter in letters] == [("line_too_long", b"")]
    assert f"the {len(monster) + 1} bytes from byte" in letters[0].detail


def test_a_dry_run_writes_nothing_keeps_no_position_and_renames_nothing(tmp_path: Path) -> None:
    (path,) = write_logs(tmp_path / "logs", files=1, records=2000)
    done = subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", "appsinstalled", str(path), "--dry-run", "--format", "text"],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert "dry run, nothing was written" in done.stdout
    assert "processed 2,000, errors 0" in done.stdout
    assert [entry.name for entry in tmp_path.iterdir()] == ["logs"]
    assert path.exists()


def test_nothing_to_do_is_said_and_is_no_failure(tmp_path: Path) -> None:
    done = load(f"{tmp_path}/none-*.tsv.gz", tmp_path / "state")
    assert done.process.returncode == 0
    assert done.of("report")[0]["reason"] == f"nothing to do: no new input in files {tmp_path}/none-*.tsv.gz"


def test_a_second_run_on_the_same_state_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    write_logs(tmp_path / "logs", records=30_000)
    with Load(f"{tmp_path}/logs/*.gz", tmp_path / "state", "flow.batch_bytes=16384") as running:
        views = running.until(lambda views: views["reader.1"].batches >= 5, "5 batches")
        os.kill(views["reader.1"].pid, signal.SIGSTOP)  # so that the first is not over too soon
        second = load(f"{tmp_path}/logs/*.gz", tmp_path / "state")
        os.kill(views["reader.1"].pid, signal.SIGCONT)
        assert second.process.returncode == 78
        assert f"another run uses it (process {running.process.pid})" in second.output()
        assert running.wait() == 0, running.output()


def test_memc_load_compares_its_encoding_with_protobuf() -> None:
    done = _memc_load("", Path("unused"), {}, "--test")
    assert (done.returncode, done.stdout) == (0, "protobuf round trip: 3 samples, all equal\n")


def test_titles_say_who_is_who(tmp_path: Path) -> None:
    write_logs(tmp_path / "logs", records=30_000)
    with Load(f"{tmp_path}/logs/*.gz", tmp_path / "state", "flow.batch_bytes=16384") as running:
        views = running.until(lambda views: views["reader.1"].batches >= 1, "a batch")
        titles = {name: Path(f"/proc/{view.pid}/cmdline").read_bytes().rstrip(b"\0") for name, view in views.items()}
        assert titles == {name: f"thresher: {name} appsinstalled".encode() for name in views}
