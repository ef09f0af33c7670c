"""The JSON Schema of configuration files: it takes what runs, and refuses what ``lint`` refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.console import catalogue, schema
from actors.runtime.errors import ConfigError
from actors.settings import load
from tests.apps.test_cli import thresher
from tests.loads import ROOT

SHIPPED = json.loads((ROOT / "docs" / "thresher.schema.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SHIPPED)


def _problems(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))]


def _lints(path: Path, text: str) -> bool:
    path.write_text(text)
    try:
        load(str(path), environ={})
    except ConfigError:
        return False
    return True


def test_the_schema_needs_no_library_of_an_extra(tmp_path: Path) -> None:
    """As in an installation without extras: the parts of the sql sink that need SQLAlchemy cannot be imported."""
    extras = ["sqlalchemy", "psycopg", "numpy", "watchfiles", "zstandard"]
    code = (f"import sys; sys.modules.update(dict.fromkeys({extras}))\n"
            "from actors import cli; sys.exit(cli.main(['schema']))")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == SHIPPED


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SHIPPED)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.toml")), ids=lambda path: path.name)
def test_what_ships_is_valid(path: Path) -> None:
    assert _problems(path.read_text()) == []


def test_what_init_makes_is_valid_also_when_its_own_options_are_known(tmp_path: Path) -> None:
    assert thresher("init", "web", cwd=tmp_path).returncode == 0
    text = (tmp_path / "web" / "web.toml").read_text()
    assert _problems(text) == []
    done = thresher("schema", "web.toml", "--out", "schema.json", cwd=tmp_path / "web")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.endswith("  #:schema ./schema.json\n")
    known = jsonschema.Draft7Validator(json.loads((tmp_path / "web" / "schema.json").read_text()))
    assert known.is_valid(tomllib.loads(text))
    assert not known.is_valid(tomllib.loads(text.replace("ignore", "ingore")))
    assert not known.is_valid(tomllib.loads(text + "\n[sinks.request]\nsync = false\n"))


def test_the_schema_of_the_command_is_the_one_that_ships(tmp_path: Path) -> None:
    done = thresher("schema", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == SHIPPED
    refused = thresher("schema", "--out", "no/such/folder.json", cwd=tmp_path)
    assert refused.returncode == 78
    assert refused.stderr == ("--out no/such/folder.json: expected a file to write to: no such file or directory\n")


_REFUSED = [
    "[parser]\nwrokers = 1", "[parser]\nworkers = 0", "[parser]\nworkers = 65", '[parser]\nworkers = "two"',
    "[parser]\nworkers = true", "[parsers]\nworkers = 1", "parser = 5", "[parser.workers]\nx = 1",
    "[budget]\nmax_error_rate = 2", "[watch]\nsuspect_s = 0", '[window]\nkind = "sliding"', "[window]\nstart = 1.5",
    '[window]\nstart = "second"', "[run]\nresume = 1", '[run]\nresume = "yes"', "[monitor]\nport = 65536",
    '[links]\ntransport = "udp"', "state = ''", "state = 5", "[options]\ngeo = true", "[options]\ngeo_check = 1",
    "options = 3", '[source]\npaths = "x"', "[source]\npaths = [1]", "[source]\nport = 3",
    '[source]\ntype = "tcp"\nport = 70000', '[source]\ntype = "tcp"\npattern = "x"', '[source]\ntype = "lmdb"',
    '[sinks.idfa]\ntype = "memcache"', '[sinks.idfa]\ntype = "memcached"\nserver = 5', "[sinks.iphone]",
    "[sinks.idfa]\nmap_bytes = 5", '[sinks.idfa]\nsync = "no"', '[sinks.idfa]\ntype = "files"', "[sinks]\nidfa = 3",
    '[sinks.idfa]\ntype = "sql"\ncolumns = {a = 3}', '[dead_letters]\ntype = "lmdb"', "[dead_letters]\nmax_bytes = -1",
]


@pytest.mark.parametrize("text", _REFUSED)
def test_what_lint_refuses_for_its_key_type_or_bounds_the_schema_refuses(tmp_path: Path, text: str) -> None:
    text = f'app = "appsinstalled"\n{text}\n'
    assert not _lints(tmp_path / "x.toml", text)
    assert _problems(text) != []


_TAKEN = [
    "", "[parser]", "[parser]\nworkers = 64", '[parser]\nworkers = "${env:WORKERS}"', "[sinks]", "[sinks.idfa]",
    "[budget]\nmax_error_rate = 0", "[watch]\nsuspect_s = 1", "[window]\nstart = 1565647204351",
    '[source]\ntype = "tcp"\nport = 4000', '[source]\ntype = "stdin"', '[source]\npaths = ["${env:HOME}"]',
    '[sinks.idfa]\ntype = "memcached"\nserver = "unix:/x"', '[sinks.idfa]\ntype = "sql"\ncolumns = {a = "text"}',
    '[sinks.idfa]\ntype = "actors.sinks.lmdb:Lmdb"\nsync = false', '[dead_letters]\ntype = "discard"',
    '[sinks.idfa]\ntype = "lmdb"\nsync = false\n[sinks.gaid]\nsync = false', '[options]\ngeo_check = true',
]


@pytest.mark.parametrize("text", _TAKEN)
def test_what_lint_takes_the_schema_takes(tmp_path: Path, text: str) -> None:
    text = f'app = "appsinstalled"\n{text}\n'
    (tmp_path / "x.toml").write_text(text)
    load(str(tmp_path / "x.toml"), environ={"WORKERS": "3", "HOME": "/root"})
    assert _problems(text) == []


def test_a_type_of_ones_own_and_an_application_of_ones_own_take_anything_of_their_own() -> None:
    assert _problems('app = "appsinstalled"\n[sinks.idfa]\ntype = "mine.kafka:Kafka"\ntopic = "x"\n') == []
    own = 'app = "mine.job"\n[options]\nlevel = 3\n[source]\ntype = "mine.queue:Queue"\nurl = "x"\n[sinks.any]\n'
    assert _problems(own) == []
    assert _problems('app = "mine.job"\n[sinks.any]\ntype = "memcached"\nport = 4\n') != []
    assert _problems('app = "mine.job"\n[source]\nport = 4000\n') == []  # without a type it is the application's
    assert _problems('app = "mine.job"\n[source]\nprot = 4000\n') != []
    assert _problems("[parser]\nworkers = 2\n") == ["'app' is a required property"]


def _options() -> list[tuple[str, str, Any]]:
    return [(section.name, option.name, get_type_hints(section.kind, include_extras=True)[option.name])
            for section in catalogue.sections() for option in section.options]


_VALUES = st.one_of(
    st.integers(-3, 70_000), st.floats(-3, 10, allow_nan=False).filter(lambda number: not number.is_integer()),
    st.booleans(), st.sampled_from(["", "auto", "ipc", "tcp", "clock", "first", "tumbling", "3"]),
    st.lists(st.integers(0, 3), max_size=2))


@given(st.sampled_from(_options()), _VALUES)
def test_for_any_option_and_value_the_schema_agrees_with_the_type(option: tuple[str, str, Any], value: Any) -> None:
    section, name, hint = option
    try:
        msgspec.convert(value, hint)
        fits = True
    except msgspec.ValidationError:
        fits = False
    assert VALIDATOR.is_valid({"app": "mine", section: {name: value}}) == fits


def test_each_property_tells_what_it_is_and_its_default() -> None:
    parser = SHIPPED["$defs"]["parser"]["properties"]["workers"]
    assert parser["description"] == "number of processes. (integer, 1 to 64; default: 2)"
    assert parser["default"] == 2
    for name, part in SHIPPED["$defs"].items():
        assert part["description" if "anyOf" not in part else "anyOf"], name


def test_choices_are_those_of_the_code() -> None:
    for section, name, hint in _options():
        kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if get_origin(kind) is Literal:
            made = SHIPPED["$defs"][section]["properties"][name]["anyOf"][0]["enum"]
            assert sorted(made) == sorted(get_args(kind))


def test_making_it_twice_makes_the_same() -> None:
    assert schema.render(schema.schema(catalogue.pipelines())) == schema.render(schema.schema(catalogue.pipelines()))
