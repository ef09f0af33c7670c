"""The supervision tree, tested by replaying histories of events: no process, no clock."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import pytest

from actors.runtime import tree
from actors.runtime.actions import Action, Emit, End, Kill, Send, Spawn
from actors.runtime.child import Mode
from actors.runtime.errors import ConfigError
from actors.runtime.events import BAD_CONFIG, DONE, FAILED, RESUMABLE, ActorDied, LastWords, OutageBegan
from actors.runtime.health import Sample
from actors.runtime.messages import Drain, Hold, Message, Roster, Start, Stop, Suspect
from actors.runtime.policy import Policy
from actors.runtime.restart import LOST, Exit
from actors.runtime.sections import RecycleOptions, RestartOptions, RunOptions
from actors.runtime.topology import ChildSpec

AT_WORK = LastWords("WORK")
SPECS = (
    ChildSpec("writer.dead_letters", "dead_letters", "writer.dead_letters", 0),
    ChildSpec("writer.a", "writer", "writer.a", 1, ordered=True),
    ChildSpec("parser.1", "parser", "parser", 3),
    ChildSpec("parser.2", "parser", "parser", 3),
    ChildSpec("reader.1", "reader", "reader", 4, restart="transient"),
)
M = TypeVar("M", bound=Message)
KILLED = Exit(-signal.SIGKILL)


class History:
    """A tree under test, with everything it has asked for so far."""

    def __init__(
        self, restart: RestartOptions | None = None, limits: RunOptions | None = None,
        recycle: dict[str, RecycleOptions] | None = None, specs: Sequence[ChildSpec] = SPECS
    ) -> None:
        self.specs = specs
        policy = Policy(restart or RestartOptions(), limits or RunOptions(), recycle=recycle or {})
        self.tree = tree.Tree(specs, policy, random.Random(0))
        self.now = 0.0
        self.actions: list[Action] = []
        self.take(self.tree.begin(self.now))

    def take(self, actions: Iterable[Action]) -> list[Action]:
        new = list(actions)
        self.actions += new
        return new

    def address(self, name: str) -> str:
        return [f"{a.name}#{a.generation}" for a in self.actions if isinstance(a, Spawn) and a.name == name][-1]

    def boot(self, name: str) -> list[Action]:
        return self.take(self.tree.booted(self.address(name), self.now))

    def ready(self, name: str) -> list[Action]:
        return self.take(self.tree.ready(self.address(name), f"ipc://{name}", self.now))

    def up(self) -> History:
        for spec in self.specs:
            self.boot(spec.name)
        for spec in self.specs:
            self.ready(spec.name)
        assert self.tree.mode is Mode.RUNNING
        return self

    def exit(self, name: str, ended: Exit = KILLED, last: LastWords = AT_WORK) -> list[Action]:
        return self.take(self.tree.exited(name, ended, last, self.now))

    def tick(self, now: float) -> list[Action]:
        self.now = now
        return self.take(self.tree.tick(now))

    def die_and_return(self, name: str, after: float = 1.0) -> list[Action]:
        """Die, be spawned again when it is due, and get ready."""
        self.now += after
        actions = self.exit(name)
        due = self.tree.next_deadline()
        if self.tree.mode is Mode.RUNNING and due is not None:
            actions += self.tick(max(self.now, due))
            if spawned(actions, name):
                self.boot(name)
                self.ready(name)
        return actions


def spawned(actions: Iterable[Action], name: str) -> bool:
    return any(isinstance(action, Spawn) and action.name == name for action in actions)


def sent(actions: Iterable[Action], kind: type) -> list[str]:
    return [action.address.partition("#")[0] for action in actions
            if isinstance(action, Send) and isinstance(action.message, kind)]


def mail(actions: Iterable[Action], kind: type[M]) -> list[tuple[str, M]]:
    return [(action.address, action.message) for action in actions
            if isinstance(action, Send) and isinstance(action.message, kind)]


def ended(actions: Iterable[Action]) -> End | None:
    return next((action for action in actions if isinstance(action, End)), None)


def test_everyone_is_spawned_at_once_and_starts_when_all_downstream_is_ready() -> None:
    history = History()
    assert all(spawned(history.actions, spec.name) for spec in SPECS)
    for name in ("reader.1", "parser.1", "parser.2", "writer.a"):
        assert sent(history.boot(name), Start) == []
    assert sent(history.boot("writer.dead_letters"), Start) == ["writer.dead_letters"]
    assert sent(history.ready("writer.dead_letters"), Start) == ["writer.a"]
    assert sent(history.ready("writer.a"), Start) == ["parser.1", "parser.2"]
    assert sent(history.ready("parser.1"), Start) == []
    assert sent(history.ready("parser.2"), Start) == ["reader.1"]
    history.ready("reader.1")
    assert history.tree.mode is Mode.RUNNING


def test_when_all_input_is_loaded_everyone_stops_and_the_run_ends_with_success() -> None:
    history = History().up()
    actions = history.take(history.tree.input_done("reader.1#1", False, 1.0))
    assert sorted(sent(actions, Stop)) == sorted(spec.name for spec in SPECS)
    for spec in SPECS:
        actions = history.exit(spec.name, Exit(0))
    assert ended(actions) == End(DONE, "all input is loaded")


def test_with_input_left_the_layers_stop_one_after_the_other_from_the_source_down() -> None:
    history = History().up()
    actions = history.take(history.tree.signalled("SIGTERM", 1.0))
    assert sent(actions, Drain) == ["reader.1"]
    assert sent(history.take(history.tree.input_done("reader.1#1", True, 2.0)), Stop) == ["reader.1"]
    assert sorted(sent(history.exit("reader.1", Exit(0)), Stop)) == ["parser.1", "parser.2"]
    assert sent(history.exit("parser.1", Exit(0)), Stop) == []
    assert sent(history.exit("parser.2", Exit(0)), Stop) == ["writer.a"]
    assert sent(history.exit("writer.a", Exit(0)), Stop) == ["writer.dead_letters"]
    end = ended(history.exit("writer.dead_letters", Exit(0)))
    assert end is not None and (end.code, end.reason) == (RESUMABLE, "stopped by SIGTERM")


def test_a_signal_that_leaves_nothing_over_is_a_success_that_says_what_it_was() -> None:
    history = History().up()
    history.take(history.tree.signalled("SIGTERM", 1.0))
    history.take(history.tree.input_done("reader.1#1", False, 2.0))
    for spec in reversed(SPECS):
        actions = history.exit(spec.name, Exit(0))
    assert ended(actions) == End(DONE, "stopped by SIGTERM")


def test_an_end_that_the_application_asked_for_is_a_success_that_says_so() -> None:
    history = History().up()
    history.take(history.tree.input_done("reader.1#1", False, 1.0, reason="enough"))
    for spec in reversed(SPECS):
        actions = history.exit(spec.name, Exit(0))
    assert ended(actions) == End(DONE, "enough")


def test_a_drain_that_does_not_finish_in_time_stops_all_the_same() -> None:
    history = History(limits=RunOptions(drain_s=10)).up()
    history.take(history.tree.signalled("SIGTERM", 1.0))
    assert history.tree.next_deadline() == 11.0
    assert sent(history.tick(11.0), Stop) == ["reader.1"]
    assert "not all was finished in 10 s" in history.tree.reason


def test_a_second_signal_kills_everyone_at_once() -> None:
    history = History().up()
    history.take(history.tree.signalled("SIGINT", 1.0))
    actions = history.take(history.tree.signalled("SIGINT", 1.1))
    assert sorted(a.name for a in actions if isinstance(a, Kill)) == sorted(spec.name for spec in SPECS)
    for spec in SPECS:
        actions = history.exit(spec.name)
    end = ended(actions)
    assert end is not None and end.code == RESUMABLE


def test_what_dies_while_draining_is_started_again_to_finish_what_is_under_way() -> None:
    history = History().up()
    history.take(history.tree.signalled("SIGTERM", 1.0))
    history.exit("parser.1")
    assert spawned(history.tick(1.0), "parser.1")


def test_a_reader_that_dies_while_draining_is_told_to_drain_again() -> None:
    history = History().up()
    history.take(history.tree.signalled("SIGTERM", 1.0))
    history.exit("reader.1")
    history.tick(1.0)
    history.boot("reader.1")
    assert sent(history.ready("reader.1"), Drain) == ["reader.1"]


def test_the_first_restart_is_at_once_and_the_roster_tells_everyone_alive() -> None:
    history = History().up()
    actions = history.exit("writer.a")
    rosters = [a.message for a in actions if isinstance(a, Send) and isinstance(a.message, Roster)]
    assert len(rosters) == 4
    assert all("writer.a" not in [member.name for member in roster.members] for roster in rosters)
    assert spawned(history.tick(0.0), "writer.a")
    assert history.address("writer.a") == "writer.a#2"


def test_a_message_of_an_old_generation_is_void() -> None:
    history = History().up()
    history.exit("reader.1")
    history.tick(0.0)
    assert history.take(history.tree.input_done("reader.1#1", False, 1.0)) == []
    assert history.tree.mode is Mode.RUNNING


def test_a_pool_may_restart_five_times_in_thirty_seconds_then_it_is_restarted_as_a_whole() -> None:
    history = History().up()
    for _ in range(5):
        actions = history.die_and_return("parser.1")
        assert not any(isinstance(action, Kill) for action in actions)
    actions = history.die_and_return("parser.1")
    assert [action.name for action in actions if isinstance(action, Kill)] == ["parser.2"]
    assert history.tree.mode is Mode.RUNNING


def test_more_than_three_restarts_of_whole_pools_in_a_minute_end_the_run() -> None:
    history = History(RestartOptions(intensity=1, backoff_s=0.0)).up()
    for _ in range(20):
        history.die_and_return("writer.a", after=0.1)
        if history.tree.mode is not Mode.RUNNING:
            break
    assert history.tree.code == FAILED
    assert history.tree.reason == "writer.a: more than 1 restarts of its pool in 30 s; the last: signal SIGKILL"
    deaths = [a.event for a in history.actions if isinstance(a, Emit) and isinstance(a.event, ActorDied)]
    assert len(deaths) == 8  # each pool restart takes two deaths, and the fourth is one too many
    assert deaths[-1].restart_s is None


def test_deaths_far_apart_never_end_the_run() -> None:
    history = History().up()
    for _ in range(50):
        history.die_and_return("parser.1", after=31.0)
    assert history.tree.mode is Mode.RUNNING


def test_a_child_that_dies_three_times_before_it_was_ready_ends_the_run() -> None:
    history = History()
    for now in (1.0, 2.0):
        history.now = now
        history.exit("writer.a", Exit(1))
        assert spawned(history.tick(now + 1.0), "writer.a")
    history.exit("writer.a", Exit(1))
    assert (history.tree.code, history.tree.reason) == (FAILED, "writer.a died 3 times before it was ready; "
                                                             "the last: exit code 1")


def test_a_wrong_configuration_ends_the_run_at_the_first_death() -> None:
    history = History().up()
    history.exit("writer.a", Exit(78))
    assert history.tree.code == BAD_CONFIG
    assert history.tree.mode is Mode.STOPPING


def test_why_an_actor_cannot_run_is_the_reason_for_the_end_of_the_run() -> None:
    history = History().up()
    history.exit("writer.a", Exit(78), LastWords(stack="writer.a: topic t: it has 3 partitions, expected 2"))
    assert history.tree.reason == "writer.a: topic t: it has 3 partitions, expected 2"


def test_what_is_lost_for_good_ends_the_run_at_the_first_death_and_what_is_redelivered_does_not() -> None:
    history, other = History().up(), History().up()
    history.exit("writer.a", Exit(LOST), LastWords(stack="writer.a: positions 3 to 5 are gone"))
    assert (history.tree.code, history.tree.reason) == (FAILED, "writer.a: positions 3 to 5 are gone")
    assert history.tree.mode is Mode.STOPPING
    other.exit("writer.a", Exit(os.EX_TEMPFAIL))
    assert other.tree.mode is Mode.RUNNING


def test_an_actor_that_is_not_ready_in_time_is_killed() -> None:
    history = History(RestartOptions(ready_s=30.0))
    assert Kill("writer.a", signal.SIGKILL) in history.tick(30.0)


def test_an_actor_that_does_not_stop_in_time_is_killed() -> None:
    history = History(limits=RunOptions(stop_s=5.0)).up()
    history.take(history.tree.input_done("reader.1#1", True, 1.0))
    assert history.tick(5.9) == []
    assert history.tick(6.0) == [Kill("reader.1", signal.SIGKILL)]


def test_a_sink_that_is_down_for_too_long_stops_the_run_and_is_named() -> None:
    history = History(limits=RunOptions(max_outage_s=30.0)).up()
    history.take(history.tree.outage("writer.a#1", "memcached 127.0.0.1:1: connection refused", 0.0, 10.0))
    assert sent(history.tick(39.9), Stop) == []
    assert sent(history.tick(40.0), Stop) == ["reader.1"]
    assert history.tree.code == RESUMABLE
    assert history.tree.reason == "writer.a: memcached 127.0.0.1:1: connection refused, for more than 30 s"
    assert list(history.tree.lasting_outages) == ["writer.a"]


@pytest.mark.parametrize(("said", "of_each", "lasts_s"), [
    ("auto", (30.0, 30.0), 30.0), ("auto", (0.0, 30.0), None), ("auto", (30.0, 0.0), None),
    ("auto", (30.0, 90.0), 90.0),
    (0.0, (30.0,), None), (60.0, (0.0, 30.0), 60.0)])
def test_how_long_a_sink_may_be_down_is_said_by_the_run_or_else_by_source_and_sinks_and_0_is_for_ever(
    said: Any, of_each: tuple[float, ...], lasts_s: float | None
) -> None:
    history = History(limits=RunOptions(max_outage_s=said).said_by(*of_each)).up()
    history.take(history.tree.outage("writer.a#1", "down", 0.0, 10.0))
    (began,) = [one.event for one in history.actions if isinstance(one, Emit) and isinstance(one.event, OutageBegan)]
    assert began.max_outage_s == (lasts_s or 0.0)
    assert ("for as long as it takes" in began.text()) == (lasts_s is None)
    assert history.tree.next_deadline() == (None if lasts_s is None else 10.0 + lasts_s)
    assert sent(history.tick(10.0 + 1e6), Stop) == ([] if lasts_s is None else ["reader.1"])


def test_a_sink_that_comes_back_in_time_is_forgotten() -> None:
    history = History().up()
    history.take(history.tree.outage("writer.a#1", "down", 0.0, 10.0))
    history.take(history.tree.outage("writer.a#1", "", 5.0, 15.0))
    assert history.tick(100.0) == []
    assert history.tree.mode is Mode.RUNNING


def test_an_actor_that_cannot_open_its_file_is_waited_for_as_long_as_for_any_outage() -> None:
    history = History(RestartOptions(ready_s=5.0), RunOptions(max_outage_s=30.0)).up()
    history.exit("reader.1")
    history.tick(1.0)
    history.boot("reader.1")
    history.take(history.tree.outage("reader.1#2", "positions: read-only file system", 0.0, 2.0))
    assert history.tick(31.0) == []
    assert sent(history.tick(32.0), Stop) == ["reader.1"]
    assert history.tree.code == RESUMABLE


def test_an_actor_that_can_open_its_file_at_last_has_its_time_to_get_ready() -> None:
    history = History(RestartOptions(ready_s=5.0)).up()
    history.exit("reader.1")
    history.tick(1.0)
    history.boot("reader.1")
    history.take(history.tree.outage("reader.1#2", "positions: read-only file system", 0.0, 2.0))
    history.take(history.tree.outage("reader.1#2", "", 10.0, 12.0))
    assert history.tick(16.9) == []
    assert history.tick(17.0) != []


@pytest.mark.parametrize("name", ["reader.1", "parser.1"])
def test_a_signal_during_the_start_ends_the_run_without_waiting_for_the_rest(name: str) -> None:
    history = History()
    history.take(history.tree.signalled("SIGINT", 0.1))
    assert history.tree.mode is Mode.DRAINING
    history.take(history.tree.signalled("SIGINT", 0.2))
    assert Kill(name, signal.SIGKILL) in history.actions


def observe(history: History, name: str, seconds: float, sample: Sample) -> list[Action]:
    """Look at an actor every half second for so long."""
    actions: list[Action] = []
    generation = int(history.address(name).rpartition("#")[2])
    for _ in range(round(seconds * 2)):
        history.now += 0.5
        actions += history.take(history.tree.observed(name, generation, sample, 0, history.now))
        actions += history.tick(history.now)
    return actions


LOOP = Sample("WORK", (1,), 0.0, "S")


def test_a_silent_worker_is_spared_then_killed_step_by_step_and_started_again() -> None:
    history = History().up()
    actions = observe(history, "parser.1", 20, LOOP)
    assert mail(actions, Hold) == [("reader.1#1", Hold("parser.1#1", True))]
    kills = [action.signal for action in actions if isinstance(action, Kill)]
    assert kills == [signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL]
    actions = history.exit("parser.1")
    (died,) = [a.event for a in history.actions if isinstance(a, Emit) and isinstance(a.event, ActorDied)]
    assert (died.cause, died.restart_s) == ("timeout", 0.0)
    assert died.how.startswith("blocked for 15")
    assert spawned(history.tick(history.now), "parser.1")


def test_a_silent_worker_that_goes_on_is_given_work_again() -> None:
    history = History().up()
    observe(history, "parser.1", 7, LOOP)
    actions = observe(history, "parser.1", 1, Sample("WORK", (2,), 0.0, "S"))
    assert mail(actions, Hold) == [("reader.1#1", Hold("parser.1#1", False))]


def test_a_new_reader_is_told_whom_to_spare() -> None:
    history = History().up()
    observe(history, "parser.1", 7, LOOP)
    history.exit("reader.1")
    history.tick(history.now)
    history.boot("reader.1")
    assert mail(history.ready("reader.1"), Hold) == [("reader.1#2", Hold("parser.1#1", True))]


def test_the_reader_hears_with_what_in_hand_a_worker_died_before_it_hears_of_the_death() -> None:
    history = History().up()
    actions = history.take(history.tree.exited("parser.1", KILLED, LastWords("WORK", ("p", 10, 99), "stack"), 1.0))
    kinds = [type(action.message) for action in actions if isinstance(action, Send) and action.address == "reader.1#1"]
    assert kinds == [Suspect, Roster]
    ((_, suspect),) = mail(actions, Suspect)
    assert suspect == Suspect("p", 10, 99, "worker_died", "parser.1: signal SIGKILL\nstack", stage="parser")


def test_deaths_with_parts_of_one_batch_in_hand_are_charged_once() -> None:
    history = History(RestartOptions(intensity=1, tree_intensity=1)).up()
    for number, end in enumerate((1000, 1000, 1000, 500, 250, 125, 60, 30)):
        actions = history.take(history.tree.exited("parser.1", KILLED, LastWords("WORK", ("p", 0, end)), number))
        assert ended(actions) is None
        history.tick(float(number))
        history.boot("parser.1")
        history.ready("parser.1")
    assert history.tree.mode is Mode.RUNNING


def test_more_workers_are_started_and_the_last_ones_leave_when_they_have_nothing_left() -> None:
    history = History().up()
    actions = history.take(history.tree.scale("parser", 3, 1.0))
    assert spawned(actions, "parser.3")
    history.boot("parser.3")
    history.ready("parser.3")
    actions = history.take(history.tree.scale("parser", 2, 2.0))
    assert mail(actions, Hold) == [("reader.1#1", Hold("parser.3#1", True))]
    assert mail(actions, Drain) == [("parser.3#1", Drain())]
    assert mail(history.take(history.tree.drained("parser.3#1", 3.0)), Stop) == [("parser.3#1", Stop())]
    actions = history.exit("parser.3", Exit(0))
    assert not any(member.name == "parser.3" for _, roster in mail(actions, Roster) for member in roster.members)
    assert not spawned([*actions, *history.tick(100.0)], "parser.3")
    history.take(history.tree.scale("parser", 3, 101.0))
    assert history.address("parser.3") == "parser.3#2", "no address is used twice"


def test_one_worn_worker_at_a_time_is_replaced_the_oldest_first() -> None:
    history = History(recycle={"parser": RecycleOptions(max_age_s=10.0)}).up()
    idle = Sample("IDLE", (1,), 0.0, "S")
    history.now = 11.0
    actions = [*observe(history, "parser.2", 0.5, idle), *observe(history, "parser.1", 0.5, idle)]
    assert len(mail(actions, Drain)) == 1
    ((address, _),) = mail(actions, Drain)
    name = address.partition("#")[0]
    history.take(history.tree.drained(address, history.now))
    history.exit(name, Exit(0))
    history.boot(name)
    history.ready(name)
    actions = [*observe(history, "parser.1", 0.5, idle), *observe(history, "parser.2", 0.5, idle)]
    other = {"parser.1": "parser.2", "parser.2": "parser.1"}[name]
    assert [address for address, _ in mail(actions, Drain)] == [f"{other}#1"]
    assert [a for a in history.actions if isinstance(a, Emit) and isinstance(a.event, ActorDied)] == []


def test_a_worker_that_is_too_large_before_its_first_batch_is_not_replaced_for_ever_but_the_end() -> None:
    history = History(recycle={"parser": RecycleOptions(max_rss_bytes=1000)})
    for spec in SPECS:
        history.boot(spec.name)
    history.take(history.tree.ready(history.address("writer.a"), "ipc://a", 0.0, 5000))  # no worker: nothing said of it
    history.take(history.tree.ready(history.address("parser.1"), "ipc://1", 0.0, 1000))
    assert history.tree.mode is Mode.STARTING
    history.take(history.tree.ready(history.address("parser.2"), "ipc://2", 0.0, 1001))
    assert (history.tree.mode, history.tree.code) == (Mode.STOPPING, 78)
    assert history.tree.reason == ("parser.max_rss_bytes is 1,000, and parser.2 has 1,001 before its first batch: "
                                   "set more, well above that, or 0 (never)")


def test_a_limit_below_what_a_worker_has_without_work_is_not_adopted() -> None:
    history = History()
    for spec in SPECS:
        history.boot(spec.name)
        history.take(history.tree.ready(history.address(spec.name), "ipc://x", 0.0, 1001))
    with pytest.raises(ConfigError, match=r"parser.max_rss_bytes is 1,000, and parser.1 has 1,001 before"):
        history.tree.adopt(Policy(recycle={"parser": RecycleOptions(max_rss_bytes=1000)}))
    history.tree.adopt(Policy(recycle={"parser": RecycleOptions(max_rss_bytes=1001)}))


def hang(history: History, name: str, batches: int) -> list[Action]:
    """Hang, be killed, and come back if the tree wants that."""
    observe(history, name, 17, LOOP)
    actions = history.take(history.tree.exited(name, KILLED, LastWords("WRITE", batches=batches), history.now))
    if ended(actions) is None and history.tree.mode is Mode.RUNNING:
        history.tick(max(history.now, history.tree.next_deadline() or 0.0))
        history.boot(name)
        history.ready(name)
    return actions


def test_a_writer_that_hangs_again_and_again_without_writing_anything_ends_the_run() -> None:
    history = History().up()
    for _ in range(3):
        assert history.tree.mode is Mode.RUNNING
        hang(history, "writer.a", 0)
    assert (history.tree.code, history.tree.mode) == (FAILED, Mode.STOPPING)
    assert history.tree.reason.startswith("writer.a hung 3 times in a row: blocked for 15")


def test_a_writer_that_writes_between_its_hangs_is_started_again_each_time() -> None:
    history = History().up()
    for _ in range(20):
        hang(history, "writer.a", 5)
        history.now += 60.0
    assert history.tree.mode is Mode.RUNNING
