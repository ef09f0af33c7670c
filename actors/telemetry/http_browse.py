"""What is answered for the page of an application's own (``Pipeline.browse``), besides the page itself.

    /api/browse                            what it is called
    /api/browse/items?first=MS&last=MS     the items of a period, the newest ones
    /api/browse/charts?id=ID               the charts of one

Whoever clicks waits for it, so it takes up to a quarter of the time of a processor that is idle, where the monitor's
other answers take a twentieth. The same question within the rest is answered with the same bytes.
"""

from __future__ import annotations

from concurrent.futures import Executor
from functools import partial

from aiohttp import web

from actors.runtime.manifest import Manifest
from actors.telemetry.browsing import Browsing
from actors.telemetry.paced import Paced

#: What is looked up rests three times as long as it took.
_REST, _LEAST_S = 3.0, 0.5
#: Most characters of a number, and of an id.
_DIGITS, _ID_CHARS = 13, 1000


class BrowsePages:
    """Answers.

    Args:
        manifest: whose application, sinks and state it is.
        executor: whose one thread looks things up.
    """

    def __init__(self, manifest: Manifest, executor: Executor) -> None:
        self._browsing = Browsing(manifest)
        self._paced: Paced[bytes] = Paced(executor, _LEAST_S, _REST)

    def add_routes(self, application: web.Application) -> None:
        """Answer for these paths."""
        for path, handler in (("/api/browse", self._about), ("/api/browse/items", self._items),
                              ("/api/browse/charts", self._charts)):
            application.router.add_get(path, handler)

    async def _about(self, request: web.Request) -> web.Response:
        return _json(await self._paced.answer(None, self._browsing.about))

    async def _items(self, request: web.Request) -> web.Response:
        period = []
        for name in ("first", "last"):
            said = request.query.get(name, "")
            if said and (not said.isdecimal() or not said.isascii() or len(said) > _DIGITS):
                return _bad(f"{name}: expected ms since 1970, got {said[:2 * _DIGITS]!r}")
            period.append(int(said) if said else None)
        first, last = period
        return _json(await self._paced.answer(("items", first, last), partial(self._browsing.items, first, last)))

    async def _charts(self, request: web.Request) -> web.Response:
        item = request.query.get("id", "")
        if not 0 < len(item) <= _ID_CHARS:
            return _bad(f"id: expected that of an item, got {len(item)} characters")
        return _json(await self._paced.answer(("charts", item), partial(self._browsing.charts, item)))


def _bad(text: str) -> web.Response:
    return web.Response(status=400, text=f"{text}\n")


def _json(data: bytes) -> web.Response:
    return web.Response(body=data, content_type="application/json")
