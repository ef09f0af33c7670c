"""A manifest expanded to actors: who runs, in which order, who talks to whom, what they are called."""

from __future__ import annotations

import msgspec
import pytest

from actors.runtime.manifest import Component, Manifest
from actors.runtime.ports import SinkOptions
from actors.runtime.sections import AggregatorOptions, CheckerOptions, ParserOptions
from actors.runtime.topology import (
    DOWNSTREAM,
    aggregator_names,
    component_ordered,
    downstream,
    expand,
    fixed_destinations,
    process_title,
    stage_of,
    writer_name,
)

LETTERS: Component[SinkOptions] = Component("actors.sinks.dead_letters:DeadLetters", {})
STORE: Component[SinkOptions] = Component("actors.sinks.discard:Discard", {})
MANIFEST = Manifest(
    run="r", name="n", app="", state="/", source=Component("actors.sources.stdin:Stdin", {}),
    sinks={"idfa": STORE, "gaid": STORE}, dead_letters=LETTERS, folds=True,
    parser=ParserOptions(workers=2), checker=CheckerOptions(workers=3),
    aggregator=AggregatorOptions(shards=2))
UNFUSED = msgspec.structs.replace(MANIFEST, parser=ParserOptions(workers=2, fused=False))
BOTH = pytest.mark.parametrize("manifest", [MANIFEST, UNFUSED], ids=["fused", "unfused"])


def names(manifest: Manifest) -> list[str]:
    return [spec.name for spec in expand(manifest)]


def test_a_fused_run_has_no_checkers() -> None:
    assert names(MANIFEST) == [
        "writer.dead_letters", "writer.idfa", "writer.gaid", "aggregator.1", "aggregator.2", "parser.1", "parser.2",
        "reader.1"]


def test_an_unfused_run_has_its_checkers_between_writers_and_parsers() -> None:
    assert names(UNFUSED)[5:] == ["checker.1", "checker.2", "checker.3", "parser.1", "parser.2", "reader.1"]


def test_an_application_that_does_not_fold_has_no_aggregators() -> None:
    manifest = msgspec.structs.replace(MANIFEST, folds=False)
    assert aggregator_names(manifest) == []
    assert not [name for name in names(manifest) if name.startswith("aggregator")]


@BOTH
def test_everyone_starts_after_all_they_send_to(manifest: Manifest) -> None:
    specs = expand(manifest)
    assert [spec.layer for spec in specs] == sorted(spec.layer for spec in specs)
    for spec in specs:
        for other in specs:
            if other.stage in downstream(manifest, spec.stage):
                assert other.layer < spec.layer


@BOTH
def test_names_are_unique_and_tell_the_stage(manifest: Manifest) -> None:
    specs = expand(manifest)
    assert len({spec.name for spec in specs}) == len(specs)
    assert all(stage_of(spec.name) == spec.stage for spec in specs)


@BOTH
def test_each_destination_has_a_restart_budget_of_its_own_and_each_pool_shares_one(manifest: Manifest) -> None:
    pools = {spec.name: spec.pool for spec in expand(manifest)}
    assert pools["parser.1"] == pools["parser.2"]
    destinations = [name for name in pools if name.startswith(("writer", "aggregator"))]
    assert len({pools[name] for name in destinations}) == len(destinations)


def test_readers_may_end_and_nobody_else() -> None:
    assert {spec.stage: spec.restart for spec in expand(UNFUSED)} == {
        "dead_letters": "permanent", "writer": "permanent", "aggregator": "permanent", "checker": "permanent",
        "parser": "permanent", "reader": "transient"}


def test_keyed_consumers_are_ordered_and_the_dead_letter_store_is_not() -> None:
    assert {spec.stage for spec in expand(UNFUSED) if spec.ordered} == {"writer", "aggregator"}
    assert component_ordered(STORE)
    assert not component_ordered(LETTERS)


def test_a_sink_without_order_makes_its_writer_unordered() -> None:
    manifest = msgspec.structs.replace(MANIFEST, sinks={"log": LETTERS})
    (spec,) = [spec for spec in expand(manifest) if spec.name == "writer.log"]
    assert (spec.stage, spec.ordered) == ("writer", False)


@BOTH
def test_a_batch_needs_every_writer_and_every_shard(manifest: Manifest) -> None:
    assert fixed_destinations(manifest) == {
        "writer.dead_letters", "writer.idfa", "writer.gaid", "aggregator.1", "aggregator.2"}


def test_a_batch_does_not_need_the_writers_that_only_aggregators_write_to() -> None:
    assert fixed_destinations(msgspec.structs.replace(MANIFEST, emit_sinks=("gaid",))) == {
        "writer.dead_letters", "writer.idfa", "aggregator.1", "aggregator.2"}


def test_a_parser_sends_to_checkers_or_where_they_would_send() -> None:
    assert downstream(UNFUSED, "parser") == ("checker",)
    assert downstream(MANIFEST, "parser") == downstream(UNFUSED, "checker") == DOWNSTREAM["checker"]
    assert downstream(MANIFEST, "aggregator") == ("writer", "dead_letters")


def test_names_and_titles() -> None:
    assert writer_name("idfa") == "writer.idfa"
    assert stage_of("writer.dead_letters") == "dead_letters"
    assert process_title("writer.idfa", "appsinstalled") == "thresher: writer.idfa appsinstalled"
