"""The query of connections: who connected to a host in a period, as users ask it."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.apps.connections import QUERY, Options
from actors.runtime.pipeline import Pipeline, drop
from actors.settings import load
from actors.testing import assert_bulk_is_faithful, run_inline
from scripts.make_connections import host_names, make_blocks
from tests.loads import ROOT, SHARED, WATCHDOG_S

PUBLIC = SHARED / "data/connections-10000.txt"
GOOD = st.tuples(
    st.sampled_from([b"5", b"10", b"1565647204351", b"20"]), st.sampled_from([b"H", b"A", b"HH", b"AH"]),
    st.sampled_from([b"H", b"B", b"HB", b"H\r", b"B\r"])).map(b" ".join)
ODD = st.sampled_from([
    b"", b"\r", b"H", b" H", b"x A H", b"1 H H H", b"1 A H ", b"1 \xff H", b"1 H \xff", b"1  H", b" H H",
    b"1 H 22 H b"])


def ask(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", "connections", *words], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=WATCHDOG_S, check=False)


def naive(data: bytes, host: str, first: float, last: float, direction: str) -> list[str]:
    """The answer, as one would write it down."""
    found = set()
    for line in data.decode().splitlines():
        stamp, left, right = line.split()
        at = int(stamp) * (1000 if int(stamp) < 10**11 else 1)
        if first <= at <= last and host == (right if direction == "to" else left):
            found.add(left if direction == "to" else right)
    return sorted(found)


@settings(deadline=None)
@given(lines=st.lists(GOOD, max_size=80), direction=st.sampled_from(["to", "from"]), ends=st.booleans())
def test_a_slice_searched_as_bytes_gives_what_its_lines_give(lines: list[bytes], direction: Any, ends: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ends and lines else b"")
    options = Options(host="H", since="6", until="1565647204351", direction=direction)
    assert assert_bulk_is_faithful(QUERY, data, options=options) is not None


@settings(deadline=None)
@given(lines=st.lists(st.one_of(GOOD, ODD), max_size=60), direction=st.sampled_from(["to", "from"]))
def test_a_slice_with_odd_lines_gives_what_its_lines_give_or_is_left_to_them(
    lines: list[bytes], direction: Any
) -> None:
    assert_bulk_is_faithful(QUERY, b"".join(line + b"\n" for line in lines),
                            options=Options(host="H", direction=direction))


@settings(deadline=None)
@given(lines=st.lists(st.one_of(GOOD, ODD), max_size=40), direction=st.sampled_from(["to", "from"]))
def test_with_and_without_the_search_each_line_has_the_same_outcome(lines: list[bytes], direction: Any) -> None:
    folded = msgspec.structs.replace(
        QUERY, windows=None, emit_sinks=(), sinks={}, route=drop, options=Options(host="H", direction=direction))
    quick = run_inline(folded, lines)
    slow = run_inline(msgspec.structs.replace(folded, bulk=None), lines)
    assert (quick.folded, quick.counts) == (slow.folded, slow.counts)
    assert quick.dead_letters == slow.dead_letters
    assert quick.counts.get("read", 0) == len(lines)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of one day: seconds and CRLF, and milliseconds, compressed."""
    folder = tmp_path_factory.mktemp("connections")
    (folder / "a.txt").write_bytes(b"".join(make_blocks(20_000, 50, seed=1, unit="s", newline=b"\r\n")))
    (folder / "b.txt.gz").write_bytes(gzip.compress(b"".join(make_blocks(20_000, 50, seed=1))))
    return folder


@pytest.mark.parametrize("direction", ["to", "from"])
def test_the_answer_is_on_standard_output_and_nothing_else(logs: Path, direction: str) -> None:
    host = host_names(50, seed=1)[25]
    first, last = 1565660000000, 1565661000123
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in logs.iterdir()}
    done = ask("--query", *map(str, sorted(before)), "--host", host, "--from", str(first), "--to", str(last),
               "--direction", direction, cwd=logs)
    data = (logs / "a.txt").read_bytes() + gzip.decompress((logs / "b.txt.gz").read_bytes())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == naive(data, host, first, last, direction)
    assert 0 < len(done.stdout.splitlines()) < 50
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in logs.iterdir()}
    assert after == before  # nothing was renamed, made or touched


