"""A PIPELINE is looked at before anything runs: what does not fit is said, with the line that has to change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from actors.runtime.errors import ConfigError
from actors.targets import applications, import_application
from actors.wiring import line_of, require_fit
from tests.loads import ROOT
from thresher import Browse, Charts, Distinct, Fold, Items, ParserOptions, Pipeline, Windows, drop, per_chunk
from thresher.sinks import Jsonl, Lines
from thresher.sources import Files


class Options(msgspec.Struct, frozen=True):
    least: int = 3


def parse(line: bytes) -> dict[str, str]:
    return {"line": line.decode()}


def totals(values: list[Any]) -> dict[tuple[Any, ...], list[Any]]:
    return {("all",): [len(values)]}


def emit(window: Any, groups: Any) -> list[Any]:
    return []


def only_a(value: Any) -> Literal["a"]:
    return "a"


def one(it: Any) -> Any:
    return it


def nothing() -> list[Any]:
    return []


async def awaited(line: bytes) -> bytes:
    return line


def listed(store: Any, look: Any) -> Items:
    return Items(columns=[], items=[])


def charted(store: Any, id: str) -> Charts | None:
    return None


FOLD = Fold(partials=totals, keys=("all",), fields=("number",))
WINDOWS = Windows(time=lambda value: 0, emit=emit)


def made(**changed: Any) -> Pipeline:
    fields: dict[str, Any] = {"source": Files(pattern="*.txt"), "parse": parse, "sinks": {"out": Jsonl()}}
    return Pipeline(**{**fields, **changed})


@pytest.mark.parametrize(("changed", "text"), [
    ({"source": Files}, "source: expected options of a source, e.g. Files(pattern=\"*.log\"), got the class Files: "
                        "write Files(…)"),
    ({"source": "*.log"}, "source: expected options of a source, e.g. Files(pattern=\"*.log\"), got the text '*.log'"),
    ({"source": Jsonl()}, "source: expected options of a source, e.g. Files(pattern=\"*.log\"), got Jsonl(…), which is "
                          "a sink"),
    ({"sinks": {"out": Jsonl}}, "sinks['out']: expected {\"out\": Jsonl()}: options of each sink, got the class Jsonl: "
                                "write Jsonl(…)"),
    ({"sinks": Jsonl()}, "sinks: expected {\"out\": Jsonl()}: options of each sink, got Jsonl(…), which "
                         "is a sink"),
    ({"dead_letters": "letters.db"}, "dead_letters: expected options of a sink, e.g. DeadLetters(), got the text"),
    ({"fold": totals}, "fold: expected Fold(partials=…, keys=(…), fields=(…)), got the function totals"),
    ({"windows": emit}, "windows: expected Windows(time=…, emit=…), got the function emit"),
    ({"options": Options}, "options: expected a value of a msgspec.Struct of your own, e.g. Options(), got the class "
                           "Options: write Options(…)"),
    ({"options": {"least": 3}}, "options: expected a value of a msgspec.Struct of your own, e.g. Options(), got dict"),
    ({"parser": 4}, "parser: expected ParserOptions(…), got int 4"),
    ({"parser": ParserOptions},
     "parser: expected ParserOptions(…), got the class ParserOptions: write ParserOptions(…)"),
    ({"emit_sinks": "out", "windows": WINDOWS, "fold": FOLD},
     "emit_sinks: expected a tuple of names, as in ('out',), got the text 'out'"),
    ({"fold": Fold(partials=totals, keys="all", fields=("number",))},  # type: ignore[arg-type]
     "fold.keys: expected a tuple of names, as in ('all',), got the text 'all'"),
    ({"browse": parse}, "browse: expected Browse(title=…, needs={\"out\": \"range\"}, items=…, charts=…), got the "
                        "function parse"),
    ({"questions": {"most": parse}},
     "questions['most']: expected {\"most\": Question(answer=…)}, got the function parse"),
])
def test_a_part_of_another_kind_is_named(changed: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as error:
        require_fit(made(**changed))
    assert str(error.value).startswith(text)


@pytest.mark.parametrize(("changed", "text"), [
    ({"parse": "parse"}, "parse: expected a function of (line), got the text 'parse'"),
    ({"parse": None}, "parse: expected a function of (line), got nothing"),
    ({"parse": lambda: {}}, "parse: expected a function of (line) and, by name, options or unit or record, "
                            "got <lambda>()"),
    ({"parse": lambda line, limit: {}}, "parse: expected a function of (line) and, by name, options or unit or record, "
                                        "got <lambda>(line, limit)"),
    ({"parse": lambda line, *, options: {}}, "parse: it has a parameter options, and the Pipeline has none: give "
                                             "options=Options()"),
    ({"parse": awaited}, "parse: expected a function that returns one value for a record, got an async function"),
    ({"check": lambda value, more: value}, "check: expected a function of (value) and, by name, options, "
                                           "got <lambda>(value, more)"),
    ({"encode": lambda: b""}, "encode: expected a function of (value) and, by name, options, got <lambda>()"),
    ({"bulk": lambda: None}, "bulk: expected a function of (data) and, by name, options or lines, got <lambda>()"),
    ({"fold": Fold(partials=lambda: {}, keys=("a",), fields=("b",))},
     "fold.partials: expected a function of (values) and, by name, options or unit, got <lambda>()"),
    ({"fold": Fold(partials=totals, keys=("a",), fields=("b",), merge=one)},  # type: ignore[arg-type]
     "fold.merge: expected a function of (numbers, numbers), got one(it)"),
    ({"fold": FOLD, "windows": Windows(time=lambda value: 0, emit=lambda window: [])},
     "windows.emit: expected a function of (window, groups) and, by name, options, got <lambda>(window)"),
    ({"fold": FOLD, "windows": Windows(time=lambda value: 0, emit=awaited)},
     "windows.emit: expected a function that returns what it makes, got an async function"),
    ({"browse": Browse(title="Words", needs={"out": "rows"}, items=one, charts=charted)},
     "browse.items: expected a function of (store, look) and, by name, options or window, got one(it)"),
    ({"browse": Browse(title="Words", needs={"out": "rows"}, items=listed, charts=awaited)},  # type: ignore[arg-type]
     "browse.charts: expected a function that returns what it makes, got an async function"),
    ({"distinct": Distinct(limit=10, emit=nothing)},  # type: ignore[arg-type]
     "distinct.emit: expected a function of (numbers), got nothing()"),
])
def test_a_function_that_cannot_be_called_is_named(changed: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as error:
        require_fit(made(**changed))
    assert str(error.value).startswith(text)


@pytest.mark.parametrize(("changed", "text"), [
    ({"route": drop}, "sinks['out']: nothing ever reaches it: route=drop"),
    ({"route": only_a, "sinks": {"a": Jsonl(), "b": Lines()}},
     "sinks['b']: nothing ever reaches it: the route is said to return other names only"),
    ({"route": only_a}, "route: it is said to return 'a', and the sinks are out"),
    ({"emit_sinks": ("out",)}, "emit_sinks: nothing ever reaches 'out': only windows and distinct emit, and there are "
                               "none"),
    ({"emit_sinks": ("reports",), "fold": FOLD, "windows": WINDOWS}, "emit_sinks: expected names of sinks (out), got "
                                                                     "'reports'"),
    ({"windows": WINDOWS}, "windows: nothing is folded into them: give fold=Fold(…)"),
    ({"flags": {"least": "options.least"}}, "flags: expected an option of the Pipeline (it has none), got "
                                            "'options.least'"),
    ({"required": ("options.lest",), "options": Options()}, "required: expected an option of the Pipeline (least), got "
                                                            "'options.lest'"),
    ({"browse": Browse(title="Words", needs={"outs": "rows"}, items=listed, charts=charted)},
     "browse.needs: expected sinks of the pipeline (out), got outs"),
])
def test_what_nothing_ever_reaches_is_named(changed: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as error:
        require_fit(made(**changed))
    assert str(error.value).startswith(text)


@per_chunk
def parse_all(lines: list[bytes], *, records: Any, options: Options) -> list[Any]:
    return lines


class Parser:
    def __call__(self, line: bytes, more: int = 3) -> bytes:
        return line


@pytest.mark.parametrize("function", [
    parse, bytes.upper, bytes.decode, str, int, Parser(), lambda *words: words, lambda line, limit=3: line,
    lambda options: options, lambda line, options=None: line])
def test_whatever_can_be_called_with_a_line_is_a_parser(function: Callable[..., Any]) -> None:
    require_fit(made(parse=function))


def test_what_a_function_asks_for_by_name_is_given() -> None:
    require_fit(made(parse=parse_all, options=Options()))


@pytest.mark.parametrize("name", applications())
def test_the_applications_that_ship_fit(name: str) -> None:
    import_application(name, "here")


WRONG = '''
from thresher import Fold, Pipeline
from thresher.sinks import Jsonl
from thresher.sources import Files

PIPELINE = Pipeline(
    source=Files(pattern="*.txt", rename="none"),
    parse=bytes.upper,
    fold=Fold(
        partials=len,
        keys="word", fields=("total",)),
    sinks={"out": Jsonl()})
'''


def test_the_line_is_said_by_lint_and_by_run(tmp_path: Path) -> None:
    path = tmp_path / "words.py"
    path.write_text(WRONG)
    assert [line_of(path, "PIPELINE", field) for field in ("parse", "fold.keys", "sinks['out']", "check", "nothing")
            ] == [8, 11, 12, 6, 6]
    assert line_of(path, "OTHER", "parse") == line_of(tmp_path / "none.py", "PIPELINE", "parse") == 0
    for verb in ("lint", "run"):
        said = subprocess.run([sys.executable, "-m", "actors.cli", verb, "words.py"], cwd=tmp_path, text=True,
                              env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False, timeout=60)
        assert said.returncode == 78
        assert said.stderr == (
            f"target 'words.py': {path}.PIPELINE: fold.keys: expected a tuple of names, as in ('word',), got the text "
            f"'word' ({path}:11)\n")
