"""The sentence that says what keeps a run from being faster."""

from __future__ import annotations

from typing import Any

import pytest

from actors.telemetry.flow import flow_between
from actors.telemetry.model import ActorStatus
from tests.looks import actor, look, manifest

STARTS = ("writer.dead_letters", "writer.a", "aggregator.1", "parser.1", "parser.2", "reader.1")


def said(cores: int = 4, mode: str = "running", **members: dict[str, Any]) -> tuple[str, str]:
    """What is said of a second in which some actors did something: names with _ for a dot."""
    values = {name.replace("_", ".", 1): each for name, each in members.items()}
    before = look(0.0, *map(actor, STARTS))
    after = look(1.0, *(actor(name, **values.get(name, {})) for name in STARTS), mode=mode)
    found = flow_between(before, after, manifest(), cores).bottleneck
    return found.stage, found.text


def busy(part: float, cpu: float = 0.0, **values: Any) -> dict[str, Any]:
    return {"busy_s": part, "cpu_s": cpu, "batches": 1, **values}


def test_busy_parsers_are_helped_by_more_where_cores_are_free() -> None:
    assert said(parser_1=busy(0.98, 0.9), parser_2=busy(0.98, 0.9)) == (
        "parser", "parsers are busy 98 %: more workers would help (1.8 of 4 cores in use): thresher scale parser=3")


def test_busy_parsers_are_not_helped_where_no_core_is_free() -> None:
    assert said(2, parser_1=busy(0.98, 0.9), parser_2=busy(0.98, 0.9), reader_1={"cpu_s": 0.2}) == (
        "parser", "parsers are busy 98 %: more workers would not help, no core is free (2.0 of 2 cores in use)")


def test_busy_parsers_that_do_not_compute_wait_for_something() -> None:
    stage, text = said(parser_1=busy(1.0, 0.1), parser_2=busy(1.0, 0.1))
    assert stage == "parser"
    assert text.startswith("parsers are busy 100 %, but computing 10 % of that: waiting for something outside")


def test_a_busy_writer_means_its_server() -> None:
    assert said(writer_a=busy(0.95, 0.2)) == (
        "writer.a", "writer.a is busy 95 %: its server is the limit, or its disk")


def test_a_busy_writer_that_computes_is_itself_the_limit() -> None:
    assert said(writer_a=busy(0.95, 0.9)) == (
        "writer.a", "writer.a is busy 95 % and computes all the time: it needs a core for itself, and has one")


def test_a_busy_aggregator_is_helped_by_more_shards() -> None:
    assert said(aggregator_1=busy(0.9, 0.9))[1].startswith("aggregator.1 is busy 90 %: more shards would help")


def test_a_busy_reader_is_not_helped_by_workers() -> None:
    assert said(reader_1=busy(0.99, 0.9)) == (
        "reader", "the reader is busy 99 %: reading is the limit, and there is one reader; "
        "more workers would not help")


def test_many_dead_letters_are_said_to_be_many() -> None:
    assert said(writer_dead_letters=busy(0.9)) == (
        "writer.dead_letters", "writer.dead_letters is busy 90 %: so many records are rejected")


def test_of_two_busy_stages_the_one_that_is_busier_is_the_limit_and_of_equals_the_one_behind() -> None:
    assert said(reader_1=busy(0.9), writer_a=busy(0.95))[0] == "writer.a"
    assert said(reader_1=busy(0.95), writer_a=busy(0.95))[0] == "writer.a"


def test_a_writer_that_waits_for_its_server_is_the_limit_whatever_the_figures_say() -> None:
    note = "memcached 127.0.0.1:1: connection refused"
    assert said(parser_1=busy(1.0), parser_2=busy(1.0), writer_a={"note": note}) == (
        "writer.a", f"writer.a waits: {note} (retrying)")


def test_who_is_down_and_has_nobody_beside_him_holds_everybody_up() -> None:
    assert said(writer_a={"state": "BACKOFF", "pid": 0}) == (
        "writer.a", "writer.a is BACKOFF: everybody waits for it")
    assert said(parser_1={"state": "SUSPECT"}, parser_2={"state": "BACKOFF"}) == (
        "parser", "every parser is SUSPECT: everybody waits for it")
    assert said(parser_1={"state": "SUSPECT"})[0] == ""


def test_when_nothing_comes_everybody_waits_for_input() -> None:
    assert said() == ("", "everybody waits for input")


def test_when_little_comes_it_is_the_input() -> None:
    assert said(parser_1=busy(0.3), parser_2=busy(0.1)) == ("", "the input: nobody is busy, the most is parser with "
                                                            "20 %")


def test_when_nobody_is_busy_and_all_cores_are_in_use_it_is_the_machine() -> None:
    assert said(2, parser_1=busy(0.7, 0.7), parser_2=busy(0.7, 0.7), reader_1=busy(0.6, 0.5)) == (
        "", "the machine is the limit: 1.9 of 2 cores in use, most of them by parser (1.4)")


def test_when_nobody_is_busy_and_the_window_is_full_it_is_the_window() -> None:
    assert said(reader_1={"open": 16, "starved_s": 0.9, "batches": 5})[1].startswith("the window is full (16 batches)")


def test_when_nothing_moves_it_is_said_since_when() -> None:
    assert said(reader_1={"open": 3, "waiting_s": 8.2}) == (
        "", "nothing was finished in this time: 3 batches are open, the oldest for 8 s")


@pytest.mark.parametrize(("mode", "text"), [
    ("starting", "the run is starting"), ("", "the run is starting"), ("stopping", "the run is being stopped"),
    ("draining", "the run is draining: no new input is taken"),
])
def test_a_run_that_is_not_running_says_so(mode: str, text: str) -> None:
    assert said(mode=mode) == ("", text)


def test_the_monitor_holds_nobody_up() -> None:
    down: ActorStatus = actor("monitor.1", state="BACKOFF", pid=0, note="port 8686 is in use")
    seen = look(1.0, down, *map(actor, STARTS))
    assert flow_between(look(0.0), seen, manifest(), 4).bottleneck.text == "everybody waits for input"
