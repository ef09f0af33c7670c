"""Busy or hung, judged from histories of samples."""

from __future__ import annotations

import pytest

from actors.runtime.health import Health, Sample, Verdict
from actors.runtime.sections import WatchOptions

OPTIONS = WatchOptions(suspect_s=5, hard_cpu_s=60, hard_block_s=15, stopped_s=30)
PERIOD_S = 0.5


def last_verdicts(*spans: tuple[float, Sample, float]) -> list[Verdict]:
    """Look every half second during spans of (seconds, sample, CPU seconds used per second); the verdict after each."""
    health, now, cpu_s = Health(OPTIONS), 100.0, 3.0
    verdicts: list[Verdict] = []
    for seconds, sample, rate in spans:
        for _ in range(round(seconds / PERIOD_S)):
            verdict = health.observe(Sample(sample.phase, sample.progress, cpu_s, sample.state, sample.extended_s), now)
            now += PERIOD_S
            cpu_s += rate * PERIOD_S
        verdicts.append(verdict)
    return verdicts


def working(progress: int = 1, state: str = "R", extended_s: float = 0.0) -> Sample:
    return Sample("WORK", (progress,), 0.0, state, extended_s)


@pytest.mark.parametrize("phase", ["IDLE", "WAIT_CREDIT", "RETRY", "RECV", "DRAINED"])
def test_who_waits_never_hangs(phase: str) -> None:
    assert last_verdicts((3600, Sample(phase, (1,), 0.0, "S"), 0.0)) == [Verdict.WELL]


def test_who_makes_progress_is_well_however_busy() -> None:
    assert set(last_verdicts(*((4, working(number), 1.0) for number in range(100)))) == {Verdict.WELL}


def test_an_endless_loop_is_suspect_soon_and_hung_when_its_cpu_time_is_used_up() -> None:
    assert last_verdicts((4, working(), 1.0), (50, working(), 1.0), (8, working(), 1.0)) == [
        Verdict.WELL, Verdict.SUSPECT, Verdict.HUNG]


def test_a_starved_process_is_not_killed_for_the_time_on_the_clock() -> None:
    assert last_verdicts((600, working(state="R"), 0.05)) == [Verdict.SUSPECT]


def test_a_deadlock_is_hung_after_the_shorter_budget() -> None:
    assert last_verdicts((14, working(state="S"), 0.0), (3, working(state="S"), 0.0)) == [
        Verdict.SUSPECT, Verdict.HUNG]


def test_the_heartbeat_of_a_deadlock_is_no_work() -> None:
    assert last_verdicts((20, working(state="S"), 0.001)) == [Verdict.HUNG]


def test_one_who_waits_for_a_disk_is_not_killed() -> None:
    assert last_verdicts((3600, working(state="D"), 0.0)) == [Verdict.SUSPECT]


def test_a_stopped_process_is_hung_in_any_phase_and_its_time_is_not_held_against_it_when_it_goes_on() -> None:
    stopped = Sample("IDLE", (1,), 0.0, "T")
    assert last_verdicts((4, stopped, 0.0), (20, stopped, 0.0), (8, stopped, 0.0)) == [
        Verdict.WELL, Verdict.SUSPECT, Verdict.HUNG]
    assert last_verdicts((1, working(), 1.0), (29, working(state="T"), 0.0), (4, working(state="S"), 0.0)) == [
        Verdict.WELL, Verdict.SUSPECT, Verdict.WELL]


def test_one_who_has_asked_for_patience_has_it_and_no_longer() -> None:
    assert last_verdicts((3600, working(extended_s=1.0), 1.0), (4, working(), 1.0), (60, working(), 1.0)) == [
        Verdict.WELL, Verdict.WELL, Verdict.HUNG]


def test_a_suspect_that_makes_progress_is_well() -> None:
    assert last_verdicts((20, working(1), 1.0), (0.5, working(2), 1.0)) == [Verdict.SUSPECT, Verdict.WELL]


@pytest.mark.parametrize("state", ["S", "T"])
def test_time_in_which_nobody_looked_is_held_against_nobody(state: str) -> None:
    health = Health(OPTIONS)
    for now in (0.0, 0.5):
        assert health.observe(Sample("WRITE", (1,), 1.0, state), now) is Verdict.WELL
    assert health.observe(Sample("WRITE", (1,), 1.0, state, late_s=99.5), 100.5) is Verdict.WELL
    for now in (101.0, 105.0):
        health.observe(Sample("WRITE", (1,), 1.0, state), now)
    assert health.observe(Sample("WRITE", (1,), 1.0, state), 132.0) is Verdict.HUNG
