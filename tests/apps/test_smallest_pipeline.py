"""What a pipeline may leave out: its name, its route to the only sink, and where its dead letters go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actors.runtime.errors import ConfigError, Reject
from actors.runtime.pipeline import Fold, Pipeline, Windows, drop, route_of
from actors.sinks.jsonl import Jsonl
from actors.sinks.lines import Lines
from actors.testing import MemorySource, run_inline
from tests.loads import ROOT

SMALLEST = """
from actors.runtime.pipeline import Pipeline, drop
from actors.sinks.jsonl import Jsonl
from actors.sources.files import Files

def parse(line):
    return {"number": int(line)}

PIPELINE = Pipeline(source=Files(rename="none"), parse=parse, sinks={"out": Jsonl()})
"""
TWO_SINKS = SMALLEST.replace('sinks={"out": Jsonl()}', 'sinks={"small": Jsonl(), "large": Jsonl()}')
SENTENCE = ("route: expected a function that says to which of the sinks small, large a record goes, got nothing: "
            "give route=FUNCTION; those that only windows write to are emit_sinks")


ALL = Fold(partials=lambda values: {("all",): [len(values)]}, keys=("what",), fields=("records",))
HOURS = Windows(time=lambda value: value["number"], emit=lambda window, rows: [])


def thresher(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", *words], cwd=folder, capture_output=True, text=True, timeout=240,
        check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})


def wrote(folder: Path, text: str) -> Path:
    (folder / "counting.py").write_text(text)
    (folder / "in.txt").write_text("1\n2\nx\n3\n")
    return folder


def test_a_source_a_parse_and_a_sink_are_a_pipeline(tmp_path: Path) -> None:
    done = thresher(wrote(tmp_path, SMALLEST), "run", "counting", "in.txt", "--set", "budget.max_error_rate=1")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "var/counting/out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"number": 1}, {"number": 2}, {"number": 3}]
    letters = thresher(tmp_path, "dlq", "ls", "counting", "--json")
    assert "parse_error" in letters.stdout, letters.stderr


@pytest.mark.parametrize("words", [
    ("run", "counting", "in.txt"), ("lint", "counting"), ("explain", "counting"), ("graph", "counting"),
    ("echo", "counting"), ("verify", "counting", "in.txt"), ("bench", "counting", "in.txt"),
    ("tap", "parser", "counting")])
def test_every_verb_that_reads_it_refuses_several_sinks_without_a_route(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = thresher(wrote(tmp_path, TWO_SINKS), *words)
    assert (done.returncode, done.stdout) == (78, ""), done.stderr
    assert done.stderr == f"target 'counting': counting.PIPELINE: {SENTENCE} ({tmp_path}/counting.py:9)\n"


def test_verbs_that_explain_take_the_smallest(tmp_path: Path) -> None:
    wrote(tmp_path, SMALLEST)
    for words in (("lint",), ("explain",), ("graph",), ("echo",)):
        done = thresher(tmp_path, *words, "counting")
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_configuration_file_lays_its_options_over_what_was_left_out(tmp_path: Path) -> None:
    (wrote(tmp_path, SMALLEST) / "c.toml").write_text('app = "counting"\n[dead_letters]\nmax_bytes = 2000000\n')
    done = thresher(tmp_path, "echo", "c.toml", "--json")
    shown = json.loads(done.stdout)
    assert (shown["state"], shown["dead_letters"]["max_bytes"]) == ("var/counting", 2000000)


def parse(line: bytes) -> dict[str, int]:
    if not line.isdigit():
        raise Reject("number", "expected digits")
    return {"number": int(line)}


def pipeline(*sinks: str, **more: Any) -> Pipeline:
    return Pipeline(source=MemorySource(), parse=parse, sinks={sink: Jsonl() for sink in sinks}, **more)


def test_inline_all_records_go_to_the_only_sink() -> None:
    result = run_inline(pipeline("out"), ["1", "x", "3"])
    assert result.written == {"out": [{"number": 1}, {"number": 3}]}
    assert [letter.reason for letter in result.dead_letters] == ["number"]


def test_inline_several_sinks_without_a_route_are_an_error() -> None:
    with pytest.raises(ConfigError) as error:
        run_inline(pipeline("small", "large"), ["1"])
    assert str(error.value) == f"PIPELINE: {SENTENCE}"


def test_drop_is_a_route_to_none_of_them() -> None:
    assert run_inline(pipeline(route=drop), ["1", "2"]).counts == {"read": 2, "filtered": 2}
    with pytest.raises(ConfigError, match=r"sinks\['small'\]: nothing ever reaches it: route=drop"):
        run_inline(pipeline("small", "large", route=drop), ["1", "2"])


def test_a_sink_that_only_the_aggregators_write_to_is_no_choice() -> None:
    assert route_of(pipeline("rows", emit_sinks=("rows",))) is drop
    result = run_inline(pipeline("rows", "out", emit_sinks=("rows",), windows=HOURS, fold=ALL), ["1"])
    assert result.written == {"rows": [], "out": [{"number": 1}]}


def test_without_a_sink_records_are_only_folded() -> None:
    result = run_inline(pipeline(fold=ALL), ["1", "2"])
    assert (result.folded, result.counts) == ({("all",): [2]}, {"read": 2, "folded": 2})


GENERATORS = [("parse", "parse=parse", "parse=by_one"), ("route", 'sinks={"out"', 'route=by_one, sinks={"out"'),
              ("check", 'sinks={"out"', 'check=by_one, sinks={"out"'),
              ("encode", 'sinks={"out"', 'encode=by_one, sinks={"out"')]


@pytest.mark.parametrize(("part", "before", "after"), GENERATORS, ids=[part for part, *_ in GENERATORS])
def test_a_generator_is_refused_before_anything_starts(tmp_path: Path, part: str, before: str, after: str) -> None:
    text = SMALLEST.replace(before, after).replace("\ndef parse", "\ndef by_one(value):\n    yield value\n\ndef parse")
    result = thresher(wrote(tmp_path, text), "run", "counting.py", "in.txt")
    assert result.returncode == 78, result.stderr
    assert (f"{part}: expected a function that returns one value for a record, got a generator "
            "(there is a yield in it): return it") in result.stderr
    assert "Traceback" not in result.stderr


def test_an_async_function_is_refused_as_well(tmp_path: Path) -> None:
    result = thresher(wrote(tmp_path, SMALLEST.replace("def parse", "async def parse")), "lint", "counting.py")
    assert result.returncode == 78
    assert "parse: expected a function that returns one value for a record, got an async function" in result.stderr


def test_an_item_that_its_sink_cannot_take_is_told_in_the_users_words() -> None:
    one = Pipeline(source=MemorySource(), parse=lambda line: {line}, sinks={"out": Lines()})
    (letter,) = run_inline(one, ["1"]).dead_letters
    assert letter.reason == "encode_error"
    assert letter.detail.startswith("sink out cannot take what it is given, {b'1'} of type set: ")
