"""Settings: what is laid over what, which reading a text gets, what is shown of a secret, and every mistake's words."""

from __future__ import annotations

import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from msgspec import Meta

from actors.apps.appsinstalled import PIPELINE as APPSINSTALLED
from actors.console.echo import render
from actors.runtime.errors import ConfigError
from actors.runtime.manifest import application
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import Sink, SinkOptions
from actors.settings import Settings, load
from actors.sinks.dead_letters import DeadLetters
from actors.sinks.lmdb import Lmdb
from actors.sources.files import Files
from actors.targets import applications

MODULE = "pipeline_of_a_test"


class Paired(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of an application, with a rule that no type can say."""

    text: str = "a"
    number: Annotated[int, Meta(ge=0)] = 1
    either: int | str = 1
    low: int = 0
    high: int = 10
    names: list[str] = []
    table: dict[str, int] = {}

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low: expected at most high, which is {self.high}, got {self.low}")


class Vault(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sink with a password that it checks, and shows when it complains."""

    ordered: ClassVar[bool] = True
    guarantee: ClassVar[str] = "none"

    password: str

    def __post_init__(self) -> None:
        if not self.password.endswith("!"):
            raise ValueError(f"password {self.password!r} is too weak: {self.password}")

    def pack(self, items: Any) -> bytes:
        return b""

    def open(self, name: str, state: Path) -> Sink:
        raise NotImplementedError

    def describe(self) -> str:
        return "vault"


class NoSink(msgspec.Struct):
    """A struct that is no sink's options."""

    path: str = ""


@pytest.fixture(autouse=True)
def module() -> Iterator[types.ModuleType]:
    """A user's module with a pipeline."""
    made = types.ModuleType(MODULE)
    made.__dict__["PIPELINE"] = Pipeline(
        name="test", source=Files(pattern="*.txt"), parse=bytes, route=lambda _: "Main", encode=lambda value: value,
        sinks={"Main": Lmdb()}, dead_letters=DeadLetters(), options=Paired())
    sys.modules[MODULE] = made
    yield made
    del sys.modules[MODULE]


def _load(*sets: str, **environ: str) -> Settings:
    return load(MODULE, sets=sets, environ=environ)


def _options(*sets: str, **environ: str) -> dict[str, Any]:
    options = _load(*sets, **environ).manifest.options
    assert options is not None
    return options


def _problem(*sets: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        _load(*sets, **environ)
    return str(caught.value)


def _file(folder: Path, text: str, app: str = MODULE) -> Path:
    path = folder / "x.toml"
    path.write_text(f'app = "{app}"\n{text}\n')
    return path


def _problem_in(folder: Path, text: str) -> str:
    path = _file(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(str(path), environ={})
    return str(caught.value).replace(f"{path}", "x.toml")


# Readings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "field", "expected"), [
    ("123", "text", "123"), ("true", "text", "true"), ("2017-09-29", "text", "2017-09-29"), ("[1]", "text", "[1]"),
    ("a = 1", "text", "a = 1"), ("", "text", ""), ('"quoted"', "text", "quoted"), ("1 # one", "text", "1 # one"),
    ("1\nother = 2", "text", "1\nother = 2"), ("[" * 5000, "text", "[" * 5000), ("123", "number", 123),
    ("123", "either", 123), ("'123'", "either", "123"), ('["1", "b"]', "names", ["1", "b"]),
    ("{a = 1}", "table", {"a": 1}),
])
def test_a_text_is_read_as_what_the_option_is(said: str, field: str, expected: Any) -> None:
    assert _options(f"options.{field}={said}")[field] == expected
    assert _options(**{f"THRESHER_OPTIONS__{field.upper()}": said})[field] == expected


def test_a_value_that_fits_no_reading_is_shown_as_it_was_read() -> None:
    assert _problem("options.number=-1") == "--set options.number: options.number: expected int >= 0, got -1"
    assert _problem("options.number=many") == "--set options.number: options.number: expected int, got 'many'"


def test_a_file_has_one_reading_only(tmp_path: Path) -> None:
    assert _problem_in(tmp_path, "[options]\ntext = 123") == "x.toml:3: options.text: expected str, got 123"


def test_the_state_directory_may_be_called_like_a_number_and_come_from_anywhere(tmp_path: Path) -> None:
    assert _load("state=2017").manifest.state == str(Path("2017").absolute())
    assert _load(THRESHER_STATE="here").manifest.state == str(Path("here").absolute())
    assert _load().manifest.state == str(Path("var/test").absolute())
    path = _file(tmp_path, 'state = "${env:BASE}/x"')
    settings = load(str(path), environ={"BASE": "/srv"})
    assert (settings.manifest.state, settings.shown["state"]) == ("/srv/x", "${env:BASE}/x")
    assert load(str(path), environ={"BASE": "/srv"}, state="mine").manifest.state == str(Path("mine").absolute())


def test_a_sink_with_capitals_in_its_name_can_be_set_from_the_environment() -> None:
    assert _load(THRESHER_SINKS__MAIN__PATH="x").manifest.sinks["Main"].values["path"] == "x"


# Secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [
    {"sets": ["options.text=a-${env:WORD}"]}, {"environ": {"THRESHER_OPTIONS__TEXT": "a-${env:WORD}"}},
])
def test_a_secret_reaches_the_run_and_is_echoed_as_it_was_written(said: dict[str, Any]) -> None:
    settings = load(MODULE, sets=said.get("sets", ()), environ={"WORD": "s3cret", **said.get("environ", {})})
    assert settings.manifest.options is not None
    assert settings.manifest.options["text"] == "a-s3cret"
    assert settings.shown["options"]["text"] == "a-${env:WORD}"
    assert "s3cret" not in render(settings.shown)


