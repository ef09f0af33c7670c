"""A source whose units may go to other runs: which pipelines cannot have it, and how long its sinks may be down."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from actors.console.echo import render
from actors.runtime.errors import ConfigError
from actors.runtime.ports import Source, SourceOptions, UnitLedger
from actors.settings import load
from actors.sinks.discard import Discard

HERE = "source.type=tests.unit.test_moving:Grouped"


class Grouped(SourceOptions, frozen=True, kw_only=True):
    """Partitions of a group, or partitions that were assigned for good."""

    guarantee: ClassVar[str] = "read again"
    max_outage_s: ClassVar[float] = 0.0

    group: str = "g"

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> Source:
        raise NotImplementedError

    def moves(self) -> bool:
        return bool(self.group)

    def describe(self) -> str:
        return "a topic"


@pytest.mark.parametrize(("application", "kept"), [
    ("appsinstalled", "what is folded is"), ("connections", "windows are"), ("numbers", "distinct numbers are")])
def test_what_a_pipeline_keeps_cannot_go_with_a_unit_so_it_is_refused(application: str, kept: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(application, sets=[HERE], environ={})
    assert str(raised.value) == (
        f"source: in a group, units of a topic move from run to run, but {kept} kept in the state directory of one "
        "run: leave the option group empty, then they are this run's for good, or fold in a pipeline of its own")


@pytest.mark.parametrize("application", ["appsinstalled", "numbers"])
def test_units_that_are_assigned_for_good_may_be_folded(application: str) -> None:
    load(application, sets=[HERE, "source.group="], environ={})


def test_a_pipeline_that_folds_nothing_may_have_it() -> None:
    load("tests.pipelines.unfolded", sets=[HERE], environ={})


class Broker(Discard, frozen=True, kw_only=True):
    """A sink that is waited for, for as long as it takes."""

    max_outage_s: ClassVar[float] = 0.0


THERE = "sinks.out.type=tests.unit.test_moving:Broker"


@pytest.mark.parametrize(("sets", "seconds"), [
    ([], 30.0), ([HERE], 0.0), ([THERE], 0.0), ([HERE, "run.max_outage_s=7"], 7.0),
    ([THERE, "run.max_outage_s=7"], 7.0), (["run.max_outage_s=0"], 0.0), ([HERE, "run.max_outage_s=auto"], 0.0)])
def test_the_longest_outage_is_what_source_and_sinks_say_unless_somebody_sets_it(
    sets: list[str], seconds: float
) -> None:
    settings = load("tests.pipelines.unfolded", sets=sets, environ={})
    assert settings.manifest.limits.max_outage_s == seconds
    assert f"max_outage_s = {seconds}\n" in render(settings.shown)
