"""Which source or sink an address means: one line changes the broker, and nothing is lost in silence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import msgspec
import pytest

from actors.console import check, explain, graph, inputs
from actors.console.schema import schema
from actors.runtime.errors import ConfigError
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import Sink, SinkOptions, Source, SourceOptions, UnitLedger
from actors.settings import Settings, load
from actors.sinks.topic import Topic
from actors.sources.topic import Topic as TopicSource
from tests.loads import ROOT

MODULE = "pipeline_with_a_wire"


class Wire(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sink of one's own, with addresses of its own.

    Attributes:
        topic: where.
        retain_s: as the topic has it.
        volts: as the topic has not.
    """

    guarantee: ClassVar[str] = "none"
    addressed_by: ClassVar[str] = "topic"
    schemes: ClassVar[tuple[str, ...]] = ("wire", "wires")

    topic: str = "wire://ab"
    retain_s: float = 0.0
    volts: int = 3

    def pack(self, items: Any) -> bytes:
        return b""

    def open(self, name: str, state: Path) -> Sink:
        raise NotImplementedError

    def describe(self) -> str:
        return f"wire {self.topic}"


class Wires(SourceOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source of one's own.

    Attributes:
        topics: where.
        start: as the topic has it.
    """

    guarantee: ClassVar[str] = "none"
    addressed_by: ClassVar[str] = "topics"
    schemes: ClassVar[tuple[str, ...]] = ("wire",)
    follows: ClassVar[bool] = False

    topics: list[str] = []
    start: str = "earliest"

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> Source:
        raise NotImplementedError

    def describe(self) -> str:
        return f"wires {self.topics}"


class Plain(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, but its addresses have no scheme."""

    schemes: ClassVar[tuple[str, ...]] = ()


@pytest.fixture(autouse=True)
def module() -> Iterator[types.ModuleType]:
    """A user's module with a pipeline from wires to a wire."""
    made = types.ModuleType(MODULE)
    made.__dict__["PIPELINE"] = Pipeline(
        name="test", source=Wires(), parse=bytes, sinks={"out": Wire()}, encode=lambda value: value)
    sys.modules[MODULE] = made
    yield made
    del sys.modules[MODULE]


def put(module: types.ModuleType, **parts: Any) -> None:
    module.__dict__["PIPELINE"] = msgspec.structs.replace(module.__dict__["PIPELINE"], **parts)


def loaded(*sets: str, **environ: str) -> Settings:
    return load(MODULE, sets=sets, environ=environ)


def problem(*sets: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(*sets, **environ)
    return str(caught.value)


def of_file(folder: Path, text: str, *sets: str) -> Settings:
    path = folder / "x.toml"
    path.write_text(f'app = "{MODULE}"\n{text}\n')
    try:
        return load(str(path), sets=sets, environ={})
    except ConfigError as error:
        raise ConfigError(str(error).replace(f"{path}", "x.toml")) from None


def test_one_line_of_a_file_chooses_the_sink_and_one_the_source(tmp_path: Path) -> None:
    settings = of_file(tmp_path, '[sinks.out]\ntopic = "topic:///ratings"\n[source]\ntopics = ["topic:a", "topic:b"]')
    assert settings.manifest.sinks["out"].load() == Topic(topic="topic:///ratings")
    assert settings.manifest.source.load() == TopicSource(topics=["topic:a", "topic:b"])
    assert (settings.shown["sinks.out"]["type"], settings.shown["source"]["type"]) == ("topic", "topic")
    assert settings.notes == []


def test_the_command_line_the_environment_and_a_reference_choose_too() -> None:
    for settings in (
        loaded("sinks.out.topic=topic:x", 'source.topics=["topic:x"]'),
        loaded(THRESHER_SINKS__OUT__TOPIC="topic:x", THRESHER_SOURCE__TOPICS='["topic:x"]'),
        loaded("sinks.out.topic=${env:WHERE}", 'source.topics=["${env:WHERE}"]', WHERE="topic:x"),
    ):
        assert settings.manifest.sinks["out"].load() == Topic(topic="topic:x")
        assert settings.manifest.source.load() == TopicSource(topics=["topic:x"])


def test_what_is_said_last_decides(tmp_path: Path) -> None:
    line = '[sinks.out]\ntopic = "topic:x"'
    assert of_file(tmp_path, line, "sinks.out.topic=wire://c").manifest.sinks["out"].load() == Wire(topic="wire://c")


@pytest.mark.parametrize("address", ["wire://cd", "wires:cd", "cd", "a/b:c", "${env:HERE}"])
def test_an_address_of_the_applications_own_or_of_no_scheme_changes_no_type(address: str) -> None:
    found = loaded(f"sinks.out.topic={address}", HERE="wire:here").manifest.sinks["out"].load()
    assert isinstance(found, Wire)


def test_an_option_that_is_no_address_of_the_applications_own_chooses_nothing() -> None:
    assert problem("dead_letters.topic=topic:x").startswith(
        "--set dead_letters.topic: unknown key 'dead_letters.topic'\n")


def test_a_scheme_that_nobody_has_is_refused_with_those_that_there_are() -> None:
    text = problem("sinks.out.topic=wrie://me:secret@c")
    assert text.startswith("--set sinks.out.topic: sinks.out.topic: expected an address that begins with ")
    assert {"topic:", "wire:", "wires:"} <= set(re.findall(r"\w+:", text))
    assert text.endswith(", got 'wrie://me:***@c'")


def test_addresses_of_two_types_in_one_list_are_refused() -> None:
    assert problem('source.topics=["topic:a", "wire://b"]') == (
        "--set source.topics: source.topics: expected addresses of one type, got some of "
        "'tests.unit.test_addresses:Wires' and 'topic': ['topic:a', 'wire://b']")


def test_to_choose_by_an_address_imports_no_client_library() -> None:
    code = """import sys
from actors.settings import load
load("ratings-feed", environ={}, sets=["sinks.live_ratings.topic=kafka://a/x"])
load("ratings-trends", environ={}, sets=['source.topics=["amqp://a/?queue=x"]'])
print(sorted({"confluent_kafka", "pika", "sqlalchemy", "lmdb", "watchfiles"} & set(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# A type besides ---------------------------------------------------------------------------------------------------


def test_a_type_and_an_address_that_agree_are_in_order(tmp_path: Path) -> None:
    text = '[sinks.out]\ntype = "topic"\ntopic = "topic:x"\nretain_s = 5'
    assert of_file(tmp_path, text).manifest.sinks["out"].load() == Topic(topic="topic:x", retain_s=5)


def test_a_type_and_an_address_that_contradict_one_another_are_refused_with_both_places(tmp_path: Path) -> None:
    own = f"{__name__}:Wire"
    with pytest.raises(ConfigError) as caught:
        of_file(tmp_path, f'[sinks.out]\ntype = "{own}"\ntopic = "topic:x"')
    assert str(caught.value) == (
        f"x.toml:4: sinks.out.topic: 'topic:x' is an address of the type 'topic', but x.toml:3 says sinks.out.type = "
        f"'{own}': leave out one of the two (an address alone says which type)")
    assert problem(f"sinks.out.type={own}", THRESHER_SINKS__OUT__TOPIC="topic:x").startswith(
        "environment THRESHER_SINKS__OUT__TOPIC: sinks.out.topic: 'topic:x' is an address of the type 'topic', but "
        "--set sinks.out.type says ")


def test_a_type_without_schemes_takes_any_address() -> None:
    settings = loaded(f"sinks.out.type={__name__}:Plain", "sinks.out.topic=topic:x")
    assert settings.manifest.sinks["out"].load() == Plain(topic="topic:x")


# What the application has set -------------------------------------------------------------------------------------


def test_what_the_application_has_set_goes_on_where_it_fits_and_is_noted_where_not(module: types.ModuleType) -> None:
    put(module, sinks={"out": Wire(retain_s=60, volts=5)}, source=Wires(start="latest"))
    settings = loaded("sinks.out.topic=topic:x", 'source.topics=["topic:x"]')
    assert settings.manifest.sinks["out"].load() == Topic(topic="topic:x", retain_s=60)
    assert settings.manifest.source.load() == TopicSource(topics=["topic:x"], start="latest")
    assert settings.notes == [
        "sinks.out.volts = 5, which the application has set, is not used: it is an option of the type "
        "'tests.unit.test_addresses:Wire', and the address means the type 'topic', which has none of that name"]


def test_what_is_said_and_only_the_other_type_has_is_refused_and_told_whose_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        of_file(tmp_path, '[sinks.out]\ntopic = "topic:x"\nvolts = 5\nretain_s = 60')
    head, valid, why = str(caught.value).splitlines()
    assert head == "x.toml:4: unknown key 'sinks.out.volts'"
    assert "partitions" in valid
    assert why == ("  it is an option of the type 'tests.unit.test_addresses:Wire', and the address means the type "
                   "'topic'")


def test_a_key_that_neither_has_is_unknown_as_ever() -> None:
    assert problem("sinks.out.topic=topic:x", "sinks.out.vlots=1").splitlines()[0] == (
        "--set sinks.out.vlots: unknown key 'sinks.out.vlots'")


# What people are shown --------------------------------------------------------------------------------------------


def test_every_verb_shows_the_chosen_type_and_what_is_not_used(module: types.ModuleType, tmp_path: Path) -> None:
    put(module, sinks={"out": Wire(volts=5)})
    settings = loaded("sinks.out.topic=topic:x", 'source.topics=["topic:x"]', f"state={tmp_path}")
    said = explain.explain(settings)
    assert (said["source"]["type"], said["sinks"]["out"]["type"]) == ("topic", "topic")
    assert said["sinks"]["out"]["guarantee"] == Topic.guarantee
    assert "sinks.out.volts = 5" in explain.render(said)
    first, *_ = check.check(lambda: settings, True)
    assert "sinks.out.volts = 5" in first.text
    assert "topic topic:x, 1 partition" in [node.label for node in graph.graph_of(settings.manifest).nodes]


def test_an_address_that_is_said_beside_once_decides_what_once_means(module: types.ModuleType) -> None:
    settings = inputs.settings_of(MODULE, ['source.topics=["topic:x"]'], once=True)
    assert settings.manifest.source.load() == TopicSource(topics=["topic:x"], follow=False)
    with pytest.raises(ConfigError, match=r"^--once: test reads from a source of the type tests\."):
        inputs.settings_of(MODULE, [], once=True)


def test_passwords_in_a_list_of_addresses_are_not_shown() -> None:
    assert loaded('source.topics=["wire://me:secret@b"]').shown["source"]["topics"] == ["wire://me:***@b"]


@pytest.mark.parametrize(("address", "kind"), [
    ("kafka://a:9092,b/ratings", "kafka"), ("amqp://me:pw@h/v?queue=q", "rabbitmq"),
    ("amqps://me:pw@h/v?exchange=e&routing_key=k", "rabbitmq"), ("topic:///ratings", "topic"), ("ratings", "topic")])
def test_ratings_are_published_by_the_broker_of_the_address_and_the_schema_knows_it(address: str, kind: str) -> None:
    settings = load("ratings-feed", sets=[f"sinks.live_ratings.topic={address}"], environ={})
    assert settings.shown["sinks.live_ratings"]["type"] == kind
    assert settings.notes == []
    valid = jsonschema.Draft7Validator(schema({"ratings-feed": settings.pipeline}))
    data = {"app": "ratings-feed", "sinks": {"live_ratings": {"topic": address}}}
    assert valid.is_valid(data)
    own = {"kafka": "transactions", "rabbitmq": "declare", "topic": "sync"}
    for of, option in own.items():
        data["sinks"]["live_ratings"] = {"topic": address, option: True}  # type: ignore[index]
        assert valid.is_valid(data) == (of == kind)


@pytest.mark.parametrize(("addresses", "kind"), [
    (["kafka://a:9092/ratings", "kafka://a:9092/more"], "kafka"), (["amqp://me:pw@h/v?queue=q"], "rabbitmq"),
    (["amqps://me:pw@h/v?queue=q"], "rabbitmq"), (["topic:///ratings"], "topic")])
def test_ratings_are_read_from_the_broker_of_the_addresses_and_the_schema_knows_it(
    addresses: list[str], kind: str
) -> None:
    settings = load("ratings-trends", sets=[f"source.topics={json.dumps(addresses)}"], environ={})
    assert settings.shown["source"]["type"] == kind
    assert settings.notes == []
    assert "pw" not in str(settings.shown)
    valid = jsonschema.Draft7Validator(schema({"ratings-trends": settings.pipeline}))
    own: dict[str, dict[str, Any]] = {
        "kafka": {"look_s": 1.0}, "rabbitmq": {"unique_ids": True}, "topic": {"poll_s": 1.0}}
    for of, option in own.items():
        assert valid.is_valid({"app": "ratings-trends", "source": {"topics": addresses, **option}}) == (of == kind)


def test_where_a_topic_begins_is_looked_at_before_a_run() -> None:
    for address in ("kafka://a/x", "topic:x", "amqp://a/?queue=x"):
        found = load("ratings-trends", sets=[f'source.topics=["{address}"]', "source.start=yesterday"], environ={})
        with pytest.raises(ConfigError, match=r"source\.start: expected earliest, latest"):
            found.manifest.source.load().require_addresses(Path("state"))


def test_what_is_counted_stays_in_one_state_so_a_group_of_kafka_is_refused_and_told_why() -> None:
    with pytest.raises(ConfigError, match="in a group, units of kafka a:9092 topics x, group g, followed move"):
        load("ratings-trends", sets=['source.topics=["kafka://a/x"]', "source.group=g"], environ={})


def test_the_schema_takes_an_address_with_the_options_of_its_type_and_no_other(module: types.ModuleType) -> None:
    put(module, source=TopicSource(), sinks={"out": Topic()})
    valid = jsonschema.Draft7Validator(schema({MODULE: module.__dict__["PIPELINE"]}))
    assert valid.is_valid({"app": MODULE, "sinks": {"out": {"topic": "topic:x", "segment_bytes": 5}}})
    assert not valid.is_valid({"app": MODULE, "sinks": {"out": {"topic": "topic:x", "volts": 5}}})