def test_references_are_resolved_in_lists_in_every_section_and_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "n").write_text("3\n")
    path = _file(tmp_path, '[source]\npaths = ["${env:A}/1", "plain"]\n'
                           f'[parser]\nworkers = "${{file:{tmp_path}/n}}"\n')
    settings = load(str(path), environ={"A": "folder"})
    assert settings.manifest.source.values["paths"] == ["folder/1", "plain"]
    assert settings.manifest.parser.workers == 3
    assert settings.shown["source"]["paths"] == ["${env:A}/1", "plain"]
    assert settings.shown["parser"]["workers"] == f"${{file:{tmp_path}/n}}"


def test_a_later_layer_that_is_no_secret_is_shown_itself() -> None:
    settings = _load("options.text=plain", THRESHER_OPTIONS__TEXT="${env:W}", W="s3cret")
    assert settings.shown["options"]["text"] == "plain"


@pytest.mark.parametrize(("key", "secret"), [
    ("options.number", "s3cret"), ("options.low", "77"), ("options.names", "s3cret"), ("sinks.Main.sync", "s3cret"),
    ("sinks.Main.type", "s3cret"), ("parser.workers", "s3cret"), ("restart.intensity", "-77"),
])
def test_no_error_shows_a_secret(key: str, secret: str) -> None:
    text = _problem(f"{key}=${{env:WORD}}", WORD=secret)
    assert "${env:WORD}" in text
    assert secret not in text


@pytest.mark.parametrize(("secret", "quote"), [("s3cret", "'"), ("it's\\here", '"')])
def test_not_even_an_error_of_the_options_own_shows_a_secret(secret: str, quote: str) -> None:
    text = _problem(f"sinks.Main.type={__name__}:Vault", "sinks.Main.password=${env:WORD}", WORD=secret)
    assert text == (f"--set sinks.Main.type: [sinks.Main]: password {quote}${{env:WORD}}{quote} is too weak: "
                    "${env:WORD}")


def test_a_reference_to_nothing_is_one_problem_not_two(tmp_path: Path) -> None:
    assert _problem("options.number=${env:GONE}") == (
        "--set options.number: options.number: ${env:GONE}: GONE is not set")
    assert _problem(f"options.text=${{file:{tmp_path}}}") == (
        f"--set options.text: options.text: ${{file:{tmp_path}}}: {tmp_path} is a directory")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert _problem(f"options.text=${{file:{tmp_path}/binary}}").endswith("binary is no text")
    assert _problem("sinks.Main.type=memcached", "sinks.Main.server=${env:GONE}").count("\n") == 0


# What dies at the start says so now -------------------------------------------------------------------------------


@pytest.mark.parametrize("server", [
    "nonsense", "host:", ":11211", "host:0", "host:65536", "host:²", "unix:", "unix:" + "x" * 108, "",
])
def test_a_server_that_cannot_be_one_is_refused_where_it_was_said(tmp_path: Path, server: str) -> None:
    expected = f"sinks.Main.server: expected host:port, [ipv6]:port or unix:/path, got {server!r}"
    assert _problem_in(tmp_path, f'[sinks.Main]\ntype = "memcached"\nserver = "{server}"') == f"x.toml:4: {expected}"
    assert _problem("sinks.Main.type=memcached", f"sinks.Main.server={server}") == (
        f"--set sinks.Main.server: {expected}")


