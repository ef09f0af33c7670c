"""What all that is served over HTTP has in common: who is let in, how connections are bounded, how it ends.

    request ──Gate: doorman, guard, turns──▶ handler ──dress──▶ answer
    serve_site: takes connections, does chores, ends everything at once

See ``http`` for what is guaranteed.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol

from aiohttp import web

from actors.telemetry.doorman import SPARE, Doorman
from actors.telemetry.guard import Guard, Refused
from actors.telemetry.paced import Busy, Turns
from actors.telemetry.pages import Page

#: Most connections besides the event streams; longest header line, and longest body of a command.
MOST_CONNECTIONS, _LINE_BYTES, _BODY_BYTES = 512, 8190, 16 * 1024
#: Descriptors that the process needs for itself.
_OWN_DESCRIPTORS = 64
#: Most answers a second besides the probes', and most refusals: what they cost is bounded, whoever asks, and strangers
#: keep nobody else waiting; so many at once need not wait.
ANSWERS_PER_S, _BURST = 200.0, 100
#: Seconds after which a connection is closed that says nothing (before its first request, too: that is why no aiohttp
#: below 3.14.4 will do); longest time for the body of a command to come.
IDLE_S, BODY_S = 30.0, 10.0
#: Bytes that the kernel keeps for a client that reads slowly.
_SEND_BUFFER_BYTES = 64 * 1024
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin", "Server": "thresher"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gate:
    """Lets in who may come in, and turns what goes wrong into answers.

    Args:
        guard: who is answered.
        doorman: keeps places for them.
        is_open: whether a request is answered at once, whoever asks.
        is_harmless: whether a request is answered that shows no token, in its turn.
    """

    def __init__(self, guard: Guard, doorman: Doorman, is_open: Callable[[web.Request], bool],
                 is_harmless: Callable[[web.Request], bool]) -> None:
        self._guard = guard
        self._doorman = doorman
        self._is_open, self._is_harmless = is_open, is_harmless
        self._turns, self._strangers = Turns(ANSWERS_PER_S, _BURST), Turns(ANSWERS_PER_S, _BURST)

    def application(self) -> web.Application:
        """An application behind this gate, without routes."""
        @web.middleware
        async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._pass(request, handler)

        application = web.Application(middlewares=[gate], client_max_size=_BODY_BYTES)
        application.on_response_prepare.append(_dress)
        return application

    async def _pass(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._doorman.asked(request.transport)
        try:
            if self._is_open(request):
                return await handler(request)
            token = request.query.get("token") if request.path == "/" else None
            refused = (self._guard.look(request.headers, request.cookies) if token is None
                       else self._guard.enter(token))
            await (self._turns if refused is None else self._strangers).take()
            if refused is not None:
                return await handler(request) if self._is_harmless(request) else refusal(refused)
            with self._doorman.hold(request.transport):
                return await handler(request) if token is None else self._welcome()
        except web.HTTPException as error:
            headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
            return web.Response(status=error.status, text=f"{error.status}: {error.reason}\n", headers=headers)
        except Busy:
            return refusal(Refused(503, "too many wait for an answer: try again"))
        except TimeoutError:
            return refusal(Refused(408, f"expected the whole body within {BODY_S:g} s"))
        except ConnectionError:
            raise
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return web.Response(status=500, text="500: the monitor has a fault; its output says more\n")

    def _welcome(self) -> web.Response:
        """Give a browser the cookie that stands for the token."""
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(self._guard.cookie_name, self._guard.cookie, httponly=True, samesite="Strict", path="/")
        return answer


class Site(Protocol):
    """What is served."""

    def application(self) -> web.Application:
        """The routes."""
        ...

    def chores(self) -> Iterable[Coroutine[Any, Any, None]]:
        """What goes on whether anybody asks or not."""
        ...

    async def say_goodbye(self) -> None:
        """Tell who still listens that this is the end."""
        ...


async def serve_site(site: Site, doorman: Doorman, listening: socket.socket, stop: asyncio.Event,
                     is_up: Callable[[], None]) -> None:
    """Answer until ``stop`` is set, or a chore fails; then end all connections at once, whatever clients do."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)  # clients come and go as they like
    runner = web.AppRunner(
        site.application(), access_log=None, logger=_quiet(), keepalive_timeout=IDLE_S, max_line_size=_LINE_BYTES,
        max_field_size=_LINE_BYTES, lingering_time=1.0, auto_decompress=False)
    await runner.setup()
    assert runner.server is not None
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    server = await loop.create_server(doorman.of(runner.server), sock=listening, backlog=256)
    chores = [asyncio.create_task(chore) for chore in (*site.chores(), doorman.sweep())]
    is_up()
    ended = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({ended, *chores}, return_when=asyncio.FIRST_COMPLETED)
    server.close()
    for chore in chores:
        chore.cancel()
    await site.say_goodbye()
    doorman.throw_out()
    for task in done - {ended}:
        task.result()  # raises what has ended it


def places(most_streams: int) -> int:
    """How many connections there may be: fewer than descriptors, or those who connect are not even answered."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(SPARE, min(MOST_CONNECTIONS + most_streams, limit - _OWN_DESCRIPTORS - SPARE))


def refusal(refused: Refused) -> web.Response:
    """No, in words."""
    headers = {401: {"WWW-Authenticate": 'Bearer realm="thresher"'}, 503: {"Retry-After": "5"}}.get(refused.status)
    return web.Response(status=refused.status, text=f"{refused.text}\n", headers=headers)


def json_answer(data: bytes, status: int = 200) -> web.Response:
    """JSON that is there already."""
    return web.Response(body=data, status=status, content_type="application/json")


def file_answer(request: web.Request, page: Page | None) -> web.Response:
    """A file; a browser may keep it, and asks each time whether it is still the same.

    Raises:
        HTTPNotFound: there is no such file.
    """
    if page is None:
        raise web.HTTPNotFound
    headers = {"ETag": f'"{page.etag}"', "Cache-Control": "no-cache"}
    if f'"{page.etag}"' in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=page.data, headers={**headers, "Content-Type": page.kind})


async def _dress(request: web.Request, answer: web.StreamResponse) -> None:
    answer.headers.update(_HEADERS)
    answer.headers.setdefault("Cache-Control", "no-store")


def _quiet() -> logging.Logger:
    """What strangers send is no news of the run."""
    logger = logging.getLogger("thresher.monitor.http")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
