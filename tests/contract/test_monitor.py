"""The monitor of a real run, asked over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from aiohttp import web

from actors.telemetry.http_gate import IDLE_S, MOST_CONNECTIONS
from tests.loads import ROOT, Load, Views, assert_counts_add_up, lmdb_stores
from tests.monitors import Listening, Watched, ask, connect, entry_of, eventually, kill, shown, url_file, url_of, value
from tests.screen import Screen
from tests.servers import free_port

TOKEN = "a token of some length"
#: Ends with everything, at most: much less than any client's patience.
SOON_S = 10.0


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A run that has read its first file."""
    with Watched(tmp_path_factory.mktemp("watched")) as running:
        eventually(lambda: running.ask("api/status").json["snapshot"]["outcomes"].get("read") == 102, "102 records")
        yield running


# What is shown ----------------------------------------------------------------------------------------------------


def test_probes_say_yes_of_a_run_that_gets_on(watched: Watched) -> None:
    for probe in ("livez", "readyz", "startupz"):
        answer = watched.ask(probe)
        assert (answer.status, answer.text) == (200, "ok\n")


def test_status_history_and_metrics_tell_of_the_same_records(watched: Watched) -> None:
    outcomes = watched.ask("api/status").json["snapshot"]["outcomes"]
    assert {name: outcomes[name] for name in ("read", "written", "dead_lettered", "rejected.form")} == {
        "read": 102, "written": 100, "dead_lettered": 2, "rejected.form": 2}
    found = watched.metrics()
    assert value(found, "thresher_records_read_total") == 102
    assert value(found, "thresher_records_total", outcome="written", sink="store") == 100
    assert value(found, "thresher_records_total", outcome="dead_lettered", sink="") == 2
    assert value(found, "thresher_dead_letters_total", reason="form") == 2
    assert value(found, "thresher_ready") == 1
    assert value(found, "thresher_actor_up", actor="reader.1", stage="reader") == 1
    assert value(found, "thresher_actor_records_total", actor="writer.store", stage="writer") > 0
    assert value(found, "thresher_actor_resident_memory_bytes", actor="reader.1", stage="reader") > 1e6

    history = eventually(lambda: (seen := watched.ask("api/history").json)["at"] and seen, "history")
    assert len(history["at"]) == len(history["per_s"]["written"])
    assert sorted(history["at"]) == history["at"]


def test_dead_letters_are_shown_with_their_bytes_and_counted_by_reason(watched: Watched) -> None:
    assert watched.ask("api/letters/reasons").json == {"reasons": {"form": 2}, "problem": ""}
    (letter,) = watched.ask("api/letters?limit=1").json["letters"]
    assert letter["reason"] == "form"
    assert letter["raw_text"].startswith("bad")
    assert letter["source"].endswith("first.txt")
    assert len(watched.ask("api/letters?reason=form").json["letters"]) == 2
    assert watched.ask("api/letters?reason=other").json == {"letters": [], "problem": ""}
    assert (refused := watched.ask("api/letters?limit=many")).status == 400
    assert refused.text == "limit: expected 1 to 500, got 'many'\n"


def test_an_application_without_a_panel_has_none(watched: Watched) -> None:
    assert watched.ask("api/panel").json == {"panel": None, "past": []}


def test_the_page_and_what_is_not_there(watched: Watched) -> None:
    page = watched.ask("")
    assert page.status == 200
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    for path, status in (("static/no.js", 404), ("static/..%2f..%2fmonitor.py", 404), ("static/.x", 404), ("no", 404),
                         ("api/stop", 405)):
        assert watched.ask(path).status == status


def test_nothing_but_the_probes_is_answered_without_the_token(watched: Watched) -> None:
    for probe in ("livez", "readyz", "startupz"):
        assert watched.ask(probe, Authorization="", Host="evil.example").status == 200
    for path in ("", "metrics", "api/status", "api/history", "api/letters", "api/letters/reasons", "api/events",
                 "api/panel", "api/panels", "static/app.js", "no"):
        refused = watched.ask(path, Authorization="")
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="thresher"'), path
    for verb in ("scale", "reload", "stop"):
        assert watched.ask(f"api/{verb}", {}, Authorization="").status == 401
    assert "the run says where it is" in refused.text
    assert watched.ask("?token=wrong", Authorization="").status == 401


def test_whoever_opens_hundreds_of_slow_connections_takes_no_probes_place(watched: Watched) -> None:
    where = urlsplit(watched.url)
    slow = []
    for _ in range(MOST_CONNECTIONS + 200):
        slow.append(socket.create_connection((where.hostname, where.port), SOON_S))
        slow[-1].sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ")
    try:
        began = time.monotonic()
        assert [watched.ask("livez").status for _ in range(5)] == [200] * 5
        assert watched.metrics()
        assert time.monotonic() - began < IDLE_S  # when the first of them are closed
    finally:
        for one in slow:
            one.close()


