"""The words of a command line stand in any order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from actors.console import commandline


def _orders(groups: list[list[str]], fixed: list[list[str]]) -> Iterator[list[str]]:
    """All orders of options among the words that keep their order."""
    for places in itertools.product(range(len(fixed) + 1), repeat=len(groups)):
        words: list[str] = []
        for place in range(len(fixed) + 1):
            words += [word for group, at in zip(groups, places, strict=True) if at == place for word in group]
            words += fixed[place] if place < len(fixed) else []
        yield words


@pytest.mark.parametrize(("verb", "options", "words", "expected"), [
    ("run", [["--quiet"], ["--set", "parser.workers=2"]], ["shop.toml", "a.gz", "b.gz"],
     {"target": "shop.toml", "files": ["a.gz", "b.gz"], "quiet": True, "set": ["parser.workers=2"]}),
    ("tap", [["--limit", "1"], ["--json"]], ["parser", "shop.toml"],
     {"stage": "parser", "target": "shop.toml", "limit": 1, "json": True}),
    ("probe", [["--timeout", "30"]], ["ready", "shop.toml"], {"target": "shop.toml", "timeout": 30.0}),
    ("verify", [["--runs", "3"], ["--json"]], ["shop.toml", "a", "b"],
     {"target": "shop.toml", "files": ["a", "b"], "runs": 3, "json": True}),
    ("bench", [["--json"]], ["shop.toml", "a"], {"target": "shop.toml", "files": ["a"], "json": True}),
    ("scale", [["--state", "s"]], ["parser=4", "shop.toml"], {"pool": "parser=4", "target": "shop.toml", "state": "s"}),
])
def test_options_stand_before_between_and_behind_what_a_verb_takes(
        verb: str, options: list[list[str]], words: list[str], expected: dict[str, object]) -> None:
    for order in _orders(options, [[word] for word in words]):
        read = vars(commandline.read([verb, *order]))
        assert {name: read[name] for name in expected} == expected, order


def test_what_stands_behind_two_dashes_is_a_file_whatever_it_begins_with() -> None:
    assert commandline.read(["run", "shop.toml", "-q", "--", "--odd.gz", "-x"]).files == ["--odd.gz", "-x"]


def test_a_verb_of_a_verb_takes_its_words_in_any_order_too() -> None:
    read = commandline.read(["dlq", "show", "--json", "shop.toml", "--raw", "3"])
    assert (read.target, read.id, read.json, read.raw) == ("shop.toml", 3, True, True)


@pytest.mark.parametrize("words", [["access"], ["--sink", "mine"], ["--source", "mine"]])
def test_init_takes_one_of_its_alternatives(words: list[str]) -> None:
    assert "mine" in (read := vars(commandline.read(["init", *words]))).values() or read["name"] == "access"


def test_a_word_too_many_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        commandline.read(["explain", "shop.toml", "--json", "extra"])
    assert "unrecognized arguments: extra" in capsys.readouterr().err