def test_the_public_file_gives_the_answer_that_is_known() -> None:
    if not PUBLIC.exists():
        pytest.skip("the public file is not here")
    done = ask("--query", str(PUBLIC), "--host", "Aaliayh", "--from", "2019-08-13T00:36:47.767Z",
               "--to", "1565680778409")
    assert (done.returncode, done.stdout) == (0, "Adalhi\nShaquera\nZidan\n")


def test_the_same_question_has_the_same_answer_again_also_with_a_state_directory(logs: Path, tmp_path: Path) -> None:
    words = ("--host", host_names(50, seed=1)[3], "--quiet")
    first = ask(str(logs / "a.txt"), "--query", *words)
    assert first.stdout
    assert ask("--query", str(logs / "a.txt"), *words).stdout == first.stdout
    assert ask("--query", *words, "--state", str(tmp_path / "state"), str(logs / "a.txt")).stdout == first.stdout
    assert (tmp_path / "state" / "positions.db").exists()


def test_without_a_match_nothing_is_printed_and_standard_error_says_so(logs: Path) -> None:
    done = ask("--query", str(logs / "a.txt"), "--host", "Nobody", "--quiet")
    assert (done.returncode, done.stdout) == (0, "")
    assert "connections: nothing found in 20,000 records" in done.stderr


def test_a_bad_line_that_names_the_host_is_reported_and_the_others_count(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x A H\n" + b"1565647204 B H\n" * 200)
    done = ask("--query", str(path), "--host", "H", "--format", "json")
    assert (done.returncode, done.stdout) == (0, "B\n")
    assert '"timestamp": 1' in done.stderr


@pytest.mark.parametrize(("words", "code", "text"), [
    (("--query", "x"), 78, "options.host: expected a value, got nothing: give --host VALUE"),
    (("--query", "--host", "H"), 2, "--query: expected the files to look at, got none"),
    (("--query", "x", "--hots", "H"), 2, "did you mean '--host'?"),
    (("x", "--host", "H"), 2, "flags of connections with --query: --host, --from, --to, --direction, --unit"),
    (("--query", "x", "--host", "H", "--from", "2019-08-13T00:00"), 78, "--from: options.since: expected a time with"),
    (("--query", "x", "--host", "H", "--direction", "up"), 78, "--direction: options.direction: expected 'to'"),
    (("--query", "no/such/file", "--host", "H", "--quiet"), 78, "no/such/file"),
])
def test_a_mistake_is_explained(words: tuple[str, ...], code: int, text: str) -> None:
    done = ask(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_the_flags_of_the_application() -> None:
    assert "--host VALUE" in ask("--query", "x", "--help").stdout
    assert "--into-host VALUE" in ask("--help").stdout
    assert "--host VALUE" not in ask("--help").stdout


def test_an_application_without_a_batch_says_so() -> None:
    done = subprocess.run([sys.executable, "-m", "actors.cli", "run", "appsinstalled", "--query", "x"], cwd=ROOT,
                          capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 78
    assert "--query: appsinstalled has no query: run it without --query" in done.stderr


def test_a_configuration_of_the_reports_serves_for_the_query_too() -> None:
    found = load(str(ROOT / "config/connections-postgres.toml"), query=True, flags=[("host", "H")], environ={})
    assert found.manifest.query
    assert found.manifest.window.kind == "global"
    assert list(found.manifest.sinks) == ["hosts"]
    assert found.manifest.options is not None
    assert found.manifest.options["into_host"] == "Aaliayh"
    assert isinstance(found.pipeline, Pipeline)