def test_commands_are_refused_unless_they_are_allowed(watched: Watched) -> None:
    for verb in ("scale", "reload", "stop"):
        answer = watched.ask(f"api/{verb}", {})
        assert answer.status == 403
        assert "monitor.allow_control = true" in answer.text
    assert "Thresher-Control" not in watched.ask("api/status").headers


def test_what_is_no_request_harms_nobody(watched: Watched) -> None:
    long = b"x" * 20_000
    for junk in (b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + long + b" HTTP/1.1\r\n\r\n",
                 b"GET / HTTP/1.1\r\nA: " + long + b"\r\n\r\n"):
        with closing(connect(watched.url, "livez")) as connection:
            connection.sendall(junk)
            while connection.recv(4096):
                pass
    assert watched.ask("livez").status == 200
    assert "Traceback" not in watched.output()


@pytest.mark.parametrize(("line", "status"), [
    ("GET /static/a%00.js", 404), ("GET /static/\udcff.js", 400), ("GET /api/letters?reason=\udcff", 400),
    (f"GET /api/letters?limit={'9' * 5000}", 400), ("GET /api/letters?limit=%C2%B2", 400),
    ("HEAD /api/letters?limit=1", 200)])
def test_a_request_that_means_nothing_is_no_fault_of_the_monitors(watched: Watched, line: str, status: int) -> None:
    assert _status_of(watched.url, line) == status
    assert "Traceback" not in watched.output()


def test_a_number_of_happenings_that_nobody_has_counted_to_is_one(watched: Watched) -> None:
    with closing(Listening(watched.url, "9" * 5000)) as stream:
        assert stream.until("status")


def _status_of(url: str, line: str, headers: str = "", body: bytes = b"") -> int:
    """The status of the answer to a request that is made by hand."""
    where = urlsplit(url)
    with closing(socket.create_connection((where.hostname, where.port), SOON_S)) as connection:
        headers += "".join(f"{name}: {value}\r\n" for name, value in shown(url).items())
        head = f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        connection.sendall(head.encode(errors="surrogateescape") + body)
        with connection.makefile("rb") as answer:
            return int(answer.readline().split()[1])


def test_the_run_says_where_its_monitor_is(watched: Watched) -> None:
    assert stat.S_IMODE(url_file(watched.state).stat().st_mode) == 0o600
    token = url_file(watched.state).with_name("monitor.token")
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() not in watched.output()
    assert {"event": "monitor", "url": watched.url, "token_file": str(token)} in [
        json.loads(line) for line in watched.output().splitlines() if line.startswith("{")]


# Streams ----------------------------------------------------------------------------------------------------------


def test_a_stream_has_every_look_and_what_happens_and_takes_up_where_it_was(tmp_path: Path) -> None:
    with Watched(tmp_path) as running:
        with closing(Listening(running.url)) as stream:
            assert "text/event-stream" in stream.head
            running.put("more.txt", 500)
            stream.until("status", _has_read(602))
            kill(running.views()["parser.1"].pid)
            died = stream.until("happening", lambda happening: happening["kind"] == "died")
            assert json.loads(died["data"])["text"].startswith("parser.1 died (signal SIGKILL)")
        eventually(lambda: running.metrics().get(
            ("thresher_actor_restarts_total", frozenset({("actor", "parser.1"), ("cause", "signal SIGKILL")}))) == 1,
            "a restart")
        with closing(Listening(running.url, str(int(died["id"]) - 1))) as again:
            assert again.until("happening")["id"] == died["id"]


def test_counters_go_on_when_their_actor_dies(tmp_path: Path) -> None:
    labels = {"actor": "writer.store", "stage": "writer"}
    with Watched(tmp_path) as running:
        before = eventually(lambda: (found := running.metrics()).get(
            ("thresher_actor_records_total", frozenset(labels.items())), 0) >= 100 and found, "100 records")
        kill(running.views()["writer.store"].pid)
        running.put("more.txt", 500)
        after = eventually(lambda: value(found := running.metrics(), "thresher_records_total", outcome="written",
                                         sink="store") == 600 and found, "600 records")
    for key, number in before.items():
        if key[0].endswith("_total"):
            assert after[key] >= number, key
    assert value(after, "thresher_actor_records_total", **labels) >= 600


def _has_read(records: int) -> Callable[[Any], bool]:
    return lambda status: bool(status["snapshot"]["outcomes"].get("read", 0) == records)


