"""Names with control characters, and such as are no UTF-8: no terminal gets them as they are, whoever shows them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loads import ROOT, WATCHDOG_S, Running

#: Would set the title of a terminal, clear it, go on in the next line, and write from right to left.
NAME = os.fsdecode(b"a\x1b]0;mine\x07\x1b[2J\nb\xff\xe2\x80\xae.tsv")
#: A file may be called so; what is configured has to be text.
TEXT = NAME.replace("\udcff", "")
SHOWN = r"a\x1b]0;mine\x07\x1b[2J\nb\xff\u202e.tsv"
#: All that a terminal obeys but the end of a line, in bytes as they are encoded in UTF-8.
OBEYED = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of such a name, with a line that is rejected."""
    folder = tmp_path_factory.mktemp("names")
    (folder / NAME).write_bytes(b"idfa\t1\t1.0\t2.0\t1,2\nno such line\n")
    return folder


def say(folder: Path, *words: str) -> str:
    """What a command prints, of which no byte must be one that a terminal obeys."""
    done = subprocess.run([sys.executable, "-m", "thresher", *words], cwd=ROOT, capture_output=True, check=False,
                          timeout=WATCHDOG_S)
    said = done.stdout + done.stderr
    assert OBEYED.findall(said) == [], (words, said)
    assert b"Traceback" not in said, said.decode()
    return said.decode()


def words_of(folder: Path, verb: str, *more: str) -> list[str]:
    return [*verb.split(), "appsinstalled", *more, "--state", str(folder / TEXT.replace("tsv", "state"))]


def inputs_of(folder: Path) -> list[str]:
    return ["--set", f"source.pattern={folder}/*.tsv", "--set", "source.rename=none"]


@pytest.fixture(scope="module")
def ran(folder: Path) -> str:
    """What a run has printed."""
    return say(folder, *words_of(folder, "run", *inputs_of(folder), "--format", "text"))


def test_a_run_shows_them_so_that_they_can_be_told(ran: str) -> None:
    assert f"/{SHOWN}\n  processed 1, errors 1" in ran


VERBS = ("report", "explain", "status", "dlq ls", "echo", "graph", "check", "lint", "dlq show")


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_show_them_so(folder: Path, ran: str, verb: str) -> None:
    words = words_of(folder, verb)
    if verb == "lint":
        words = ["lint", str(folder / TEXT)]
    elif verb == "dlq show":
        words.insert(3, "1")
    elif verb in ("explain", "echo", "graph", "check"):
        words += ["--set", f"source.pattern={folder}/{TEXT}"]
    assert (r"\u001b]0;mine\u0007" if verb == "echo" else r"\x1b]0;mine\x07") in say(folder, *words)


def test_sentences_show_them_so(folder: Path, ran: str) -> None:
    for words in (
            ["run", str(folder / NAME)], ["run", "appsinstalled", str(folder / f"no {TEXT}"), "--format", "text"],
            ["status", "--state", str(folder / "not" / NAME), "appsinstalled"],
            words_of(folder, "run", "--set", f"source.pattern={folder}/none{TEXT}", "--format", "text"),
            words_of(folder, "dlq purge")):
        assert r"\x1b]0;mine\x07" in say(folder, *words)


def test_events_and_top_show_them_so(folder: Path, ran: str) -> None:
    (folder / "followed").mkdir()
    (folder / "followed" / NAME).write_bytes(b"line\n")
    state = folder / f"state of {TEXT}"
    with Running(state, "run", "tests.pipelines.liner", str(folder / "followed"), "--follow", "--format", "text",
                 "--set", f"sinks.store.path={TEXT}") as running:
        running.until(lambda views: views["reader.1"].records == 1, "a record")
        say(folder, "status", "tests.pipelines.liner", "--state", str(state))
        say(folder, "top", "--once", "--state", str(state))
        running.process.terminate()
        running.wait()
    assert OBEYED.findall(running._output.read_bytes()) == []
    assert r"\x1b]0;mine\x07" in running.output()
