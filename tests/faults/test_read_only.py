"""A file system that turns read-only in mid-run: said with the path, waited for, nothing lost, nothing in silence.

A library that is preloaded refuses every change below a folder, and every flush, as such a file system does, and can
take it back; ``test_read_only_disk.py`` has a real one.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.loads import Running, Views
from tests.pipelines.everywhere import NAMES, STORES
from tests.powercut import cuts
from tests.powercut.recording import may_be_read_only, require_recorder
from tests.tcp import address_of

FILES, LINES = 2, 3000
SENTENCE = "read-only file system"


class Place(NamedTuple):
    """What is on that file system: its option, of the folder; who waits; and what of it is named."""

    sets: str
    actor: str
    named: str


PLACES = {
    "lmdb": Place("sinks.keyed.path={0}/keyed.lmdb", "writer.keyed", "lmdb {0}/keyed.lmdb: "),
    "lines": Place("sinks.lined.path={0}/lined.log", "writer.lined", "{0}/lined.log: "),
    "json lines": Place("sinks.listed.path={0}/listed.jsonl", "writer.listed", "{0}/listed.jsonl: "),
    "csv": Place("sinks.tabled.path={0}/tabled.csv", "writer.tabled", "{0}/tabled.csv: "),
    "csv files": Place("sinks.filed.folder={0}/filed", "writer.filed", "{0}/filed: "),
    "parquet": Place("sinks.gathered.folder={0}/gathered", "writer.gathered", "{0}/gathered: "),
    "sqlite": Place("sinks.rowed.url=sqlite:///{0}/rowed.sqlite", "writer.rowed",
                    "sql sqlite:///{0}/rowed.sqlite: {0}/rowed.sqlite: "),
    "dead letters": Place("dead_letters.path={0}/letters.db", "writer.dead_letters", "dead letters {0}/letters.db: "),
    "input": Place("source.pattern={0}/*.txt", "reader.1", "{0}/0.txt: loaded, and cannot be renamed: "),
}
every_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


class Scene:
    """A folder ``there`` that can turn read-only, and one that cannot."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.there, self._mark = folder, folder / "there", folder / "read-only"
        self.there.mkdir()
        for name, value in may_be_read_only(require_recorder(folder), self.there, self._mark, 10).items():
            monkeypatch.setenv(name, value)
        self.data = folder / "data"
        cuts.write_numbers(folder, FILES, LINES)

    def start(self, *sets: str, state: Path | None = None) -> Running:
        more = (f"source.pattern={self.data}/*.txt", "budget.max_error_rate=0.5", "flow.batch_bytes=200",
                "flow.window_batches=4", "sinks.gathered.roll_bytes=20000", *sets)
        return Running(state or self.folder / "state", "run", "tests.pipelines.everywhere", "--format", "json",
                       *(word for item in more for word in ("--set", item)), output=self.folder / "output")

    def turn_read_only(self) -> None:
        self._mark.touch()

    def mend(self) -> None:
        self._mark.unlink()

    def holds_all(self, state: Path, **elsewhere: Path) -> None:
        """Every number is in its store, once; every bad one is a letter; and each file has its dot."""
        found = cuts.look_everywhere(state, self.data, **elsewhere)
        numbers = [at for at in range(FILES * LINES) if at % cuts.BAD_EVERY]
        stores = [[at for at in numbers if at % len(STORES) == rest] for rest in range(len(STORES))]
        assert found == {
            "keyed": {b"%d" % at: b"%d" % -at for at in stores[0]}, "lined": [b"%d" % at for at in stores[1]],
            "listed": stores[2], "rowed": stores[3],
            "tabled": [["number", "quoted"], *([f"{at}", f'"{at}",\n'] for at in stores[4])],
            "filed": {f"{at % NAMES}.csv": [["number"], [f"{at}"]] for at in stores[5]},
            "gathered": stores[6],
            "letters": {b"bad%d" % at: 1 for at in range(0, FILES * LINES, cuts.BAD_EVERY)},
            "folded": {name: [len(store), sum(store)] for name, store in zip(
                STORES, stores, strict=True)},
            "files": [f".{number}.txt" for number in range(FILES)]}


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def waits(views: Views, actor: str, problem: str) -> bool:
    """Whether an actor waits for a file system that is read-only, and says of what."""
    view = views[actor]
    return view.phase == "RETRY" and view.note == (problem + SENTENCE)[:len(view.note) or None]


