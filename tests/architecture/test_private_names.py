"""What a library does not make public is used only where a comment says why."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: What protoc generates is not ours to explain.
FILES = [*sorted(path for path in (ROOT / "actors").rglob("*.py") if not path.stem.endswith("_pb2")),
         ROOT / "supervisor.py"]
#: Documented, whatever its name looks like.
PUBLIC = {"_exit", "_fields", "_replace"}
#: A comment stands on the line, or within so many above it.
_NEAR_LINES = 5


@functools.cache
def own_names() -> set[str]:
    """Private names that the project itself defines: functions, classes, attributes that are assigned."""
    found: set[str] = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name)
                case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                    found.add(name)
    return found


def foreign_names(source: str, own: set[str]) -> Iterator[tuple[int, str]]:
    """The line and name of each private name of somebody else."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name, value=value) if (
                    _is_private(name) and name not in own | PUBLIC and ast.unparse(value) not in {"self", "cls"}):
                yield node.lineno, name
            case ast.ImportFrom(module=str(module), names=names) if module != "__future__":
                yield from ((node.lineno, name) for name in (*module.split("."), *(each.name for each in names))
                            if _is_private(name))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def without_reason(source: str, own: set[str]) -> list[str]:
    """Those that no comment stands beside."""
    lines = source.splitlines()
    return [f"{line}: {name}" for line, name in foreign_names(source, own)
            if not any("#" in each for each in lines[max(0, line - 1 - _NEAR_LINES):line])]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_private_name_of_a_library_has_its_reason_beside_it(path: Path) -> None:
    assert without_reason(path.read_text(), own_names()) == []


@pytest.mark.parametrize("source", [
    "client._dial()", "from library._inside import Thing", "from library import _thing"])
def test_one_without_is_found_and_one_with_is_not(source: str) -> None:
    assert len(without_reason(source, own_names())) == 1
    assert without_reason(f"# It has no other way.\n{source}", own_names()) == []
