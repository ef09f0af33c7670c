"""A pipeline that is framed by its configuration, in real runs: what is written, what is rejected, and where it was."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.runtime.framing import unwrap
from actors.sinks.dead_letters import read_letters
from tests.loads import ROOT

WATCHDOG_S = 240.0
APP = '''
from thresher import Pipeline, Reject
from thresher.sinks import Lines
from thresher.sources import Files


def parse(record: bytes) -> bytes:
    if b"bad" in record:
        raise Reject("bad", "it is bad")
    return record.replace(b"\\n", b"|")


PIPELINE = Pipeline(source=Files(rename="none"), parse=parse, sinks={"out": Lines()})
'''
CONTENT = {
    "csv": (b'id,text\n1,"two\nlines"\n2,"bad\nrow"\n3,"never closed\n4,last\n', 'header = "skip"\n'),
    "multiline": (b"1 a\n at x\n2 bad\n at y\n3 b\n", 'record_start = "[0-9]"\n'),
    "json_array": (b'[{"a": 1},\n {"a":\n "bad"}, 3]\n', ""),
    "length_prefixed": (b"\3a\nb\6bad\nx!\1c", 'length = "varint"\n'),
}
WRITTEN = {"csv": [b'1,"two|lines"', b"4,last"], "multiline": [b"1 a| at x", b"3 b"],
           "json_array": [b'{"a": 1}', b"3"], "length_prefixed": [b"a|b", b"c"]}
#: Offset, line, bytes and reason of each dead letter.
REJECTED = {
    "csv": [(22, 4, b'2,"bad\nrow"', "bad"), (34, 6, b'3,"never closed', "unbalanced_quote")],
    "multiline": [(10, 3, b"2 bad\n at y", "bad")],
    "json_array": [(12, 2, b'{"a":\n "bad"}', "bad")],
    "length_prefixed": [(4, -1, b"bad\nx!", "bad")],
}


def thresher(folder: Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "actors.cli", *words]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, timeout=WATCHDOG_S, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("framing", CONTENT)
def test_a_run_has_the_records_of_its_framing_from_a_packed_file_and_from_standard_input(
    tmp_path: Path, framing: str
) -> None:
    content, options = CONTENT[framing]
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "app.toml").write_text(
        f'app = "app.py"\n[source]\nframing = "{framing}"\n{options}[budget]\nmax_error_rate = 0.9\n')
    (tmp_path / "in.gz").write_bytes(gzip.compress(content))
    for state, source, stdin in (("file", "in.gz", b""), ("stdin", "-", content)):
        done = thresher(tmp_path, "run", "app.toml", source, "--state", state, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        counts = json.loads(done.stdout.splitlines()[-1])["outcomes"]
        assert (counts["written"], counts["dead_lettered"]) == (2, len(REJECTED[framing]))
        assert (tmp_path / state / "out.log").read_bytes().splitlines() == WRITTEN[framing]
        letters = sorted(read_letters(tmp_path / state / "dead-letters.db"), key=lambda letter: letter.offset)
        assert [(letter.offset, letter.line, letter.raw, letter.reason) for letter in letters] == REJECTED[framing]
        for letter in letters:
            record = unwrap(letter.envelope, letter.raw, letter.offset, letter.line)
            assert (record.value, record.line) == (letter.raw, letter.line)


def test_a_file_that_was_begun_as_csv_is_not_gone_on_with_as_lines(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "in.csv").write_bytes(b'1,"a\nb"\n' * 30)
    run = ("run", "app.py", "in.csv", "--state", "state", "--set")
    csv = thresher(tmp_path, *run, "source.framing=csv", "--set", "flow.max_records=10")
    assert csv.returncode in (0, 3), csv.stderr
    refused = thresher(tmp_path, *run, "source.framing=lines")
    assert refused.returncode == 78, refused.stdout + refused.stderr
    assert refused.stderr.count(b"\n") == 1 and b'source.framing = "csv"' in refused.stderr, refused.stderr
    assert thresher(tmp_path, *run, "source.framing=csv").returncode == 0
    assert (tmp_path / "state" / "out.log").read_bytes().count(b"\n") == 30
    assert thresher(tmp_path, *run, "source.framing=lines", "--set", "source.again=load").returncode == 0


def test_what_cannot_be_read_to_its_end_has_an_exit_code_and_the_framing_is_named(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "app.toml").write_text('app = "app.py"\n[source]\nframing = "json_array"\npaths = ["in.json"]\n')
    (tmp_path / "in.json").write_bytes(b"[1, 2, ")
    done = thresher(tmp_path, "run", "app.toml")
    assert done.returncode == 4, done.stdout + done.stderr
    assert b"the array has no ] at its end" in done.stdout + done.stderr
    (tmp_path / "in.json").write_bytes(b"[1, 2, 3]")
    done = thresher(tmp_path, "run", "app.toml")
    assert json.loads(done.stdout.splitlines()[-1])["outcomes"]["written"] == 1, "it goes on behind what was read"
    assert b"framed as json_array" in thresher(tmp_path, "explain", "app.toml").stdout
    assert b"framed as json_array" in thresher(tmp_path, "check", "app.toml").stdout
    (tmp_path / "app.toml").write_text('app = "app.py"\n[source]\nframing = "multiline"\n')
    done = thresher(tmp_path, "lint", "app.toml")
    assert b"source.record_start: expected a regular expression" in done.stdout + done.stderr


def test_a_record_start_that_takes_without_end_is_named_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "in.log").write_bytes(b"aaa ok\n" + b"a" * 60 + b"!\nnext\n")
    done = thresher(tmp_path, "run", "app.py", "in.log", "--set", "source.framing=multiline",
                    "--set", "source.record_start=(a+)+$", "--set", "watch.hard_cpu_s=0.5",
                    "--set", "watch.suspect_s=0.2", "--format", "text")
    assert done.returncode == 1, done.stdout + done.stderr
    assert b"hung 3 times in a row" in done.stdout
    assert b"it was reading" in done.stdout and b"in.log" in done.stdout
    assert b"record_start = '(a+)+$' may take without end on a line there" in done.stdout
