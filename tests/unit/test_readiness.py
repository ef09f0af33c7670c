"""Live, ready, started: what each state of a run means for each of the three questions."""

from __future__ import annotations

import msgspec
import pytest

from actors.runtime.events import ActorView, RunView
from actors.telemetry.readiness import SILENT_S, live, not_ready, ready, started

RUN = RunView(mode="running", pid=7, started=1.0, beat_s=0.2)
SERVER_DOWN = "memcached 127.0.0.1:33013: connection refused"


def _run(mode: str = "running", beat_s: float = 0.2) -> RunView:
    return msgspec.structs.replace(RUN, mode=mode, beat_s=beat_s)


def _view(actor: str, state: str = "READY", note: str = "") -> ActorView:
    return ActorView(actor, 1, 8, state, "IDLE", 0.0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.1, note)


ALL_UP = [_view("writer.a"), _view("parser.1", "BUSY"), _view("reader.1")]


@pytest.mark.parametrize("mode", ["", "starting", "running", "draining", "stopping", "ended"])
def test_a_supervisor_whose_loop_goes_round_is_live_whatever_it_does(mode: str) -> None:
    assert live(_run(mode)).ok


def test_a_supervisor_that_was_not_heard_of_for_long_is_not_live_and_so_not_ready() -> None:
    silent = _run(beat_s=SILENT_S + 2.4)
    assert not live(silent).ok
    assert live(silent).reasons == ["the supervisor (process 7) has not been heard of for 12 s"]
    assert ready(silent, ALL_UP).reasons == live(silent).reasons
    assert started(silent, ALL_UP).ok


def test_a_run_that_gets_on_is_ready() -> None:
    assert ready(RUN, ALL_UP).ok
    assert ready(RUN, ALL_UP).reasons == []


@pytest.mark.parametrize(("mode", "reason"), [
    ("", "the run is starting"), ("starting", "the run is starting"), ("draining", "the run is draining"),
    ("stopping", "the run is stopping"), ("ended", "the run is ended")])
def test_a_run_that_is_not_running_is_not_ready_though_everybody_is_up(mode: str, reason: str) -> None:
    assert ready(_run(mode), ALL_UP).reasons == [reason]


@pytest.mark.parametrize("state", ["STARTING", "SUSPECT", "DRAINING", "BACKOFF", "FATAL", "STOPPED"])
def test_an_actor_that_is_not_up_makes_a_run_not_ready(state: str) -> None:
    verdict = ready(RUN, [*ALL_UP, _view("parser.2", state)])
    assert verdict.reasons == [f"parser.2 is {state}"]
    assert started(RUN, [*ALL_UP, _view("parser.2", state)]).ok


def test_a_server_that_is_down_makes_a_run_not_ready_and_nothing_else() -> None:
    views = [_view("writer.idfa", note=SERVER_DOWN), *ALL_UP]
    assert ready(RUN, views).reasons == [f"writer.idfa waits: {SERVER_DOWN}"]
    assert live(RUN).ok
    assert started(RUN, views).ok


@pytest.mark.parametrize(("down_s", "said"), [
    (0.0, ""), (0.9, ""), (1.0, " (for 1.0 s)"), (59.6, " (for 60 s)"), (600.0, " (for 10 min 00 s)"),
    (9000.0, " (for 2 h 30 min)")])
def test_how_long_a_server_is_down_is_said_with_it(down_s: float, said: str) -> None:
    view = msgspec.structs.replace(_view("writer.idfa", note=SERVER_DOWN), down_s=down_s)
    assert not_ready([view]) == [f"writer.idfa waits: {SERVER_DOWN}{said}"]


def test_every_reason_is_given() -> None:
    views = [_view("writer.a", note="x"), _view("writer.b", note="y"), _view("parser.1", "BACKOFF")]
    assert ready(_run("draining"), views).reasons == [
        "the run is draining", "writer.a waits: x", "writer.b waits: y", "parser.1 is BACKOFF"]


@pytest.mark.parametrize("mode", ["draining", "stopping", "ended"])
def test_actors_that_leave_as_they_should_are_no_reason_of_their_own(mode: str) -> None:
    views = [_view("writer.a", "DRAINING", note="x"), _view("parser.1", "DRAINING"), _view("reader.1", "STOPPED")]
    assert ready(_run(mode), views).reasons == [f"the run is {mode}", "writer.a waits: x"]
    assert len(ready(RUN, views).reasons) == 3


def test_nobody_waits_for_the_monitor() -> None:
    views = [_view("monitor.1", "FATAL"), *ALL_UP]
    assert not_ready(views) == []
    assert ready(RUN, views).ok
    assert started(_run("starting"), [_view("monitor.1", "STARTING"), _view("reader.1", "STARTING")]).reasons == [
        "starting: reader.1 not ready yet"]


@pytest.mark.parametrize("mode", ["", "starting"])
def test_a_run_is_started_when_everybody_was_ready_once(mode: str) -> None:
    views = [_view("writer.a"), _view("parser.1", "STARTING"), _view("reader.1", "BACKOFF")]
    assert started(_run(mode), views).reasons == ["starting: parser.1, reader.1 not ready yet"]
    assert started(_run(mode), ALL_UP).reasons == ["starting"]  # the supervisor has not said so yet


@pytest.mark.parametrize("mode", ["running", "draining", "stopping", "ended"])
def test_a_run_that_was_started_stays_started(mode: str) -> None:
    assert started(_run(mode), [_view("reader.1", "BACKOFF")]).ok
