"""Nothing in the tree turns bytes into code or into objects of the sender's choice."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = ("actors", "scripts", "benchmarks", "supervisor.py")
#: Modules that unpickle, or whose connections do.
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve",
           "multiprocessing", "xmlrpc"}
#: Built-in functions that run what they are given.
CALLS = {"eval", "exec", "compile", "__build_class__"}
#: Methods that do.
METHODS = {"recv_pyobj", "send_pyobj", "unsafe_load", "full_load", "read_pickle", "load_module"}
#: Options that open a door in something that is closed.
OPTIONS = {"allow_pickle", "ext_hook"}
#: They run what others use in our place, to compare with.
PEERS = {"benchmarks/survival.py", "benchmarks/survival_peers.py"}


def problems_of(source: str) -> Iterator[str]:
    """What is wrong with a module, each with its line."""
    for node in ast.walk(ast.parse(source)):
        for name in _named(node):
            yield f"{getattr(node, 'lineno', 0)}: {name}"


def _named(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names if alias.name.partition(".")[0] in MODULES)
        case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in MODULES:
            yield module
        case ast.Constant(value=str(text)) if text in MODULES:
            yield repr(text)  # for import_module
        case ast.Name(id=name) if name in CALLS:
            yield name
        case ast.Attribute(attr=name) if name in METHODS:
            yield name
        case ast.Attribute(value=ast.Name(id="builtins"), attr=name) if name in CALLS:
            yield name
        case ast.Call(func=ast.Attribute(value=ast.Name(id="yaml"), attr="load" | "load_all")):
            yield "yaml.load"
        case ast.keyword(arg=str(name)) if name in OPTIONS:
            yield name


def test_no_module_unpickles_or_evaluates_anything() -> None:
    paths = [path for tree in TREES
             for path in (sorted((ROOT / tree).rglob("*.py")) if (ROOT / tree).is_dir() else [ROOT / tree])
             if str(path.relative_to(ROOT)) not in PEERS]
    assert len(paths) > 40
    assert [f"{path.relative_to(ROOT)}:{problem}" for path in paths for problem in problems_of(path.read_text())] == []


@pytest.mark.parametrize("source", [
    "import pickle", "from _pickle import loads as f", "import marshal as m", "import shelve", "import dill",
    "from multiprocessing.connection import Listener", "import_module('cloudpickle')", "x.recv_pyobj()", "eval(x)",
    "f = exec", "builtins.eval(x)", "yaml.load(x)", "yaml.unsafe_load(x)", "numpy.load(x, allow_pickle=True)",
    "msgspec.msgpack.Decoder(ext_hook=f)",
])
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert list(problems_of(source))


@pytest.mark.parametrize("source", ["re.compile(x)", "json.load(x)", "tomllib.loads(x)", "yaml.safe_load(x)",
                                    "'a pickle is mentioned'", "msgspec.msgpack.decode(x)"])
def test_the_search_leaves_the_rest_alone(source: str) -> None:
    assert list(problems_of(source)) == []
