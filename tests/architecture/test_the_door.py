"""``thresher`` is all that users import: its names are pinned, it costs nothing, and its types are the real ones."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loads import ROOT

DOORS = ("thresher", "thresher.sources", "thresher.sinks", "thresher.testing")

#: What users may rely on. A name that is taken away, or called otherwise, breaks their pipelines: CHANGELOG says so.
PUBLIC = {
    "thresher": {
        "Aggregates", "AggregatorOptions", "Bars", "Browse", "BudgetOptions", "Bulk", "Chart", "Charts",
        "CheckerOptions", "ConfigError", "Curves", "Distinct", "Finish", "FlowOptions", "Fold", "InputUnit", "Item",
        "Items", "Links", "Look", "Lost", "Many", "Moment", "MonitorOptions", "Panel", "ParserOptions", "Pipeline",
        "Question", "Reader", "Record", "RecycleOptions", "Reject", "RestartOptions", "Retryable", "RunOptions",
        "RunResult", "Store", "Totals", "TracingOptions", "WatchOptions", "Window", "WindowOptions", "Windows",
        "extend", "lines_with", "drop", "per_chunk", "progress", "run", "identity"},
    "thresher.sources": {
        "Chunk", "Directory", "Files", "Kafka", "RabbitMQ", "Revoked", "Source", "SourceOptions", "Stdin", "Tcp",
        "Topic", "Unit", "UnitLedger", "pack_records", "records_in"},
    "thresher.sinks": {
        "Csv", "DeadLetter", "DeadLetters", "Deleted", "Discard", "GatheringSink", "Indexed", "Jsonl", "Kafka",
        "Lines", "Lmdb", "Memcached", "Message", "Packed", "Parquet", "Payload", "RabbitMQ", "Redis", "Refusal",
        "Sink", "SinkOptions", "Sql", "Stdout", "Topic", "record_of"},
    "thresher.testing": {
        "FakeClock", "Faults", "InlineResult", "MemorySink", "MemorySource", "SinkContract", "SourceContract",
        "UnorderedMemorySink", "assert_bulk_is_faithful", "run_inline"},
}


@pytest.mark.parametrize("door", DOORS)
def test_the_names_of_the_door_are_these(door: str) -> None:
    assert set(importlib.import_module(door).__all__) == PUBLIC[door]


@pytest.mark.parametrize("door", DOORS)
def test_every_name_is_there_and_says_what_it_is(door: str) -> None:
    module = importlib.import_module(door)
    for name in PUBLIC[door]:
        assert getattr(module, name).__doc__, f"{door}.{name} has no docstring"
    assert set(dir(module)) >= PUBLIC[door]


@pytest.mark.parametrize("door", DOORS)
def test_type_checkers_see_the_names_that_the_interpreter_finds(door: str) -> None:
    tree = ast.parse(_file(door).read_text(encoding="utf-8"))
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {(node.module, alias.name) for node in branch.body if isinstance(node, ast.ImportFrom)
            for alias in node.names}
    homes = next(node for node in ast.walk(branch.orelse[0]) if isinstance(node, ast.Dict))
    found = {(home, name) for home, names in ast.literal_eval(homes).items() for name in names}
    assert seen == found
    assert {name for _, name in seen} == PUBLIC[door]


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    module = importlib.import_module("thresher")
    with pytest.raises(AttributeError, match="module 'thresher' has no attribute 'Pipelin'"):
        _ = module.Pipelin


def test_the_door_imports_nothing_until_a_name_is_used() -> None:
    program = (f"import sys, {', '.join(DOORS)}\n"
               "print(sorted(name for name in sys.modules if name.split('.')[0] in ('actors', 'msgspec', 'zmq')))")
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_types_survive_the_laziness(tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text(
        "from thresher import Pipelin\n"
        "from thresher import Reject, Window\n"
        "from thresher.sinks import Lmdb\n"
        "Reject(1, 2, 3)\n"
        "Window(start='x', end=1)\n"
        "Lmdb(no_such_option=1)\n"
        "reveal_type(Window(1, 2).start)\n", encoding="utf-8")
    said = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "setup.cfg"),
         "--cache-dir", str(tmp_path / "cache"), str(user)], cwd=ROOT, capture_output=True, text=True,
        check=False).stdout
    for line, problem in ((1, 'has no attribute "Pipelin"'), (4, "Too many arguments"), (5, "incompatible type"),
                          (6, "Unexpected keyword argument"), (7, 'Revealed type is "int"')):
        assert any(f"user.py:{line}:" in row and problem in row.replace("builtins.int", "int")
                   for row in said.splitlines()), f"line {line}: {problem!r} is not in\n{said}"


def test_pages_templates_and_applications_import_from_the_door_alone() -> None:
    texts = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "actors" / "console" / "templates").iterdir(),
             *(ROOT / "actors" / "apps").glob("**/*.py")]
    for path in texts:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            words = line.split()
            inside = words[:1] in (["from"], ["import"]) and words[1].split(".")[0] == "actors"
            assert not inside or words[1].startswith("actors.apps."), f"{path.name}:{number}: {line.strip()}"


def _file(door: str) -> Path:
    path = ROOT.joinpath(*door.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_python_m_thresher_is_the_command() -> None:
    said = subprocess.run([sys.executable, "-m", "thresher", "--version"], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert said.stdout.startswith("thresher ") and said.stderr == ""