def somebody_waits(views: Views) -> bool:
    """Whether anybody waits for it: who meets it first is chance, and the reader may have nothing to keep then."""
    return any(view.phase == "RETRY" and SENTENCE in view.note for view in views.values())


def _elsewhere(place: Place, scene: Scene) -> dict[str, Path]:
    """What is not where it is looked for otherwise."""
    found = re.fullmatch(r"(?:sinks\.(\w+)|(dead_letters))\.\w+=(?:sqlite:///)?(.*)", place.sets.format(scene.there))
    return {} if found is None else {found[1] or "letters": Path(found[3])}


def _is_input(place: Place, scene: Scene) -> bool:
    """Whether it is the input; then it is there, and read-only when its time to be renamed comes."""
    if place.actor != "reader.1":
        return False
    for path in scene.data.iterdir():
        path.rename(scene.there / path.name)
    scene.data = scene.there
    scene.turn_read_only()
    return True


@every_place
def test_each_store_is_waited_for_and_has_all_of_it_in_the_end(scene: Scene, place: Place) -> None:
    is_now = _is_input(place, scene)
    with scene.start(place.sets.format(scene.there)) as running:
        if not is_now:
            running.until(lambda views: views[place.actor].batches >= 10, "ten batches")
            scene.turn_read_only()
        running.until(lambda views: waits(views, place.actor, place.named.format(scene.there)), "an outage")
        scene.mend()
        assert running.wait() == 0, running.output()
    assert {event["actor"] for event in running.of("outage")} == {place.actor}
    assert running.of("died") == []
    assert "Traceback" not in running.output()
    scene.holds_all(running.state, **_elsewhere(place, scene))


@every_place
def test_one_that_stays_so_ends_the_run_resumable_and_a_later_one_has_all_of_it(scene: Scene, place: Place) -> None:
    is_now = _is_input(place, scene)
    with scene.start(place.sets.format(scene.there), "run.max_outage_s=1") as running:
        if not is_now:
            running.until(lambda views: views[place.actor].batches >= 10, "ten batches")
            scene.turn_read_only()
        assert running.wait() == 3, running.output()
    said = f"{place.named.format(scene.there)}{SENTENCE}"
    assert running.of("report")[0]["reason"] == f"{place.actor}: {said}, for more than 1 s"
    assert running.of("report")[0]["outages"] == {place.actor: said}
    assert "Traceback" not in running.output()
    scene.mend()
    with scene.start(place.sets.format(scene.there)) as again:
        assert again.wait() == 0, again.output()
    scene.holds_all(again.state, **_elsewhere(place, scene))


def test_a_state_directory_is_waited_for_by_who_has_something_to_write_to_it(scene: Scene) -> None:
    state = scene.there / "state"
    with scene.start(state=state) as running:
        running.until(lambda views: views["reader.1"].batches >= 10, "ten batches")
        scene.turn_read_only()
        running.until(somebody_waits, "an outage")
        scene.mend()
        assert running.wait() == 0, running.output()
    # An actor that asks what is wrong when it is mended already has only its library's words ("disk I/O error").
    assert any(event["problem"].endswith(f": {SENTENCE}") for event in running.of("outage"))
    assert (running.of("died"), "Traceback" in running.output()) == ([], False)
    scene.holds_all(state)


