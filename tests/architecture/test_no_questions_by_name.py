"""What a source or a sink can do is in its contract: nobody asks an options struct by the names of its attributes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loads import ROOT

#: Applications have records of their own; the others are the engine and what ships with it.
FILES = [path for path in sorted((ROOT / "actors").rglob("*.py")) if "apps" not in path.parts]
_MARKS = "a mark that a decorator of ours has left on a user's function: functions have no contract that holds it"
_WORDS = "the words of a command line: verbs declare different ones, and a namespace is no contract"
_SECTION = "a section of the configuration by its name, which is fixed: every pipeline has it"
#: What is asked by name all the same: who is asked, by file, and why.
ALLOWED = {
    ("actors/__main__.py", "libc"): "a function that not every C library has",
    ("actors/assignments.py", "error"): "errors of several kinds, of which some have a text of the system's",
    ("actors/cli.py", "options"): _WORDS,
    ("actors/console/catalogue.py", "pipeline"): _SECTION,
    ("actors/console/dlq.py", "options"): _WORDS,
    ("actors/console/folders.py", "options"): _WORDS,
    ("actors/console/inputs.py", "options"): _WORDS,
    ("actors/console/letters.py", "letter"): "each column of a stored letter, by its name, for JSON",
    ("actors/console/tap.py", "record"): "which of two fields a stage fills in, by the stage",
    ("actors/runtime/desk.py", "new"): _SECTION,
    ("actors/runtime/desk.py", "self._manifest"): _SECTION,
    ("actors/runtime/units.py", "Unit"): "the columns of a row become the attributes of a unit",
    ("actors/runtime/lift.py", "function"): _MARKS,
    ("actors/runtime/links.py", "self"): "its own attributes, which are all looked over alike",
    ("actors/runtime/loading.py", "module_of(module)"): "a module's value by its name is what loading is",
    ("actors/runtime/options.py", "kind"): "the fields of any struct, which configuration is laid over",
    ("actors/runtime/rows.py", "parse"): _MARKS,
    ("actors/settings.py", "pipeline"): _SECTION,
    ("actors/sinks/columns.py", "item"): "a user's item, which has the columns by name",
    ("actors/sinks/sql_errors.py", "original"): "an error of a driver, which may have a code",
    ("actors/targets.py", "found"): "a module, which is a folder when it has no file",
    ("actors/wiring.py", "function"): _MARKS,
    ("actors/wiring.py", "pipeline"): "each field of a pipeline, which are looked over alike",
    ("actors/wiring.py", "part"): "each function of a part of a pipeline, looked over alike",
    ("actors/wiring.py", "pipeline.options"): "the fields of an application's own options, for the error",
    ("actors/wiring.py", "value"): "the name of whatever a user has given, for the error",
    ("actors/testing/faults.py", "self"): "its own attributes, which are all looked over alike",
    ("actors/testing/world.py", "faults"): "the numbers of three kinds of fault, by kind",
}


def questions(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line of each question by name, and who is asked."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            yield node.lineno, ast.unparse(node.args[0])
        elif isinstance(node, ast.Attribute) and node.attr in ("__struct_fields__", "__dict__"):
            yield node.lineno, ast.unparse(node.value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_asked_by_name_but_what_is_listed_with_its_reason(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    found = [f"{name}:{line}: {who}" for line, who in questions(path.read_text(encoding="utf-8"))
             if (name, who) not in ALLOWED]
    assert found == [], "put what is asked into the contract (actors/runtime/ports.py), with a default"


def test_what_is_listed_is_still_asked() -> None:
    asked = {(str(path.relative_to(ROOT)), who) for path in FILES
             for _, who in questions(path.read_text(encoding="utf-8"))}
    assert set(ALLOWED) - asked == set()


def test_questions_are_found() -> None:
    text = ("getattr(source, 'wake', None)\nif hasattr(sink.x, 'y'):\n"
            "    'paths' in type(s).__struct_fields__\nf.getattr(1)\n")
    assert list(questions(text)) == [(1, "source"), (2, "sink.x"), (3, "type(s)")]
