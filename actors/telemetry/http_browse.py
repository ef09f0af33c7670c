"""What is answered for the page of an application's own (``Pipeline.browse``), and the page alone where no run goes on.

    /browse                                                      the page
    /api/browse                                                  what it is called
    /api/browse/items?first=MS&last=MS&within=NAME&after=NEXT    the items of a period, the newest ones
    /api/browse/charts?id=ID                                     the charts of one

Whoever clicks waits for it, so it takes up to a quarter of the time of a processor, where the monitor's other answers
take a twentieth. The same question within the rest is answered with the same bytes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any

from aiohttp import web

from actors.runtime.browse import Look
from actors.runtime.manifest import Manifest
from actors.telemetry.browsing import Browsing
from actors.telemetry.doorman import Doorman
from actors.telemetry.guard import Guard, Refused
from actors.telemetry.http_gate import Gate, file_answer, json_answer, places, refusal, serve_site
from actors.telemetry.paced import Paced
from actors.telemetry.pages import Pages

#: What is looked up rests three times as long as it took.
_REST, _LEAST_S = 3.0, 0.5
#: Most characters of a number, and of a text.
_DIGITS, _CHARS = 13, 1000


class BrowsePages:
    """Answers.

    Args:
        manifest: whose application, sinks and state it is.
        executor: whose one thread looks things up.
        is_run: whether a run goes on, with a dashboard.
    """

    def __init__(self, manifest: Manifest, executor: Executor, is_run: bool) -> None:
        self._browsing = Browsing(manifest, is_run)
        self._paced: Paced[bytes] = Paced(executor, _LEAST_S, _REST)
        self._pages = Pages()

    def add_routes(self, application: web.Application) -> None:
        """Answer for these paths."""
        for path, handler in (("/browse", self.page), ("/api/browse", self._about),
                              ("/api/browse/items", self._items), ("/api/browse/charts", self._charts)):
            application.router.add_get(path, handler)

    async def page(self, request: web.Request) -> web.Response:
        """The page itself."""
        return file_answer(request, self._pages.get("browse.html"))

    async def file(self, request: web.Request) -> web.Response:
        """What it is made of."""
        return file_answer(request, self._pages.get(request.match_info["name"]))

    async def _about(self, request: web.Request) -> web.Response:
        return json_answer(await self._paced.answer(None, self._browsing.about))

    async def _items(self, request: web.Request) -> web.Response:
        look = _look(request)
        if isinstance(look, Refused):
            return refusal(look)
        return json_answer(await self._paced.answer(look, partial(self._browsing.items, look)))

    async def _charts(self, request: web.Request) -> web.Response:
        item = request.query.get("id", "")
        if not 0 < len(item) <= _CHARS:
            return refusal(Refused(400, f"id: expected that of an item, got {len(item)} characters"))
        return json_answer(await self._paced.answer(item, partial(self._browsing.charts, item)))


def _look(request: web.Request) -> Look | Refused:
    """What a page asks for."""
    times: list[int | None] = []
    for name in ("first", "last"):
        said = request.query.get(name, "")
        if said and (not said.isdecimal() or not said.isascii() or len(said) > _DIGITS):
            return Refused(400, f"{name}: expected ms since 1970, got {said[:2 * _DIGITS]!r}")
        times.append(int(said) if said else None)
    words = [request.query.get(name, "") for name in ("within", "after")]
    if any(len(word) > _CHARS for word in words):
        return Refused(400, f"within, after: expected at most {_CHARS} characters")
    return Look(first=times[0], last=times[1], within=words[0], after=words[1])


class _Alone:
    """The page, and nothing else."""

    def __init__(self, pages: BrowsePages, guard: Guard, doorman: Doorman) -> None:
        self._pages, self._guard, self._doorman = pages, guard, doorman

    def application(self) -> web.Application:
        """The routes."""
        application = Gate(self._guard, self._doorman, lambda request: False, lambda request: False).application()
        application.router.add_get("/", self._pages.page)
        application.router.add_get("/static/{name}", self._pages.file)
        self._pages.add_routes(application)
        return application

    def chores(self) -> Iterable[Coroutine[Any, Any, None]]:
        """None."""
        return ()

    async def say_goodbye(self) -> None:
        """Nobody listens."""


async def serve_browse(manifest: Manifest, listening: socket.socket, token: str, stop: asyncio.Event,
                       is_up: Callable[[], None]) -> None:
    """Answer for the page alone, until ``stop`` is set.

    Args:
        manifest: whose application, sinks and state it is.
        listening: a socket that is bound.
        token: what has to be shown.
        stop: set in this event loop.
        is_up: called when connections are taken.
    """
    doorman = Doorman(places(0))
    guard = Guard(manifest.monitor, listening.getsockname()[1], token, manifest.run)
    executor = ThreadPoolExecutor(1, "browse")
    try:
        pages = BrowsePages(manifest, executor, is_run=False)
        await serve_site(_Alone(pages, guard, doorman), doorman, listening, stop, is_up)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
