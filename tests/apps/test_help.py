"""What ``thresher --help``, ``thresher VERB --help`` and ``thresher list`` say."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from actors.components import shipped
from actors.console import commandline
from actors.targets import applications
from tests.loads import ROOT, WATCHDOG_S


def thresher(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "actors.cli", *words], cwd=ROOT, text=True, capture_output=True,
                          check=False, timeout=WATCHDOG_S, env={**os.environ, "COLUMNS": "200", **more})


def test_help_lists_every_verb_once_in_its_group() -> None:
    said = thresher("--help").stdout
    assert re.findall(r"^  (\S.*):$", said, re.MULTILINE) == list(commandline.GROUPS)
    assert re.findall(r"^    ([a-z]+)  ", said, re.MULTILINE) == list(commandline.VERBS)
    assert not re.search(r" $|\n\n\n", said, re.MULTILINE)


@pytest.mark.parametrize("verb", commandline.VERBS)
def test_the_help_of_a_verb_has_an_example_that_the_command_line_takes(verb: str) -> None:
    parser, verbs = commandline._parser([verb])
    example = next(group[verb][1] for group in commandline.GROUPS.values() if verb in group)
    assert f"For example: thresher {example}" in re.sub(r"\s+", " ", verbs[verb].format_help())
    if verb != "ask":  # its words are those of the application
        assert parser.parse_args(shlex.split(example)).command == verb


@pytest.mark.parametrize(("what", "names"), [
    ("sources", [*shipped("source")]), ("sinks", [*shipped("sinks.NAME")]), ("apps", applications()),
    ("verbs", [*commandline.VERBS])])
def test_what_there_is_is_listed_with_what_it_is_for(what: str, names: list[str]) -> None:
    found = json.loads(thresher("list", what, "--json").stdout)
    assert [each["name"] for each in found] == names
    assert all(each["about"] for each in found)
    lines = thresher("list", what).stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == names
    assert not any("`" in line for line in lines)


def test_a_shell_completes_verbs_flags_applications_and_files(tmp_path: Path) -> None:
    (tmp_path / "numbers.toml").touch()
    (tmp_path / "script").write_text(thresher("completion", "bash").stdout)

    def completed(*words: str) -> list[str]:
        quoted = " ".join(map(shlex.quote, ("thresher", *words)))
        program = (f". ./script; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _thresher; "
                   'printf "%s\\n" "${COMPREPLY[@]}"')
        return subprocess.run(["bash", "-c", program], cwd=tmp_path, text=True, capture_output=True, check=True,
                              timeout=WATCHDOG_S).stdout.split()

    assert completed("re") == ["reload", "report"]
    assert completed("run", "--fo") == ["--follow", "--format"]
    assert completed("dlq", "retry", "--only") == ["--only-missing"]
    assert completed("run", "numb") == ["numbers", "numbers.toml"]


def test_a_variable_with_one_underscore_is_noted() -> None:
    said = thresher("lint", "numbers", THRESHER_PARSER_WORKERS="3", THRESHER_TEST_JOBS="1").stdout
    assert said == ("numbers: ok\n  note: environment THRESHER_PARSER_WORKERS is not read: THRESHER_PARSER__WORKERS, "
                    "with two underscores, sets an option of [parser]\n")