def test_a_rule_of_the_options_own_names_the_key_and_where_it_was_said(tmp_path: Path) -> None:
    assert _problem_in(tmp_path, "[options]\nhigh = 20\nlow = 30") == (
        "x.toml:4: options.low: expected at most high, which is 20, got 30")
    assert _problem_in(tmp_path, "[options]\nhigh = -1") == (
        "x.toml:3: options.low: expected at most high, which is -1, got 0")


# Types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "name", "why"), [
    ("sinks.Main", "os:sep", "expected a class that is a msgspec.Struct"),
    ("sinks.Main", "os:getcwd", "expected a class that is a msgspec.Struct"),
    ("sinks.Main", "pathlib:Path", "expected a class that is a msgspec.Struct"),
    ("sinks.Main", f"{__name__}:NoSink", "NoSink is no sink: it does not inherit from thresher.sinks.SinkOptions, "
     "and has no open, describe, pack, guarantee"),
    ("sinks.Main", "actors.sources.files:Files", "Files is a source, expected a sink"),
    ("sinks.Main", "dead_letters", "DeadLetters takes letters"),
    ("sinks.Main", "os:nothing", "module 'os' has no attribute 'nothing'"),
    ("sinks.Main", "no_such_module:X", "No module named 'no_such_module'"),
    ("sinks.Main", ":X", "Empty module name"),
    ("sinks.Main", "", "No module named 'actors.sinks.'"),
    ("source", "actors.sinks.lmdb:Lmdb", "Lmdb is a sink, expected a source"),
    ("source", "inflate", "module 'actors.sources.inflate' has no attribute 'OPTIONS'"),
    ("dead_letters", "lmdb", "Lmdb takes items"),
    ("dead_letters", "files", "No module named 'actors.sinks.files'"),
])
def test_a_type_that_is_none_is_a_problem(section: str, name: str, why: str) -> None:
    valid = {"source": "directory, files, kafka, rabbitmq, stdin, tcp, topic",
             "sinks.Main": "csv, discard, jsonl, kafka, lines, lmdb, memcached, parquet, rabbitmq, redis, "
                           "sql, stdout, topic",
             "dead_letters": "dead_letters, discard"}
    assert _problem(f"{section}.type={name}") == (
        f"--set {section}.type: {section}.type: expected {valid[section]} or module:class, got {name!r} ({why})")


@pytest.mark.parametrize(("value", "shown"), [("3", "3"), ("true", "True"), ("[1]", "[1]"), ("{a = 1}", "{'a': 1}")])
def test_a_type_that_is_no_text_is_a_problem(tmp_path: Path, value: str, shown: str) -> None:
    assert _problem_in(tmp_path, f"[sinks.Main]\ntype = {value}") == (
        "x.toml:3: sinks.Main.type: expected csv, discard, jsonl, kafka, lines, lmdb, memcached, parquet, rabbitmq, "
        f"redis, sql, stdout, topic or module:class, got {shown} (expected a text)")


def test_a_type_whose_module_fails_says_how_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_sink.py").write_text("x = 1\ny = x / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert _problem("sinks.Main.type=broken_sink:Sink").endswith(
        f"got 'broken_sink:Sink' (ZeroDivisionError: division by zero ({tmp_path}/broken_sink.py:2))")


def test_the_keys_of_a_wrong_type_are_not_judged(tmp_path: Path) -> None:
    assert _problem_in(tmp_path, '[sinks.Main]\ntype = "memcache"\nserver = "a:1"').count("\n") == 0


def test_a_type_may_be_a_class_of_ones_own() -> None:
    settings = _load(f"sinks.Main.type={__name__}:Vault", "sinks.Main.password=good!")
    assert settings.manifest.sinks["Main"].load() == Vault(password="good!")
    assert settings.shown["sinks.Main"] == {"type": f"{__name__}:Vault", "password": "***"}


# Keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "problem"), [
    ("a..b=1", "--set a..b=1: expected KEY=VALUE with a key like parser.workers, got a key with an empty part"),
    ("=x", "--set =x: expected KEY=VALUE with a key like parser.workers, got no key"),
    ("parser.=1", "--set parser.=1: expected KEY=VALUE with a key like parser.workers, got a key with an empty part"),
    (".=1", "--set .=1: expected KEY=VALUE with a key like parser.workers, got a key with an empty part"),
    ("nonsense", "--set nonsense: expected KEY=VALUE, e.g. --set parser.workers=4"),
    ("parser=1", "--set parser: parser: expected a section with keys, e.g. [parser], got 1"),
    ("sinks=1", "--set sinks: sinks: expected a section with keys, e.g. [parser], got 1"),
    ("sinks.Main=lmdb", "--set sinks.Main: sinks.Main: expected a section with keys, e.g. [parser], got 'lmdb'"),
    ("parser.workers.x=1", "--set parser.workers.x: 'parser.workers.x' is no option: "
                           "expected a key in a section, e.g. parser.workers or sinks.NAME.type"),
    ("state.x=1", "--set state.x: 'state.x' is no option: "
                  "expected a key in a section, e.g. parser.workers or sinks.NAME.type"),
    ("state=", "--set state: state: expected the path of a directory, got ''"),
    ("app=ratings", "--set app: 'app' is no option: the application is TARGET, or `app` in the file that is TARGET"),
])
def test_an_odd_key_is_named(text: str, problem: str) -> None:
    assert _problem(text) == problem


def test_spaces_around_a_key_are_no_part_of_it() -> None:
    assert _load(" parser . workers =3").manifest.parser.workers == 3


def test_odd_names_in_the_environment_are_named_and_those_of_others_left_alone() -> None:
    _load(THRESHER_HOME="x", THRESHERX="y", OTHER__PARSER="z")
    assert _problem(THRESHER_PARSER__="1") == (
        "environment THRESHER_PARSER__: expected THRESHER_SECTION__KEY, e.g. THRESHER_PARSER__WORKERS, "
        "got a name with an empty part")
    assert _problem(THRESHER_APP__NAME="x").startswith("environment THRESHER_APP__NAME: 'app.name' is no option")
    assert _problem(THRESHER_PARSER__WORKERS="1", THRESHER_parser__workers="2") == (
        "environment THRESHER_parser__workers: THRESHER_PARSER__WORKERS says the same option parser.workers: "
        "unset one of them")


@pytest.mark.parametrize(("text", "problem"), [
    ("[parser.workers]\nx = 1", "x.toml:2: parser.workers: expected int, got {'x': 1}"),
    ("[[parser]]\nworkers = 1", "x.toml:2: parser: expected a section with keys, e.g. [parser], got [{'workers': 1}]"),
    ("parser = 3", "x.toml:2: parser: expected a section with keys, e.g. [parser], got 3"),
    ("[Parser]\nworkers = 1", "x.toml:3: unknown key 'Parser'"),
    ("[parsers]", "x.toml:2: unknown key 'parsers'"),
    ("[sinks.iphone]", "x.toml:2: unknown key 'sinks.iphone'"),
    ("[parser]\nworkers = 1\n[parser]\nfuse = true", "x.toml: not TOML: Cannot declare ('parser',) twice"),
    ("state = 3", "x.toml:2: state: expected the path of a directory, got 3"),
    ("[state]\nx = 1", "x.toml:3: 'state.x' is no option"),
    ('state = "a\\u0000b"', "x.toml:2: state: expected the path of a directory, got 'a\\x00b'"),
    ("[options]\nnames = [1]", "x.toml:3: options.names: expected str, got [1]"),
    (f"a = {'[' * 2000}", "x.toml: not TOML: "),
])
def test_an_odd_file_is_a_clear_error(tmp_path: Path, text: str, problem: str) -> None:
    assert _problem_in(tmp_path, text).startswith(problem)


def test_empty_sections_are_in_order(tmp_path: Path) -> None:
    load(str(_file(tmp_path, "[parser]\n[sinks]\n[sinks.Main]\n[source]\n[options]")), environ={})


# Targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("app", "problem"), [
    ("3", f"x.toml:1: expected app = \"NAME\", one of {', '.join(applications())} or a dotted module, got 3"),
    ('["a"]', f"x.toml:1: expected app = \"NAME\", one of {', '.join(applications())} or a dotted module, got ['a']"),
    ('""', "x.toml: app: no application and no module is called ''"),
    ('".x"', "x.toml: app: no application and no module is called '.x'"),
    ('"a b"', "x.toml: app: no application and no module is called 'a b'"),
    ('"os.path"', "x.toml: app: module os.path has no PIPELINE"),
])
def test_an_application_in_a_wrong_form_is_named(tmp_path: Path, app: str, problem: str) -> None:
    (tmp_path / "x.toml").write_text(f"app = {app}\n")
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / "x.toml"), environ={})
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(problem)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "latin.toml").write_bytes(b'app = "\xe9"')
    for name, problem in {"folder": "expected a TOML file: is a directory", "latin": "not TOML: 'utf-8' codec",
                          "gone": "expected a TOML file: no such file or directory"}.items():
        with pytest.raises(ConfigError, match=f"{tmp_path}/{name}.toml: {problem}"):
            load(f"{tmp_path}/{name}.toml", environ={})


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbf" + f'app = "{MODULE}"\n'.encode())
    load(str(tmp_path / "x.toml"), environ={})


