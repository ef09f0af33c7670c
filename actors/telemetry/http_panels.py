"""What the monitor answers about an application's panels.

    /api/panel                 for the dashboard: the panel and its past
    /api/panels                which there are
    /api/panels/NAME           the last drawings, for pages of one's own
    /api/panels/NAME/events    the same as an event stream

However many ask, it is drawn once per interval. Answers under ``/api/panels`` may be read by pages of other sites, if
``monitor.allow_origins`` names them; they only show, and ask for the token like all others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from actors.runtime.manifest import Manifest
from actors.runtime.panel import MAIN
from actors.telemetry.drawings import KEPT, Drawings
from actors.telemetry.feeds import Feed, FeedStreams, feeds_of
from actors.telemetry.guard import Guard
from actors.telemetry.paced import Busy, Paced
from actors.telemetry.streams import BEAT_S, HEAD

#: Where pages of other sites may read.
SHARED = "/api/panels"
#: Seconds between two drawings when nobody asks; for which a browser need not ask again whether it may read.
_DRAW_S, _PREFLIGHT_S = 10.0, 600
_DIGITS = 3


class _Drawn(NamedTuple):
    """All panels, as they were drawn at one time."""

    panel: bytes
    feeds: dict[str, Feed]


class PanelPages:
    """Draws, and answers.

    Args:
        manifest: of the run.
        guard: who may read.
        executor: whose one thread draws.
        others: how many other event streams are open.
    """

    def __init__(self, manifest: Manifest, guard: Guard, executor: Executor, others: Callable[[], int]) -> None:
        self._guard = guard
        self._others = others
        self._options = manifest.monitor
        self._drawings = Drawings(manifest)
        self._paced: Paced[_Drawn] = Paced(executor, manifest.monitor.interval_s / 2)
        self._is_asked = asyncio.Event()
        self.streams = FeedStreams()

    def add_routes(self, application: web.Application) -> None:
        """Answer for these paths."""
        router = application.router
        router.add_get("/api/panel", self._panel)
        router.add_get(SHARED, self._index)
        router.add_get(f"{SHARED}/{{name}}", self._feed)
        router.add_get(f"{SHARED}/{{name}}/events", self._events, allow_head=False)
        router.add_route("OPTIONS", f"{SHARED}{{path:(?:/.*)?}}", self._preflight)
        application.on_response_prepare.append(self._share)

    def is_preflight(self, request: web.Request) -> bool:
        """Whether a browser asks if a page that may read may show a token; it shows none itself."""
        return request.method == "OPTIONS" and _is_shared(request) and bool(self._guard.origin(request.headers))

    async def draw(self) -> None:
        """Draw now and then, so that there is something to look back at; as often as can be for those who follow."""
        while True:
            with contextlib.suppress(Busy):
                await self._drawn()
            if not self._drawings.has_panel:
                await asyncio.Event().wait()
            if self.streams.here():
                await asyncio.sleep(self._options.interval_s)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_asked.wait(), _DRAW_S)
            self._is_asked.clear()

    async def beat(self) -> None:
        """Send a sign of life to everybody who follows, until cancelled."""
        while True:
            await asyncio.sleep(BEAT_S)
            self.streams.beat()

    async def _drawn(self) -> _Drawn:
        drawn = await self._paced.answer(None, self._draw_all)
        self.streams.take(drawn.feeds)
        return drawn

    def _draw_all(self) -> _Drawn:
        drawn = self._drawings.draw_all()
        return _Drawn(msgspec.json.encode(drawn.get(MAIN, {"panel": None, "past": []})), feeds_of(drawn))

    async def _panel(self, request: web.Request) -> web.Response:
        return _json((await self._drawn()).panel)

    async def _index(self, request: web.Request) -> web.Response:
        feeds = (await self._drawn()).feeds
        return _json(msgspec.json.encode({"panels": [
            {"name": feed.name, "title": feed.title, "problem": feed.problem} for feed in feeds.values()]}))

    async def _feed(self, request: web.Request) -> web.Response:
        feeds = (await self._drawn()).feeds
        feed = feeds.get(request.match_info["name"])
        last = _last(request, KEPT)
        return _none_such(feeds) if feed is None else _bad_last() if last is None else _json(feed.json(last))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        feeds, name = (await self._drawn()).feeds, request.match_info["name"]
        last = _last(request, 1)
        if name not in feeds:
            return _none_such(feeds)
        if last is None:
            return _bad_last()
        if self.streams.here() + self._others() >= self._options.max_streams:
            return too_many(self._options.max_streams)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        with self.streams.open(name, last, partial(has_gone, request)) as stream:
            self._is_asked.set()
            await answer.prepare(request)
            await answer.write(HEAD)
            while not stream.is_over:
                await answer.write(await stream.next())
        return answer

    async def _preflight(self, request: web.Request) -> web.Response:
        if not self._guard.origin(request.headers):
            return web.Response(status=403, text="expected an origin that monitor.allow_origins names\n")
        return web.Response(status=204, headers={
            "Access-Control-Allow-Methods": "GET", "Access-Control-Allow-Headers": "Authorization",
            "Access-Control-Max-Age": str(_PREFLIGHT_S)})

    async def _share(self, request: web.Request, answer: web.StreamResponse) -> None:
        """Say which page of another site may read this."""
        if not _is_shared(request) or not self._options.allow_origins:
            return
        answer.headers["Vary"] = "Origin"
        if origin := self._guard.origin(request.headers):
            answer.headers["Access-Control-Allow-Origin"] = origin
            answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"


def has_gone(request: web.Request) -> bool:
    """Whether who has asked has hung up."""
    return request.transport is None or request.transport.is_closing()


def too_many(most: int) -> web.Response:
    """So many event streams are open already."""
    return web.Response(status=503, text=f"monitor.max_streams = {most} are open: close one of them\n",
                        headers={"Retry-After": "5"})


def _is_shared(request: web.Request) -> bool:
    return request.path == SHARED or request.path.startswith(f"{SHARED}/")


def _last(request: web.Request, default: int) -> int | None:
    """How many drawings are asked for; None: that is no number of drawings."""
    said = request.query.get("last", str(default))
    if not said.isdecimal() or len(said) > _DIGITS or not 1 <= int(said) <= KEPT:
        return None
    return int(said)


def _bad_last() -> web.Response:
    return web.Response(status=400, text=f"last: expected 1 to {KEPT}\n")


def _none_such(feeds: dict[str, Any]) -> web.Response:
    return web.Response(status=404, text=f"expected one of the panels {', '.join(feeds) or '(there are none)'}\n")


def _json(data: bytes) -> web.Response:
    return web.Response(body=data, content_type="application/json")
