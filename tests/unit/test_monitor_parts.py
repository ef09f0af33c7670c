"""The parts of the monitor: what is kept, what is queued, who is thrown out, what is not done too often."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from actors.runtime.framing import Record, envelope_of
from actors.runtime.values import DeadLetter
from actors.telemetry import letters
from actors.telemetry.doorman import HEADER_S, SPARE, Doorman
from actors.telemetry.drawings import KEPT, Drawings
from actors.telemetry.history import History
from actors.telemetry.model import Happening
from actors.telemetry.paced import Busy, Paced, Turns
from actors.telemetry.pages import Pages
from actors.telemetry.streams import REMEMBERED, Streams
from tests.letters import line_letter, put
from tests.looks import look, manifest
from tests.unit.test_metrics import seen

WATCHDOG_S = 240.0


# History ----------------------------------------------------------------------------------------------------------


def test_history_is_the_rate_of_each_outcome_over_the_last_minutes() -> None:
    history = History(kept_s=3.0, step_s=1.0)
    assert history.columns() == {"at": [], "per_s": {}}
    for clock, read, written in ((0.0, 5, 0), (1.0, 15, 0), (1.5, 25, 5), (3.0, 25, 10)):
        history.take(look(clock, outcomes={"read": read, **({"written": written} if written else {})}))
    assert history.columns() == {"at": [1001.0, 1003.0], "per_s": {"read": [10.0, 5.0], "written": [0.0, 5.0]}}
    history.take(look(5.0, outcomes={"read": 5}))
    assert history.columns() == {"at": [1003.0, 1005.0], "per_s": {"read": [5.0, 0.0], "written": [5.0, 0.0]}}


# Streams ----------------------------------------------------------------------------------------------------------


def happened(number: int) -> Happening:
    return Happening(at=float(number), kind="died", text=str(number), fields={})


def test_a_client_that_is_slow_gets_the_newest_status_and_all_news() -> None:
    async def check() -> None:
        streams = Streams()
        with streams.open("") as slow:
            for clock in (1.0, 2.0, 3.0):
                streams.take(seen(at=clock, news=(happened(1),)))
            sent = await slow.next()
            assert sent.count(b"event: happening") == 3
            assert sent.count(b"event: status") == 1
            assert b'"at":3.0' in sent
            streams.end()
            assert b"event: end" in await slow.next()
            assert slow.is_over
            assert streams.are_open
        assert (streams.here(), streams.are_open) == (0, False)

    asyncio.run(check())


def test_a_client_that_is_written_to_when_the_end_comes_is_told_of_it() -> None:
    async def check() -> None:
        streams = Streams()
        with streams.open("") as slow:
            streams.take(seen(at=1.0))
            await slow.next()
            streams.end()
            assert not slow.is_over
            assert b"event: end" in await slow.next()
            assert slow.is_over

    asyncio.run(check())


def test_what_is_kept_for_a_client_is_bounded() -> None:
    async def check() -> None:
        streams = Streams()
        with streams.open("") as deaf:
            for _ in range(3 * REMEMBERED):
                streams.take(seen(news=(happened(1),)))
            assert (await deaf.next()).count(b"event:") == REMEMBERED + 1

    asyncio.run(check())


@pytest.mark.parametrize(("last_id", "missed"), [("1", 2), ("3", 0), ("", 0), ("x", 0), ("-1", 0)])
def test_a_client_that_comes_again_gets_what_it_has_missed(last_id: str, missed: int) -> None:
    async def check() -> None:
        streams = Streams()
        streams.take(seen(news=tuple(happened(number) for number in (1, 2, 3))))
        with streams.open(last_id) as stream:
            sent = await stream.next()
            assert sent.count(b"event: happening") == missed
            assert sent.count(b"event: status") == 1

    asyncio.run(check())


# Pace -------------------------------------------------------------------------------------------------------------


class AtOnce(Executor):
    """Does in the event loop what threads would do."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it."""
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is; sleeping takes none."""
    now = [100.0, 0.0]  # the clock, and processor time

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("actors.telemetry.paced.time", SimpleNamespace(
        monotonic=lambda: now[0], thread_time=lambda: now[1]))
    monkeypatch.setattr("asyncio.sleep", sleep)
    return now


def test_work_is_not_done_again_before_twenty_times_what_it_took(clock: list[float]) -> None:
    done: list[float] = []

    def work() -> int:
        clock[1] += 0.5
        done.append(clock[0])
        return len(done)

    async def check() -> None:
        pace: Paced[int] = Paced(AtOnce())
        assert [await pace.answer("a", work) for _ in range(3)] == [1, 1, 1]
        clock[0] += 9.9
        assert await pace.answer("a", work) == 1
        assert await pace.answer("b", work) == 2  # it had to wait for the rest
        assert done == [100.0, 110.0]
        clock[0] += 10.0
        assert await pace.answer("a", work) == 3

    asyncio.run(check())


def test_who_asks_too_often_waits_for_his_turn(clock: list[float]) -> None:
    async def check() -> None:
        turns = Turns(per_s=10.0, burst=5)
        for _ in range(5):
            await turns.take()
        assert clock[0] == 100.0
        for _ in range(20):
            await turns.take()
        assert clock[0] == pytest.approx(102.0)
        clock[0] += 60.0
        for _ in range(6):
            await turns.take()
        assert clock[0] == pytest.approx(162.1)

    asyncio.run(check())


def test_too_many_who_wait_are_told_to_come_again() -> None:
    async def check() -> None:
        go = asyncio.Event()
        with ThreadPoolExecutor(1) as executor:
            pace: Paced[None] = Paced(executor)
            loop = asyncio.get_running_loop()
            blocked = [asyncio.create_task(pace.answer(
                number, lambda: asyncio.run_coroutine_threadsafe(_when(go), loop).result(WATCHDOG_S)))
                for number in range(16)]
            await asyncio.sleep(0)
            with pytest.raises(Busy):
                await pace.answer("one more", lambda: None)
            go.set()
            await asyncio.wait_for(asyncio.gather(*blocked), WATCHDOG_S)

    asyncio.run(check())


async def _when(go: asyncio.Event) -> None:
    await go.wait()


# The doorman ------------------------------------------------------------------------------------------------------


class Talker(asyncio.Protocol):
    """Says much to whoever comes, and closes."""

    def __init__(self, server: Talkers) -> None:
        self.transport: asyncio.BaseTransport | None = None
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server.connections.append(self)
        transport.write(b"x" * 30_000_000)
        transport.close()


class Talkers:
    """A server as the doorman knows it."""

    def __init__(self) -> None:
        self.connections: list[Talker] = []

    def __call__(self) -> Talker:
        """One more."""
        return Talker(self)


def test_a_client_that_takes_nothing_is_thrown_out() -> None:
    async def check() -> None:
        talkers = Talkers()
        doorman = Doorman(most=2, stall_s=5.0, header_s=1e9)
        server = await asyncio.get_running_loop().create_server(doorman.of(talkers), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        deaf = socket.create_connection(("127.0.0.1", port))
        reading, writing = await asyncio.open_connection("127.0.0.1", port)
        while len(talkers.connections) < 2:
            await asyncio.sleep(0.001)
        first, second = (talker.transport for talker in talkers.connections)
        assert isinstance(first, asyncio.Transport)
        assert isinstance(second, asyncio.Transport)
        for now in (0.0, 4.0):
            doorman.look(now)
        before = second.get_write_buffer_size()
        while second.get_write_buffer_size() == before:
            await reading.readexactly(100_000)
        for now in (8.0, 12.0):
            doorman.look(now)
        await asyncio.sleep(0)
        assert first.get_write_buffer_size() == 0  # aborted
        assert second.get_write_buffer_size() > 0  # it reads, if slowly
        doorman.throw_out()
        deaf.close()
        writing.close()
        server.close()

    asyncio.run(asyncio.wait_for(check(), WATCHDOG_S))


class Quiet(asyncio.Protocol):
    """Says nothing, and is in the list of its server while it is there."""

    def __init__(self, connections: list[Any]) -> None:
        self._connections = connections
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._connections.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.remove(self)


class QuietServer:
    """A server as the doorman knows it."""

    def __init__(self) -> None:
        self.connections: list[Any] = []

    def __call__(self) -> Quiet:
        """One more."""
        return Quiet(self.connections)


def test_whoever_comes_is_let_in_for_one_that_is_silent_then_for_one_that_has_asked_and_never_for_one_that_is_held(
) -> None:
    async def check() -> None:
        quiet = QuietServer()
        doorman = Doorman(most=3)
        server = await asyncio.get_running_loop().create_server(doorman.of(quiet), "127.0.0.1", 0)
        clients: list[socket.socket] = []

        async def comes() -> None:
            """One more, who is there at the end."""
            before = set(quiet.connections)
            clients.append(socket.create_connection(server.sockets[0].getsockname()))
            while set(quiet.connections) <= before:
                await asyncio.sleep(0.001)

        for _ in range(3 + SPARE):
            await comes()
        first, second, third, fourth, *others = (connection.transport for connection in quiet.connections)
        for transport in (first, second, third, *others[:-1]):
            doorman.asked(transport)
        with doorman.hold(first):
            await comes()  # in the place of the fourth
            assert fourth.is_closing() and not second.is_closing()
            await comes()  # in the place of the last of the others
            assert others[-1].is_closing()
            for connection in quiet.connections:
                doorman.asked(connection.transport)
            await comes()
            assert second.is_closing() and not first.is_closing() and not third.is_closing()
            doorman.asked(quiet.connections[-1].transport)
            with doorman.hold(third), doorman.hold(others[0]):
                with pytest.raises(Busy), doorman.hold(others[1]):
                    raise AssertionError("a probe would find no place")
                await comes()
                assert not third.is_closing() and others[1].is_closing()
        for now in (time.monotonic(), time.monotonic() + HEADER_S):
            doorman.look(now)
        silent = [connection.transport.is_closing() for connection in quiet.connections]
        assert silent == [False] * (len(silent) - 1) + [True]  # the last has not asked
        doorman.throw_out()
        while quiet.connections:
            await asyncio.sleep(0)
        for client in clients:
            client.close()
        server.close()

    asyncio.run(asyncio.wait_for(check(), WATCHDOG_S))


# Letters, drawings, pages -----------------------------------------------------------------------------------------


def test_letters_are_shown_newest_first_and_cut(tmp_path: Path) -> None:
    put(tmp_path, *(line_letter(b"\xff" * size, size) for size in (1, 2, 10_000)))
    found = letters.newest(tmp_path / "dead-letters.db")
    assert [letter["id"] for letter in found["letters"]] == [3, 2, 1]
    assert (found["letters"][0]["raw_bytes"], len(found["letters"][0]["raw_base64"])) == (10_000, 5464)
    assert found["letters"][2]["raw_text"] == "\\xff"
    assert len(letters.newest(tmp_path / "dead-letters.db", "latitude_range", 2)["letters"]) == 2
    assert letters.newest(tmp_path / "dead-letters.db", "' OR 1=1 --")["letters"] == []
    assert letters.reasons(tmp_path / "dead-letters.db") == {"reasons": {"latitude_range": 3}, "problem": ""}


def test_letters_of_records_are_shown_with_what_they_came_with_and_cut(tmp_path: Path) -> None:
    headers = (("n" * 1000, None), *[("h", b"\xff" * 1000)] * 100)
    records = [Record(71, None, time=1_565_647_204_351, key=b"\xff" * 9000, headers=headers), Record(72, b"a\nb", 7)]
    put(tmp_path, line_letter(b"a line", 1), *(
        DeadLetter("checker", "stars", "", "live/0", "p", record.offset, record.offset, record.line,
                   record.value or b"", envelope=envelope_of(record), output="1") for record in records))
    second, first, line = letters.newest(tmp_path / "dead-letters.db")["letters"]
    assert (line["record"], line["output"], first["output"]) == (None, "", "1")
    assert first["record"]["has_value"] is False
    assert first["record"]["published"] == "2019-08-12T22:00:04.351Z"
    assert first["record"]["key"] == "\\xff" * 4096
    assert first["record"]["headers"] == [["n" * 256, None], *[["h", "\\xff" * 256]] * 31]
    assert second["record"] == {"has_value": True, "published": None, "key": None, "headers": []}
    assert (second["raw_text"], second["line"], second["offset"]) == ("a\nb", 7, 72)


def test_no_store_is_no_letters_and_a_strange_file_is_a_problem(tmp_path: Path) -> None:
    assert letters.newest(None) == letters.newest(tmp_path / "x.db") == {"letters": [], "problem": ""}
    assert not (tmp_path / "x.db").exists()
    (tmp_path / "y.db").write_bytes(b"no database at all, whatever it is called" * 100)
    assert "file is not a database" in letters.newest(tmp_path / "y.db")["problem"]
    assert "thresher dlq ls" in letters.reasons(tmp_path / "y.db")["problem"]


def test_letters_of_a_run_that_keeps_none_are_nowhere() -> None:
    assert letters.store_of(manifest()) is None


def test_the_last_drawing_of_each_label_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = iter(["a", "a", "b", *map(str, range(KEPT))])

    class Panels:
        def __init__(self, manifest: Any) -> None: ...

        def names(self) -> list[str]:
            return ["main"]

        def drawing(self, name: str) -> dict[str, Any]:
            return {"title": "t", "drawing": {"type": "bars", "label": next(labels)}, "problem": ""}

    monkeypatch.setattr("actors.telemetry.drawings.Panels", Panels)
    drawings = Drawings(manifest())
    for _ in range(3):
        drawn = drawings.draw_all()["main"]
    assert [one["drawing"]["label"] for one in drawn["past"]] == ["a", "b"]
    for _ in range(KEPT):
        drawn = drawings.draw_all()["main"]
    assert [one["drawing"]["label"] for one in drawn["past"]] == [str(number) for number in range(KEPT)]


def test_a_panel_that_raises_is_a_problem_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panels:
        def __init__(self, manifest: Any) -> None:
            raise ZeroDivisionError("of the application")

    monkeypatch.setattr("actors.telemetry.drawings.Panels", Panels)
    assert Drawings(manifest()).draw_all() == {"main": {
        "panel": {"title": "test", "drawing": None, "problem": "ZeroDivisionError: of the application"}, "past": []}}


def test_a_drawing_that_cannot_be_sent_is_a_problem_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panels:
        def __init__(self, manifest: Any) -> None: ...

        def names(self) -> list[str]:
            return ["main"]

        def drawing(self, name: str) -> dict[str, Any]:
            return {"title": "t", "drawing": {"type": "bars", "label": "caf\udce9"}, "problem": ""}

    monkeypatch.setattr("actors.telemetry.drawings.Panels", Panels)
    drawn = msgspec.json.decode(msgspec.json.encode(Drawings(manifest()).draw_all()["main"]))
    assert drawn["past"] == []
    assert drawn["panel"]["problem"].startswith("UnicodeEncodeError: ")


def test_only_files_of_the_folder_are_pages_and_they_are_as_new_as_the_file(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "web" / "a.js").write_text("1")
    (tmp_path / "web" / ".b.js").write_text("hidden")
    (tmp_path / "web" / "c.py").write_text("source")
    pages = Pages(tmp_path / "web")
    first = pages.get("a.js")
    assert first is not None
    assert (first.data, first.kind) == (b"1", "text/javascript; charset=utf-8")
    assert pages.get("a.js") is first
    for name in ("../secret.txt", ".b.js", "c.py", "", "..", "d.js", "/etc/hosts.txt", str(tmp_path / "secret.txt")):
        assert pages.get(name) is None
    (tmp_path / "web" / "a.js").unlink()
    assert pages.get("a.js") is None
