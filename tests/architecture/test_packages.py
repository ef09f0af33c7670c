"""What is installed is ``thresher`` and ``actors``; the schemas and values at the root hold no Python."""

from __future__ import annotations

import configparser
import fnmatch
import re
import subprocess
import sys
from pathlib import Path

import pytest

from actors.apps.appsinstalled import appsinstalled_pb2
from actors.apps.ascp import ascp_pb2
from actors.apps.ratings import ratings_pb2
from actors.targets import applications, name_of
from tests.loads import ROOT

FORMS = {"protos": {".proto"}, "config": {".toml"}}
MODULES = {"appsinstalled": appsinstalled_pb2, "ascp": ascp_pb2, "ratings": ratings_pb2}


def test_the_packages_are_thresher_and_actors() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = setup["options.packages.find"]["include"].split()
    folders = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    assert {name for name in folders if any(fnmatch.fnmatch(name, each) for each in patterns)} == {"thresher", "actors"}
    assert setup["importlinter"]["root_packages"].split() == ["thresher", "actors"]


@pytest.mark.parametrize("package", ["thresher", "actors"])
def test_every_folder_of_modules_is_a_package(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("folder", FORMS)
def test_schemas_and_values_hold_no_python(folder: str) -> None:
    files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    # What an older checkout has compiled there is no file of the project.
    assert {path.suffix for path in files if path.parent.name != "__pycache__"} == FORMS[folder]


def test_an_application_is_a_module_a_folder_or_one_of_several_in_a_folder() -> None:
    assert applications() == [
        "appsinstalled", "ascp", "ascp-live", "connections", "numbers", "ratings-feed", "ratings-trends"]
    assert [name_of(app) for app in ("actors.apps.numbers", "actors.apps.ratings.feed", "actors.apps.numbers:OTHER",
                                     "words", "/a/words.py")] == [
        "numbers", "ratings-feed", "numbers:OTHER", "words", "/a/words.py"]


def test_every_schema_has_its_generated_module() -> None:
    assert {path.stem for path in (ROOT / "protos").iterdir()} == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_the_generated_messages_are_those_of_the_schema(name: str) -> None:
    schema = (ROOT / "protos" / f"{name}.proto").read_text(encoding="utf-8")
    found = {message: [(field.name, str(field.number)) for field in descriptor.fields]
             for message, descriptor in MODULES[name].DESCRIPTOR.message_types_by_name.items()}
    assert found == {message: re.findall(r"^ +(?:repeated |optional )?\w+ (\w+) = (\d+);", body, re.MULTILINE)
                     for message, body in re.findall(r"^message (\w+) {(.*?)^}", schema, re.MULTILINE | re.DOTALL)}


@pytest.mark.parametrize("name", MODULES)
def test_the_generated_module_asks_for_no_newer_library_than_is_declared(name: str) -> None:
    made = (ROOT / f"actors/apps/{name}/{name}_pb2.py").read_text(encoding="utf-8")
    found = re.search(r"^# Protobuf Python Version: (\S+)$", made, re.MULTILINE)
    assert found is not None
    assert f"protobuf >= {found[1]}\n" in (ROOT / "setup.cfg").read_text(encoding="utf-8")


def test_an_application_runs_without_its_generated_module(tmp_path: Path) -> None:
    code = "import sys, actors.apps.appsinstalled; sys.exit('google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0
