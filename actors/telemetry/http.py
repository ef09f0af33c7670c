"""The monitor's HTTP server; it and what is called ``http_…`` alone know aiohttp. See docs/operations.md for the paths.

    request ──guard──▶ handler ──▶ something that is there already: the last look, a file, a kept answer

Guarantees:

* However many ask, the run is looked at once per interval; the answers to all are the same bytes.
* Without the token of the run nobody reads or commands anything.
* A client that does not read costs a few kilobytes, and its connection is closed after a while. Connections,
  streams, headers, bodies and answers a second are bounded, so whoever may connect can make the monitor slow for others
  at most.
* Probes are judged from the board as it is now, and ask for no token: an orchestrator has none. There is always a place
  for one: see ``doorman``.

What does not work: aiohttp's own shutdown (it waits for handlers, so a stream would hold up the end of the run);
closing a stalled connection (a transport that has something to send closes when it is sent: it has to be aborted);
answering probes from the last look (a look that takes long would make a run look dead).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from actors.runtime import asking, rundir
from actors.runtime.board import BoardReader
from actors.runtime.manifest import Manifest
from actors.telemetry import letters, readiness
from actors.telemetry.doorman import Doorman
from actors.telemetry.guard import Guard, Refused
from actors.telemetry.history import History
from actors.telemetry.http_browse import BrowsePages
from actors.telemetry.http_gate import BODY_S, Gate, file_answer, json_answer, places, refusal, serve_site
from actors.telemetry.http_panels import PanelPages, has_gone, too_many
from actors.telemetry.looks import Looks
from actors.telemetry.metrics import CONTENT_TYPE, Metrics
from actors.telemetry.paced import Paced
from actors.telemetry.pages import Pages
from actors.telemetry.readiness import Verdict
from actors.telemetry.streams import HEAD, Streams

#: Most digits of a number in a query.
_DIGITS = 9
#: Seconds that a view of the board serves for probes; for the last look; for what is said at the end to leave.
_BOARD_S, _LAST_S, _LEAVE_S = 0.1, 0.15, 1.0
_PROBES = ("/livez", "/readyz", "/startupz")
_NO_PAGE = ("The dashboard's page is not installed. What is: /metrics, /api/status, /api/events, the probes /livez, "
            "/readyz and /startupz.\n")


class _Helpers(NamedTuple):
    """A thread for each kind of work: a drawing that takes for ever keeps neither letters nor commands waiting."""

    look: Executor
    read: Executor
    draw: Executor
    browse: Executor
    command: Executor


async def serve(manifest: Manifest, listening: socket.socket, stop: asyncio.Event, is_up: Callable[[], None]) -> None:
    """Answer until ``stop`` is set; then end all connections at once, whatever clients do.

    Args:
        manifest: of the run that is shown.
        listening: a socket that is bound.
        stop: set in this event loop.
        is_up: called when connections are taken.
    """
    helpers = _Helpers(*(ThreadPoolExecutor(1, name) for name in _Helpers._fields))
    doorman = Doorman(places(manifest.monitor.max_streams))
    token = (rundir.path_for(Path(manifest.state)) / rundir.MONITOR_TOKEN).read_text(encoding="utf-8")
    guard = Guard(manifest.monitor, listening.getsockname()[1], token, manifest.run)
    site = _Site(manifest, guard, doorman, helpers)
    try:
        await serve_site(site, doorman, listening, stop, is_up)
    finally:
        for helper in helpers:
            helper.shutdown(wait=False, cancel_futures=True)


class _Site:
    """What is answered.

    Args:
        manifest: of the run.
        guard: who is answered.
        doorman: keeps places for them.
        helpers: who does what takes long.
    """

    def __init__(self, manifest: Manifest, guard: Guard, doorman: Doorman, helpers: _Helpers) -> None:
        self._guard = guard
        self._doorman = doorman
        self._commands = helpers.command
        self._run_dir = rundir.path_for(Path(manifest.state))
        self._board = BoardReader(self._run_dir / rundir.BOARD)
        self._verdicts: tuple[float, dict[str, Verdict]] = (0.0, {})
        self._history = History()
        self._metrics = Metrics([sink for sink in manifest.sinks if sink not in manifest.emit_sinks])
        self._most_streams = manifest.monitor.max_streams
        self._streams = Streams()
        self._answering = 0
        self._looks = Looks(self._run_dir, manifest.monitor.interval_s, helpers.look,
                            (lambda look: self._history.take(look.status.snapshot), self._metrics.take,
                             self._streams.take))
        self._letters: Paced[bytes] = Paced(helpers.read)
        self._store = letters.store_of(manifest)
        self._panels = PanelPages(manifest, guard, helpers.draw, self._streams.here)
        self._browse = BrowsePages(manifest, helpers.browse, is_run=True)
        self._pages = Pages()

    def application(self) -> web.Application:
        """The routes."""
        application = Gate(self._guard, self._doorman, lambda request: request.path in _PROBES,
                           self._panels.is_preflight).application()
        for path in _PROBES:
            application.router.add_get(path, self._probe)
        for path, handler in (
                ("/metrics", self._answer_metrics), ("/api/status", self._answer_status),
                ("/api/history", self._answer_history), ("/api/letters", self._answer_letters),
                ("/api/letters/reasons", self._answer_reasons), ("/", self._index), ("/static/{name}", self._file)):
            application.router.add_get(path, handler)
        application.router.add_get("/api/events", self._events, allow_head=False)
        for verb in ("scale", "reload", "stop"):
            application.router.add_post(f"/api/{verb}", partial(self._command, verb))
        self._panels.add_routes(application)
        self._browse.add_routes(application)
        return application

    def chores(self) -> tuple[Any, ...]:
        """What goes on whether anybody asks or not."""
        return self._looks.run(), self._streams.beat(), self._panels.draw(), self._panels.beat()

    async def say_goodbye(self) -> None:
        """Send a last look to the streams, if that is quick; wait, not for long, until who listens has what is said and
        who has said "stop" is answered."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._looks.once(), _LAST_S)
        self._streams.end()
        self._panels.streams.end()
        waited = 0.0
        while (self._answering or self._streams.are_open or self._panels.streams.are_open) and waited < _LEAVE_S:
            await asyncio.sleep(0.01)
            waited += 0.01

    # Probes -------------------------------------------------------------------------------------------------------

    async def _probe(self, request: web.Request) -> web.Response:
        now = time.monotonic()
        if now >= self._verdicts[0]:
            run, views = self._board.run(), self._board.views()
            self._verdicts = (now + _BOARD_S, dict(zip(_PROBES, (
                readiness.live(run), readiness.ready(run, views), readiness.started(run, views)), strict=True)))
        verdict = self._verdicts[1][request.path]
        return web.Response(status=200 if verdict.ok else 503,
                            text="".join(f"{reason}\n" for reason in verdict.reasons or ["ok"]))

    # What is shown ------------------------------------------------------------------------------------------------

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        await self._look()
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _answer_status(self, request: web.Request) -> web.Response:
        await self._look()
        assert self._looks.last is not None
        answer = json_answer(self._looks.last.json)
        if self._guard.allows_control:
            answer.headers["Thresher-Control"] = "allowed"  # so that a page knows whether to show the buttons
        return answer

    async def _answer_history(self, request: web.Request) -> web.Response:
        return json_answer(msgspec.json.encode(self._history.columns()))

    async def _answer_letters(self, request: web.Request) -> web.Response:
        reason, limit = request.query.get("reason", ""), request.query.get("limit", "50")
        if not limit.isdecimal() or len(limit) > _DIGITS or not 1 <= int(limit) <= letters.MOST:
            return refusal(Refused(400, f"limit: expected 1 to {letters.MOST}, got {limit[:_DIGITS + 1]!r}"))
        return json_answer(await self._letters.answer(
            (reason, limit), lambda: msgspec.json.encode(letters.newest(self._store, reason, int(limit)))))

    async def _answer_reasons(self, request: web.Request) -> web.Response:
        return json_answer(await self._letters.answer(None, lambda: msgspec.json.encode(letters.reasons(self._store))))

    async def _look(self) -> None:
        if await self._looks.first() is None:
            raise web.HTTPServiceUnavailable(reason=" ".join(self._looks.problem.split()))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self._streams.here() + self._panels.streams.here() >= self._most_streams:
            return too_many(self._most_streams)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        with self._streams.open(request.headers.get("Last-Event-ID", ""), partial(has_gone, request)) as stream:
            await answer.prepare(request)
            await answer.write(HEAD)
            while not stream.is_over:
                await answer.write(await stream.next())
        return answer

    # Commands -----------------------------------------------------------------------------------------------------

    async def _command(self, verb: str, request: web.Request) -> web.Response:
        refused = self._guard.command(request.headers)
        if refused is not None:
            return refusal(refused)
        arguments = _arguments(verb, await asyncio.wait_for(request.read(), BODY_S))
        if isinstance(arguments, Refused):
            return refusal(arguments)
        self._answering += 1
        try:
            reply = await asyncio.get_running_loop().run_in_executor(
                self._commands, partial(asking.ask, self._run_dir, verb, *arguments))
            data = msgspec.json.encode({"ok": reply.ok, "text": reply.text})
            answer = json_answer(data, 200 if reply.ok else 409)
            await answer.prepare(request)
            await answer.write_eof()  # here, because a run that was told to stop may be over soon, and we with it
        finally:
            self._answering -= 1
        return answer

    # The page -----------------------------------------------------------------------------------------------------

    async def _index(self, request: web.Request) -> web.Response:
        page = self._pages.get("index.html")
        return file_answer(request, page) if page is not None else web.Response(text=_NO_PAGE)

    async def _file(self, request: web.Request) -> web.Response:
        return file_answer(request, self._pages.get(request.match_info["name"]))


def _arguments(verb: str, body: bytes) -> tuple[str, ...] | Refused:
    """What is said to the supervisor besides the verb."""
    try:
        said = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, RecursionError) as error:
        return Refused(400, f"expected JSON: {error}")
    if verb != "scale":
        return ()
    match said:
        case {"pool": str(pool), "workers": int(workers)} if not isinstance(workers, bool):
            return pool, str(workers)
    return Refused(400, 'expected {"pool": "parser", "workers": 3}')