@pytest.mark.parametrize(("source", "problem"), [
    ("import sys\nsys.exit(3)", "SystemExit: 3 ({file}:2)"),
    ("def f():\n    return x\nf()", "NameError: name 'x' is not defined ({file}:2)"),
    ("x = [1,", "SyntaxError: '[' was never closed (mine_7.py, line 1)"),
    ("import no_such_module_7", "ModuleNotFoundError: No module named 'no_such_module_7' ({file}:1)"),
    ("class C: pass\nC.x", "AttributeError: type object 'C' has no attribute 'x' ({file}:2)"),
])
def test_a_module_that_fails_says_how_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, problem: str
) -> None:
    (tmp_path / "mine_7.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load("mine_7", environ={})
    assert str(caught.value) == "target 'mine_7': mine_7 cannot be imported: " + problem.format(
        file=tmp_path / "mine_7.py")
    sys.modules.pop("mine_7", None)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^target 'folder/words\.py': there is no file folder/words\.py$"):
        load("folder/words.py", environ={})


def test_the_file_of_an_application_is_loaded_whatever_else_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path = tmp_path / "10:30"  # a colon is no sign that a name follows
    tmp_path.mkdir()
    (tmp_path / "json.py").write_text(
        "from thresher import Pipeline\nfrom thresher.sinks import Lines\nfrom thresher.sources import Files\n"
        "OTHER = PIPELINE = Pipeline(source=Files(pattern='*.log'), parse=bytes.upper, sinks={'out': Lines()})\n")
    monkeypatch.chdir(tmp_path)
    for target in ("json.py", str(tmp_path / "json.py"), "json", "./json.py", "json.py:OTHER"):
        settings = load(target, environ={})
        assert settings.manifest.name == "json"
        assert settings.manifest.app.startswith(f"{tmp_path}/json.py")
        assert application(settings.manifest)[0].parse == bytes.upper
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "main.toml").write_text('app = "../json.py"')
    monkeypatch.chdir("/")
    assert load(str(tmp_path / "deploy" / "main.toml"), environ={}).manifest.name == "json"


def test_a_pipeline_that_is_none_is_named(module: types.ModuleType) -> None:
    module.__dict__["PIPELINE"] = 3
    assert _problem() == f"target '{MODULE}': {MODULE}.PIPELINE: expected a Pipeline, got int"


# Echo -------------------------------------------------------------------------------------------------------------


def test_what_echo_prints_is_toml_that_means_the_same(tmp_path: Path) -> None:
    sets = ('options.text=a "b" \\ \x7f ☃ 😀', "options.names=['x', 'y\"']", "options.table={'a b' = 1}",
            "parser.workers=7", "flow.credit=3")
    first = _load(*sets)
    path = tmp_path / "echo.toml"
    path.write_text(render(first.shown), encoding="utf-8")
    assert tomllib.loads(path.read_text(encoding="utf-8"))["app"] == MODULE
    again = load(str(path), environ={})
    assert msgspec.structs.replace(again.manifest, run="") == msgspec.structs.replace(first.manifest, run="")


def test_the_defaults_of_what_ships_are_in_order() -> None:
    assert load("appsinstalled", environ={}).pipeline is APPSINSTALLED


def test_a_password_in_an_address_is_not_shown_whoever_wrote_it_there(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("""app = "tests.pipelines.rower"
[sinks.store]
url = "postgresql+psycopg://me:s3cret@host/db"
""")
    settings = load(str(path), environ={})
    assert settings.manifest.sinks["store"].values["url"] == "postgresql+psycopg://me:s3cret@host/db"
    assert settings.shown["sinks.store"]["url"] == "postgresql+psycopg://me:***@host/db"
    assert "s3cret" not in render(settings.shown)
    referred = load(str(path), sets=["sinks.store.url=postgresql://me:${env:PW}@host/db"], environ={"PW": "s3cret"})
    assert referred.shown["sinks.store"]["url"] == "postgresql://me:${env:PW}@host/db"


def test_a_mistyped_type_is_told_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    assert _problem_in(tmp_path, '[sinks.Main]\ntype = "lmbd"') == (
        "x.toml:3: sinks.Main.type: expected csv, discard, jsonl, kafka, lines, lmdb, memcached, parquet, rabbitmq, "
        "redis, sql, stdout, topic or module:class, got 'lmbd'; did you mean 'lmdb'?")