def test_clients_that_do_not_read_hold_up_nobody_and_are_bounded(tmp_path: Path) -> None:
    with Watched(tmp_path, "monitor.max_streams=3") as running:
        deaf = [connect(running.url, "api/events") for _ in range(2)]
        with closing(Listening(running.url)) as stream:
            eventually(lambda: running.ask("api/events").status == 503, "no more streams")
            assert "monitor.max_streams" in running.ask("api/events").text
            for number in range(8):
                running.put(f"more{number}.txt", 10)
                stream.until("status", _has_read(112 + 10 * number))
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        running.wait()
        assert time.monotonic() - began < SOON_S
        for connection in deaf:
            connection.close()
    assert assert_counts_add_up(tmp_path / "state")["read"] == 182
    assert running.of("died") == []


def test_the_library_closes_a_connection_that_never_says_anything() -> None:
    async def closed() -> bytes:
        runner = web.AppRunner(web.Application(), keepalive_timeout=0.1)
        await runner.setup()
        assert runner.server is not None
        server = await asyncio.get_running_loop().create_server(runner.server, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        said = await asyncio.wait_for(reader.read(), SOON_S)
        writer.close()
        server.close()
        await runner.cleanup()
        return said

    assert asyncio.run(closed()) == b"", "else a few hundred of them keep everybody out"


def test_open_streams_are_told_the_end(tmp_path: Path) -> None:
    with Watched(tmp_path) as running, closing(Listening(running.url)) as stream:
        stream.until("status", _has_read(102))
        running.process.send_signal(signal.SIGTERM)
        stream.until("end", lambda data: data == {})
        running.wait()
    assert not url_file(running.state).exists()


# The token, commands ----------------------------------------------------------------------------------------------


def test_a_token_that_is_given_is_the_one_and_a_browser_shows_it_once(tmp_path: Path) -> None:
    with Watched(tmp_path, f"monitor.token_secret={TOKEN}") as running:
        assert running.ask("metrics", Authorization="").status == 401
        assert running.ask("metrics", Authorization=f"Bearer {TOKEN}x").status == 401
        assert running.ask("metrics", Authorization=f"Bearer {TOKEN}", Host="any.example").status == 200
        assert entry_of(running.state) == f"{running.url}?token={quote(TOKEN)}"
        entered = ask(entry_of(running.state), Authorization="")
        assert (entered.status, entered.headers["Location"]) == (303, "/")
        cookie, *attributes = entered.headers["Set-Cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict"} <= set(attributes)
        assert TOKEN not in cookie
        assert running.ask("metrics", Authorization="", Cookie=cookie).status == 200
        assert TOKEN not in running.output()


def test_who_sits_at_a_terminal_is_shown_an_address_that_lets_a_browser_in(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one value\n")
    words = ["run", "tests.pipelines.treacherous", str(tmp_path), "--follow", "--monitor", "--set", "monitor.port=0"]
    with Screen(*words, "--state", str(tmp_path / "state"), columns=60) as screen:
        (url,) = re.findall(r"dashboard: (\S+)\n", screen.until(lambda text: "dashboard: " in text, "an address"))
        assert url == entry_of(tmp_path / "state")
        assert ask(url, Authorization="").status == 303
        screen.press(b"\x03")
        assert screen.wait() == 0


def test_commands_are_carried_out_when_they_are_allowed_and_come_from_the_page(tmp_path: Path) -> None:
    with Watched(tmp_path, "monitor.allow_control=true") as running:
        page = running.url.rstrip("/")
        assert running.ask("api/status").headers["Thresher-Control"] == "allowed"
        for headers, status in (({"Content_Type": "text/plain"}, 415), ({"Origin": "http://evil.example"}, 403),
                                ({"Sec_Fetch_Site": "cross-site"}, 403)):
            assert running.ask("api/stop", {}, **headers).status == status
        assert running.ask("api/scale", {"pool": "parser"}).text == 'expected {"pool": "parser", "workers": 3}\n'
        refused = running.ask("api/scale", {"pool": "reader", "workers": 2})
        assert (refused.status, refused.json) == (
            409, {"ok": False, "text": "expected one of the pools parser, got 'reader'"})
        deep = b"[" * 10_000
        head = f"Content-Type: application/json\r\nContent-Length: {len(deep)}\r\n"
        assert _status_of(running.url, "POST /api/scale", head, deep) == 400
        done = running.ask("api/scale", {"pool": "parser", "workers": 3}, Origin=page, Sec_Fetch_Site="same-origin")
        assert done.json == {"ok": True, "text": "parser: 3 workers from now on"}
        running.until(lambda views: views.get("parser.3") is not None and bool(views["parser.3"].pid), "three workers")
        assert running.ask("api/reload", {}).json["ok"]
        assert running.ask("api/stop", {}, Origin=page).json["text"].startswith("draining")
        running.wait()
    assert [event["workers"] for event in running.of("scaled")] == [3]


def test_a_drawing_that_takes_for_ever_keeps_no_run_from_being_stopped(tmp_path: Path) -> None:
    with Watched(tmp_path, "monitor.allow_control=true", pipeline="stuck_panel") as running:
        eventually(lambda: running.ask("api/status").json["snapshot"]["outcomes"].get("read") == 102, "102 records")
        with closing(connect(running.url, "api/panel")) as waiting:
            waiting.settimeout(0.5)
            with pytest.raises(TimeoutError):
                waiting.recv(1)
            assert len(running.ask("api/letters").json["letters"]) == 2
            head = "Content-Type: application/json\r\nContent-Length: 0\r\n"
            assert _status_of(running.url, "POST /api/stop", head) == 200
            running.wait()


# Deaths, ports ----------------------------------------------------------------------------------------------------


def test_a_killed_monitor_is_back_at_the_same_address_and_the_run_goes_on(tmp_path: Path) -> None:
    with Watched(tmp_path) as running:
        url = running.url
        for again in range(2):
            pid = eventually(lambda: running.ask("livez") and running.views()["monitor.1"].pid, "a monitor")
            kill(pid)
            running.put(f"more{again}.txt", 100)
            running.until(partial(_has_another_monitor, pid), "another monitor")
            eventually(lambda: ask(f"{url}livez").status == 200, "an answer")
        eventually(lambda: running.ask("api/status").json["snapshot"]["outcomes"]["written"] == 300, "300 records")
        running.process.send_signal(signal.SIGTERM)
        running.wait()
    assert {event["actor"] for event in running.of("died")} == {"monitor.1"}
    assert assert_counts_add_up(tmp_path / "state")["read"] == 302


def _has_another_monitor(pid: int, views: Views) -> bool:
    return views["monitor.1"].pid not in (0, pid)


def test_a_port_that_is_in_use_is_said_and_waited_for(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as other, Watched(tmp_path, port=port) as running:
        running.until(lambda views: views["writer.store"].records >= 100, "100 records")
        eventually(lambda: '"died"' in running.output(), "a death")
        other.close()
        eventually(lambda: ask(f"http://127.0.0.1:{port}/livez").status == 200, "an answer")
        assert f"monitor.1: port {port} of 127.0.0.1 is in use" in running.output()
        assert "set monitor.port to another port" in running.output()
        assert "Traceback" not in running.output()


def test_a_server_that_is_down_makes_a_run_not_ready_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"idfa\tx\t1.5\t2.5\t1,2\n")
    down = free_port()
    sets = [f"sinks.idfa.server=127.0.0.1:{down}", "sinks.idfa.type=memcached", "run.max_outage_s=100",
            "monitor.enabled=true", "monitor.port=0"]
    with Load(tmp_path / "*.tsv", tmp_path / "state", *sets) as running:
        url = url_of(running.state)
        refused = eventually(lambda: "waits" in (answer := ask(f"{url}readyz")).text and answer,
                             "a writer that waits")
        assert refused.text.startswith(f"writer.idfa waits: memcached 127.0.0.1:{down}")
        assert ask(f"{url}livez").status == 200
        assert ask(f"{url}startupz").status == 200


def test_without_the_extra_nothing_is_started(tmp_path: Path) -> None:
    missing = ("import importlib.util, sys; found = importlib.util.find_spec; importlib.util.find_spec = "
               "lambda name, *rest: None if name == 'aiohttp' else found(name, *rest); "
               "from actors.cli import main; sys.exit(main(sys.argv[1:]))")
    for words in (["run", "appsinstalled", "--monitor"], ["lint", "appsinstalled", "--set", "monitor.enabled=true"]):
        done = subprocess.run([sys.executable, "-c", missing, *words], cwd=ROOT, capture_output=True, text=True,
                              timeout=240, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert done.returncode == 78
        assert done.stderr == (
            "monitor.enabled needs aiohttp: pip install 'aiohttp>=3.14.4' 'prometheus-client>=0.20'\n")


def test_a_short_run_with_a_monitor_ends_as_soon_as_its_input(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"idfa\tx\t1.5\t2.5\t1,2\n")
    with Load(tmp_path / "*.tsv", tmp_path / "state", "monitor.enabled=true", "monitor.port=0") as running:
        assert running.wait() == 0
    assert list(lmdb_stores(tmp_path / "state")["idfa"]) == [b"idfa:x"]
