"""No module of the tree needs another that needs it, be it in steps, in a function or for the type checker alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loads import ROOT

Graph = dict[str, set[str]]
TREES = ("actors", "thresher", "supervisor.py")


def modules(root: Path, trees: tuple[str, ...]) -> dict[str, Path]:
    """Every module of these packages and files, by its dotted name."""
    found = {}
    for tree in trees:
        for path in [root / tree] if tree.endswith(".py") else sorted((root / tree).rglob("*.py")):
            name = path.relative_to(root).with_suffix("").as_posix().replace("/", ".")
            found[name.removesuffix(".__init__")] = path
    return found


def imports(root: Path, trees: tuple[str, ...]) -> Graph:
    """Which modules each module imports, wherever in it; what a package re-exports counts as the package."""
    paths = modules(root, trees)
    return {name: set(_imported(ast.parse(path.read_text(encoding="utf-8")), _package_of(name, path), paths))
            for name, path in paths.items()}


def _package_of(name: str, path: Path) -> str:
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def _imported(tree: ast.AST, package: str, known: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in known)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package.split(".")[:len(package.split(".")) - level + 1] if level else []
                base = ".".join([*above, *([module] if module else [])])
                for alias in names:
                    yield from [name for name in (f"{base}.{alias.name}", base) if name in known][:1]


def cycles(graph: Graph) -> list[list[str]]:
    """The groups of modules each of which is reached from each other, by name."""
    reached = {name: _reached(graph, name) for name in graph}
    groups = {tuple(sorted(other for other in reached[name] if name in reached[other]))
              for name in graph if name in reached[name]}
    return [list(group) for group in sorted(groups)]


def _reached(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    left = list(graph[start])
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += graph[name]
    return found


def test_no_module_of_the_tree_is_in_an_import_cycle() -> None:
    graph = imports(ROOT, TREES)
    assert len(graph) > 100
    assert sum(map(len, graph.values())) > 500
    assert cycles(graph) == [], "let the helper say what it needs (a Protocol, a struct), not import who uses it"


@pytest.mark.parametrize("line", [
    "import pack.one", "from pack import one", "from pack.one import thing", "from .one import thing",
    "from . import one", "if TYPE_CHECKING:\n    from pack.one import thing",
    "def late():\n    from pack.one import thing",
    "try:\n    import pack.one as other\nexcept ImportError:\n    pass",
])
def test_the_search_finds_each_way_to_import(tmp_path: Path, line: str) -> None:
    _write(tmp_path, {"__init__": "", "one": "import pack.two", "two": "from pack.three import x", "three": line})
    assert cycles(imports(tmp_path, ("pack",))) == [["pack.one", "pack.three", "pack.two"]]


def test_a_package_that_imports_a_part_which_imports_it_is_a_cycle(tmp_path: Path) -> None:
    _write(tmp_path, {"__init__": "from pack.one import x", "one": "from pack import y"})
    assert cycles(imports(tmp_path, ("pack",))) == [["pack", "pack.one"]]


def test_a_diamond_is_no_cycle(tmp_path: Path) -> None:
    _write(tmp_path, {"__init__": "", "top": "from pack import left, right", "left": "from pack import base",
                      "right": "import pack.base", "base": "import os"})
    assert cycles(imports(tmp_path, ("pack",))) == []


def _write(root: Path, texts: dict[str, str]) -> None:
    (root / "pack").mkdir()
    for name, text in texts.items():
        (root / "pack" / f"{name}.py").write_text(text)
