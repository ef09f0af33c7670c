"""What is made of two looks at a run: rates, edges, progress."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.telemetry.flow import flow_between
from actors.telemetry.model import Flow, Snapshot, StageFlow
from tests.looks import actor, look, manifest, took


def flow(before: Snapshot, after: Snapshot, **options: Any) -> Flow:
    return flow_between(before, after, manifest(**options), 4)


def stage(found: Flow, name: str) -> StageFlow:
    (one,) = [each for each in found.stages if each.stage == name]
    return one


def parser(**values: Any) -> Any:
    return actor("parser.1", **values)


def test_one_look_has_no_rates_and_does_not_divide_by_zero() -> None:
    only = look(5.0, actor("reader.1", records=9), parser(batches=7, busy_s=3.0))
    found = flow(only, only)
    assert (found.seconds, found.records_per_s, stage(found, "parser").busy) == (0.0, 0.0, 0.0)
    assert found.bottleneck.text == "not known yet: rates take two looks"


def test_rates_are_those_of_the_members_of_a_pool_together() -> None:
    before = look(10.0, actor("parser.2", records=100, batches=1), parser(records=100, batches=1))
    after = look(12.0, actor("parser.2", records=300, batches=3, bytes_done=50, cpu_s=1.0, rss_bytes=7, queued=2,
                             waiting_s=0.5),
                 parser(records=500, batches=5, bytes_done=50, cpu_s=2.0, rss_bytes=8, queued=1, waiting_s=1.5))
    found = stage(flow(before, after), "parser")
    assert found.actors == ["parser.2", "parser.1"]
    assert (found.records_per_s, found.batches_per_s, found.bytes_per_s) == (300.0, 3.0, 50.0)
    assert (found.cpu, found.rss_bytes, found.queued, found.waiting_s) == (1.5, 15, 3, 1.5)


def test_time_is_counted_up_to_now_also_in_a_phase_that_goes_on() -> None:
    before = look(10.0, parser(busy_s=5.0, starved_s=1.0, phase="WORK", phase_s=1.0))
    after = look(12.0, parser(busy_s=7.0, starved_s=1.0, phase="WAIT_CREDIT", phase_s=0.5))
    found = stage(flow(before, after), "parser")
    assert (found.busy, found.starved) == (0.5, 0.25)


def test_a_part_of_the_time_is_never_more_than_all_of_it() -> None:
    found = stage(flow(look(10.0, parser(busy_s=1.0)), look(11.0, parser(busy_s=2.3))), "parser")
    assert found.busy == 1.0


@pytest.mark.parametrize(("before", "after", "gained"), [
    ({"records": 100}, {"records": 160}, 60),
    ({"records": 100}, {"records": 110, "pid": 0, "generation": 2}, 10),  # its last words
    ({"records": 110, "pid": 0, "generation": 2}, {"records": 110, "pid": 0, "generation": 2}, 0),
    ({"records": 110, "pid": 0, "generation": 2}, {"records": 30, "pid": 200, "generation": 2}, 30),
    ({"records": 100}, {"records": 30, "pid": 200, "generation": 2}, 30),
    ({"records": 100}, {"records": 0, "pid": 200, "generation": 2}, 0),
    ({"records": 10}, {"records": 30, "pid": 100, "generation": 3}, 30),  # the number of the process again
], ids=["lives", "has died", "is dead", "was born again", "died and was born again", "has done nothing", "same pid"])
def test_a_new_generation_never_makes_a_rate_negative(
    before: dict[str, int], after: dict[str, int], gained: int
) -> None:
    found = flow(look(10.0, parser(**before)), look(11.0, parser(**after)))
    assert stage(found, "parser").records_per_s == gained


def test_a_worker_that_was_added_has_done_all_that_it_shows_and_one_without_a_process_nothing() -> None:
    before = look(10.0, parser())
    after = look(11.0, parser(), actor("parser.2", records=40), actor("parser.3", records=99, pid=0))
    assert stage(flow(before, after), "parser").records_per_s == 40


def test_what_a_dead_one_had_waiting_is_not_backlog() -> None:
    found = stage(flow(look(1.0), look(2.0, parser(pid=0, queued=2, waiting_s=9.0, phase="WORK", phase_s=9.0))),
                  "parser")
    assert (found.queued, found.waiting_s, found.busy) == (0, 0.0, 0.0)


def test_quantiles_are_of_the_batches_between_the_looks() -> None:
    before = look(1.0, parser(batch_times=took(50, 0, 0, 0, 50)))
    after = look(2.0, parser(batch_times=took(60, 80, 0, 0, 60)))
    found = stage(flow(before, after), "parser")
    assert (found.batch_p50_s, found.batch_p99_s) == (0.0025, 0.025)
    assert stage(flow(after, msgspec.structs.replace(after, clock=3.0)), "parser").batch_p50_s is None


def test_batches_beyond_the_last_bound_count_as_the_last_bound() -> None:
    found = stage(flow(look(1.0, parser()), look(2.0, parser(batch_times=(*took()[:-1], 1)))), "parser")
    assert found.batch_p50_s == 10.0


def test_records_per_second_are_those_that_the_reader_has_closed() -> None:
    before = look(0.0, actor("reader.1", records=100), parser(records=900), outcomes={"read": 100, "written": 100})
    after = look(2.0, actor("reader.1", records=300), parser(records=990),
                 outcomes={"read": 260, "written": 250, "filtered": 10})
    found = flow(before, after)
    assert found.records_per_s == 100.0
    assert found.outcomes_per_s == {"read": 80.0, "written": 75.0, "filtered": 5.0}


def test_stages_are_in_the_order_of_flow_and_the_monitor_is_none() -> None:
    names = ["monitor.1", "writer.dead_letters", "writer.b", "writer.a", "aggregator.1", "checker.1", "parser.1",
             "reader.1"]
    found = flow(look(0.0), look(1.0, *map(actor, names)), fused=False)
    assert [each.stage for each in found.stages] == [
        "reader", "parser", "checker", "aggregator.1", "writer.b", "writer.a", "writer.dead_letters"]


def edges(**options: Any) -> list[tuple[str, str, int | None]]:
    names = ["writer.dead_letters", "writer.a", "writer.b", "aggregator.1", "aggregator.2", "checker.1", "parser.1",
             "reader.1"]
    if options.get("fused", True):
        names.remove("checker.1")
    found = flow(look(0.0), look(1.0, *(actor(name, credit=3) for name in names)), **options)
    return [(edge.source, edge.target, edge.credit) for edge in found.edges]


def test_edges_of_a_fused_pipeline_go_from_the_parsers_to_every_destination() -> None:
    assert edges(sinks=("a", "b")) == [
        ("reader", "parser", 3), ("parser", "writer.a", None), ("parser", "writer.b", None),
        ("parser", "writer.dead_letters", None)]


def test_edges_of_another_go_by_the_checkers_and_shards_emit_to_their_sinks() -> None:
    options: dict[str, Any] = {"aggregator": {"shards": 2}}
    shards = msgspec.convert(options["aggregator"], type(manifest().aggregator))
    assert edges(fused=False, sinks=("a", "b"), emits=("b",), aggregator=shards) == [
        ("reader", "parser", 3), ("parser", "checker", 3), ("checker", "aggregator.1", None),
        ("checker", "aggregator.2", None), ("checker", "writer.a", None), ("checker", "writer.dead_letters", None),
        ("aggregator.1", "writer.b", None), ("aggregator.2", "writer.b", None)]


def test_an_edge_shows_what_its_target_did_and_what_waits_there() -> None:
    before = look(0.0, actor("writer.a"), actor("parser.1"), actor("reader.1"))
    after = look(2.0, actor("writer.a", records=10, batches=4, queued=5), actor("parser.1", queued=2),
                 actor("reader.1"))
    by_target = {edge.target: edge for edge in flow(before, after).edges}
    assert (by_target["writer.a"].records_per_s, by_target["writer.a"].batches_per_s) == (5.0, 2.0)
    assert (by_target["writer.a"].backlog, by_target["parser"].backlog) == (5, 2)


def reader(done: int, total: int, **values: Any) -> Any:
    return actor("reader.1", bytes_done=done, bytes_total=total, **values)


def test_the_time_left_is_that_at_the_rate_of_the_last_while() -> None:
    looks = [look(clock, reader(done, 1000)) for clock, done in ((0.0, 100), (8.0, 420), (10.0, 600))]
    found = flow_between(looks[1], looks[2], manifest(), 4, looks[0])
    assert (found.progress, found.eta_s) == (0.6, 8.0)
    assert stage(found, "reader").bytes_per_s == 90.0


@pytest.mark.parametrize(("done", "total", "expected"), [
    (50, 0, (None, None)), (100, 100, (1.0, 0.0)), (120, 100, (1.0, 0.0)), (20, 100, (0.2, None)),
], ids=["nobody knows", "all read", "it has grown less than thought", "stands still"])
def test_progress_without_a_rate_has_no_time_left(done: int, total: int, expected: tuple[float, float]) -> None:
    found = flow(look(0.0, reader(20, total)), look(1.0, reader(done, total)))
    assert (found.progress, found.eta_s) == expected


def test_what_a_new_reader_finds_already_read_is_no_rate() -> None:
    before = look(0.0, reader(500, 1000))
    born = look(1.0, reader(0, 0, pid=200, generation=2))
    found = look(2.0, reader(510, 1000, pid=200, generation=2))
    later = look(3.0, reader(530, 1000, pid=200, generation=2))
    rates = [stage(flow(one, two), "reader").bytes_per_s
             for one, two in ((before, born), (born, found), (before, found), (found, later))]
    assert rates == [0.0, 0.0, 0.0, 20.0]
