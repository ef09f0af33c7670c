"""What the figures of a bench say: rates between two looks, who is the limit, and when nothing can be said."""

from __future__ import annotations

import msgspec
import pytest

from actors.console.measuring import Actor, Result, Sample, Stage, result_of, suggest


def sample(at: float, batches: int, *, cpu_s: float = 1.0, generation: int = 1) -> Sample:
    """A look at a run that has parsed so many batches of 100 records and 1000 bytes."""
    return Sample(at, [
        Actor("reader.1", 1, batches, 0, 0, 0.25 * at, cpu_s + 0.2 * at),
        Actor("parser.1", generation, batches, 100 * batches, 1000 * batches, 0.9 * at, cpu_s + 0.9 * at),
        Actor("parser.2", 1, 0, 0, 0, 0.5 * at, cpu_s + 0.5 * at),
        Actor("writer.a", 1, batches, 100 * batches, 0, 0.1 * at, cpu_s)])


def test_rates_are_those_between_the_first_look_and_the_last_at_which_something_was_done() -> None:
    samples = [sample(1.0, 10), sample(2.0, 20), sample(3.0, 30), sample(4.0, 30), sample(9.0, 30)]
    result = result_of(samples, 2, "parser")
    assert (result.seconds, result.records, result.bytes, result.batches, result.doubt) == (2.0, 2000, 20_000, 20, "")
    assert (result.records_per_s, result.bytes_per_s) == (1000, 10_000)
    reader, parser, writer = result.stages
    assert [stage.stage for stage in result.stages] == ["reader", "parser", "writer"]
    assert [reader.busy, reader.records_per_busy_s] == pytest.approx([0.25, 4000])
    assert [parser.processes, parser.busy, parser.worked, parser.cores] == pytest.approx([2, 0.9, 1.4, 1.4])
    assert [writer.busy, result.cores] == pytest.approx([0.1, 1.6])


def test_too_little_is_said_to_be_too_little() -> None:
    assert "too little to tell" in result_of([sample(1.0, 10), sample(1.5, 30)], 1, "parser").doubt
    assert "too little to tell" in result_of([sample(1.0, 10), sample(9.0, 12)], 1, "parser").doubt
    assert result_of([sample(1.0, 10)], 1, "parser").doubt == "the input was at its end before anything could be seen"
    assert result_of([], 1, "parser").doubt


def test_a_death_while_it_is_measured_spoils_the_figures() -> None:
    assert "an actor died" in result_of([sample(1.0, 10), sample(5.0, 50, generation=2)], 1, "parser").doubt


def test_a_look_at_processes_that_have_ended_counts_for_nothing() -> None:
    gone = msgspec.structs.replace(sample(4.0, 40), actors=[Actor("parser.1", 1, 40, 4000, 1, 1.0, -1.0)])
    assert result_of([sample(1.0, 10), sample(3.0, 30), gone], 1, "parser").seconds == 2.0


def result(workers: int, rate: int, cores: float, **busy: float) -> Result:
    stages = []
    for name, part in busy.items():
        processes = workers if name == "parser" else 1
        stages.append(Stage(name, processes, part, processes * part, processes * part, 1.0))
    return Result(workers, 1.0, rate, rate, 100, "", cores, stages)


def test_the_fewest_workers_that_are_as_fast_as_any_are_suggested() -> None:
    found = suggest([result(1, 500, 1.1, reader=0.2, parser=1.0), result(2, 980, 1.95, reader=0.4, parser=0.8),
                     result(4, 1000, 2.0, reader=0.4, parser=0.45)], 2)
    assert found.workers == 2
    assert found.reasons == [
        "980 records/s (with 1: 500, 4: 1,000)", "the reader is busy 40%, so it would feed 4 parsers",
        "this machine has 2 cores, of which the run used 1.9: more workers would only share them"]


def test_the_stage_that_the_others_wait_for_is_named() -> None:
    found = suggest([result(1, 900, 1.5, reader=0.99, parser=0.8), result(2, 910, 1.8, reader=1.0, parser=0.5)], 8)
    assert found.workers == 1
    assert found.reasons[-1] == "the reader is what the others wait for: it is busy 99%"


def test_when_cores_are_left_more_workers_are_to_be_tried() -> None:
    found = suggest([result(1, 500, 1.1, reader=0.1, parser=1.0), result(2, 1000, 2.2, reader=0.2, parser=1.0)], 8)
    assert found.reasons[-1].endswith("try --workers 2,4")


def test_a_machine_that_others_use_is_said_to_be_so() -> None:
    busy = msgspec.structs.replace(result(1, 500, 0.4), stages=[
        Stage("reader", 1, 0.1, 0.1, 0.1, 1.0), Stage("parser", 1, 1.0, 1.0, 0.3, 1.0)])
    assert "had a core only 30% of the time" in suggest([busy], 2).reasons[-1]


def test_without_a_figure_that_is_sure_nothing_is_suggested() -> None:
    found = suggest([msgspec.structs.replace(result(1, 5, 1.0, parser=1.0), doubt="too short")], 2)
    assert (found.workers, found.reasons) == (None, ["too short"])
