"""What somebody types wrong in the first hour, with the exit code and the text that says how to mend it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors import cli
from actors.runtime import rundir

NOBODY = ("no run is going on with the state directory {}: start it with `thresher run`, or say with --state which "
          "one is meant\n")
#: The words behind ``thresher``, the exit code, and what is said: all of it, behind the usage where that is shown.
MISTAKES = [
    ("run nosuch.toml", 78, "nosuch.toml: expected a TOML file: no such file or directory\n"),
    ("run acces.toml", 78, "acces.toml: expected a TOML file: no such file or directory\n"
                           "  did you mean 'access.toml'?\n"),
    ("run access.toml data/acces.log", 78, "FILE data/acces.log: there is no such file\n"
                                           "  did you mean 'data/access.log'?\n"),
    ("run access.toml other/x.log", 78, "FILE other/x.log: there is no such file: there is no folder other\n"),
    ("check access.toml x.log", 78, "problem  configuration  FILE x.log: there is no such file\n"),
    ("run access.toml --set parser.workers", 78,
     "--set parser.workers: expected KEY=VALUE, e.g. --set parser.workers=4\n"),
    ("run access.toml --set parser.workers=0", 78,
     "--set parser.workers: parser.workers: expected int >= 1, got 0\n"),
    ("run access.toml --chdir nowhere", 78, "--chdir nowhere: expected a folder: no such file or directory\n"),
    ("run access.toml --inline --monitor", 2,
     "--inline: one process has no monitor beside it: expected no --monitor\n"),
    ("run access.toml --set links.transport=tcp", 78,
     "links: tcp://127.0.0.1: TCP is refused without CURVE keys: expected links.server_public, links.server_secret, "
     "links.client_public, links.client_secret of 40 characters each (Z85): `thresher keys` makes two pairs; give them "
     'as ${file:...} or ${env:...}, or set links.transport = "ipc"\n'),
    ("lint data/access.log", 78,
     "data/access.log: not TOML: Expected '=' after a key in a key/value pair (at line 1, column 14)\n"),
    ("dlq show access.toml x", 2, "thresher dlq: error: ID: expected a number of 0 or more, got 'x'\n"),
    ("top access.toml --once", 78, NOBODY.format("STATE")),
    ("top numbers --once --state var", 78, NOBODY.format("var")),
    ("status", 78, "no run is going on: start one with `thresher run`\n"),
    ("stop", 78, "no run is going on: start one with `thresher run`\n"),
]


@pytest.fixture
def access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a new pipeline, which is the current one; no run of this user is known."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # a pipeline's folder is put there
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init", "access"]) == 0
    monkeypatch.chdir(tmp_path / "access")
    with tempfile.TemporaryDirectory(prefix="first-", dir="/tmp") as runs:  # a path that is short enough for sockets
        monkeypatch.setenv("XDG_RUNTIME_DIR", runs)
        assert rundir.base().parent == Path(runs)  # else runs of others would be stopped
        yield tmp_path / "access"
    sys.modules.pop("access", None)


def _did(words: str) -> int:
    try:
        return cli.main(words.split())
    except SystemExit as ended:  # argparse
        return int(ended.code or 0)


@pytest.mark.parametrize(("words", "code", "said"), MISTAKES, ids=[words for words, _, _ in MISTAKES])
def test_a_mistake_is_answered_in_a_sentence(
    access: Path, capsys: pytest.CaptureFixture[str], words: str, code: int, said: str
) -> None:
    capsys.readouterr()
    assert _did(words) == code
    out, err = capsys.readouterr()
    shown = out + err
    shown = shown.replace(f"{access}/var/access", "STATE").replace(f"{access}/", "")
    assert shown[shown.index("thresher dlq: error") if shown.startswith("usage") else 0:] == said
    assert sorted(path.name for path in access.iterdir() if path.name != "__pycache__") == [
        "README.md", "access.py", "access.toml", "data", "test_access.py"]  # nothing has begun


def test_what_a_module_gives_a_sink_is_told_with_the_line_of_the_module(
    access: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (access / "wrong.py").write_text(
        "from thresher.sinks import Sql\n\nSINK = Sql(columns={'a': 'integer'}, table='a.b.c')\n")
    capsys.readouterr()
    assert _did("lint wrong.py") == 78
    assert capsys.readouterr().err == (
        f"target 'wrong.py': {access}/wrong.py cannot be imported: ValueError: table: expected NAME or SCHEMA.NAME, "
        f"got 'a.b.c' ({access}/wrong.py:3)\n")


@pytest.mark.parametrize(("words", "gone", "said"), [
    ("lint numbers", "numpy", "distinct needs numpy: pip install 'numpy>=1.26'\n"),
    ("run access.toml --set sinks.errors.type=sql --set sinks.errors.columns={page='text'}", "sqlalchemy",
     "sinks.errors: type sql needs sqlalchemy: pip install 'sqlalchemy>=2.0'\n"),
    ("lint access.toml --set sinks.errors.type=kafka --set sinks.errors.topic=kafka://127.0.0.1:9/t", "confluent_kafka",
     "sinks.errors: type kafka needs confluent-kafka: pip install 'confluent-kafka>=2.6'\n"),
])
def test_a_library_that_is_not_installed_is_named_before_anything_starts(
    access: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, gone: str, said: str
) -> None:
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, gone, None)  # it cannot be imported, nor found
    assert _did(words) == 78
    assert capsys.readouterr().err == said
    assert not (access / "var").exists()


def test_without_a_verb_the_verbs_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert _did("") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "\n  run it:\n    run " in err


@pytest.mark.parametrize("words", ["tap access.toml parser", "tap parser access.toml", "scale access.toml parser=3",
                                   "scale parser=3 access.toml"])
def test_target_stands_in_front_of_a_word_or_behind_it(
    access: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert _did(words) == 78
    assert capsys.readouterr().err == NOBODY.format(access / "var/access")


def test_new_keys_are_what_links_over_tcp_want(access: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _did("keys") == 0
    (access / "access.toml").write_text((access / "access.toml").read_text() + capsys.readouterr().out)
    assert _did("lint access.toml") == 0
    assert _did("lint access.toml data/access.log") == 0