def test_who_is_told_to_stop_meanwhile_ends_resumable_and_its_report_tells_the_truth(scene: Scene) -> None:
    state = scene.there / "state"
    with scene.start("run.drain_s=0.5", state=state) as running:
        running.until(lambda views: views["reader.1"].batches >= 40, "some batches")
        scene.turn_read_only()
        running.until(somebody_waits, "an outage")
        running.process.terminate()
        assert running.wait() == 3, running.output()
    report = running.of("report")[0]
    assert report["reason"] == "stopped by SIGTERM; not all was finished in 0.5 s"
    assert report["outages"] and all(said.endswith(f": {SENTENCE}") for said in report["outages"].values())
    assert [unit["status"] for unit in report["units"]] == ["reading"]
    assert "Traceback" not in running.output()
    with scene.start(state=state) as refused:
        assert refused.wait() == 78
    assert refused.output() == f"state directory {state}: Read-only file system: give another with --state DIR\n"
    scene.mend()
    with scene.start(state=state) as again:
        assert again.wait() == 0, again.output()
    scene.holds_all(state)


@pytest.mark.parametrize("actor", ["reader.1", "aggregator.1", "writer.keyed", "writer.dead_letters"])
def test_an_actor_that_dies_meanwhile_waits_until_it_can_open_its_file(scene: Scene, actor: str) -> None:
    state = scene.there / "state"
    with scene.start(state=state) as running:
        running.until(lambda views: views[actor].batches >= 5, "some batches")
        scene.turn_read_only()
        running.until(somebody_waits, "an outage")
        running.kill(actor, after_batches=0)
        # A writer opens its file when it has something to write, which may be after the end of the outage.
        phases = {"RETRY"} if actor in ("reader.1", "aggregator.1") else {"RETRY", "IDLE"}
        running.until(lambda views: views[actor].generation == 2 and views[actor].phase in phases, "the next of it")
        scene.mend()
        assert running.wait() == 0, running.output()
    assert [event["how"] for event in running.of("died")] == ["signal SIGKILL"]
    assert "Traceback" not in running.output()
    scene.holds_all(state)


def test_an_actor_that_cannot_open_its_file_is_waited_for_no_longer_than_any_outage(scene: Scene) -> None:
    state = scene.there / "state"
    with scene.start("run.max_outage_s=2", state=state) as running:
        running.until(lambda views: views["reader.1"].batches >= 5, "some batches")
        scene.turn_read_only()
        running.kill("aggregator.1", after_batches=0)
        assert running.wait() == 3, running.output()
    assert re.search(rf"{SENTENCE}, for more than 2 s", running.of("report")[0]["reason"])
    assert [event["actor"] for event in running.of("died")] == ["aggregator.1"]
    scene.mend()
    with scene.start(state=state) as again:
        assert again.wait() == 0, again.output()
    scene.holds_all(state)


def _listening(scene: Scene, *sets: str) -> Running:
    words = (word for item in (f"source.journal={scene.there / 'journal'}", "source.segment_bytes=2000", *sets)
             for word in ("--set", item))
    running = Running(scene.folder / "state", "run", "tests.pipelines.listener", "--format", "json", *words)
    running.until(lambda views: views["reader.1"].phase == "IDLE", "a reader that listens")
    return running


def test_a_journal_is_waited_for_and_so_are_its_segments_that_are_to_be_deleted(scene: Scene) -> None:
    data = b"".join(b"%09d\n" % number for number in range(1000))
    with _listening(scene) as running, socket.create_connection(address_of(scene.there), timeout=240) as client:
        client.sendall(data[:5000])
        running.until(lambda views: views["writer.store"].records >= 500, "500 lines")
        scene.turn_read_only()
        client.sendall(data[5000:])
        running.until(lambda views: waits(views, "reader.1", f"journal {scene.there}/journal: "), "a reader that waits")
        scene.mend()
        running.until(lambda views: views["writer.store"].records >= 1000, "1,000 lines")
        running.process.terminate()
        assert running.wait() == 0, running.output()
    assert running.of("died") == []
    assert (running.state / "store.log").read_bytes() == data
    assert not list(scene.there.glob("journal/*.log"))


