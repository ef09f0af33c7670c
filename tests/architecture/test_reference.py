"""``docs/reference.md``: every public name is on it, with what it takes and an example that runs."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import ClassVar

import pytest

from scripts.make_reference import GROUPS, read

NAMES = [(door, name) for door, groups in GROUPS.items() for names in groups.values() for name in names]


def test_every_public_name_is_in_one_group() -> None:
    public = [(door, name) for door in GROUPS for name in importlib.import_module(door).__all__]
    assert sorted(NAMES) == sorted(public)


@pytest.mark.parametrize(("door", "name"), NAMES)
def test_the_example_of_a_name_runs(door: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = read(getattr(importlib.import_module(door), name)).parts.get("Example", "")
    assert name in example, f"{door}.{name}: give an example that uses it in its docstring: Example::"
    monkeypatch.chdir(tmp_path)
    world: dict[str, object] = {"__name__": "example", "ClassVar": ClassVar}
    monkeypatch.setitem(sys.modules, "example", types.ModuleType("example"))  # where types are looked up by their names
    for each in GROUPS:
        exec(f"from {each} import *", world)
    exec(compile(example, f"<the example of {door}.{name}>", "exec"), world)
