"""``thresher browse``: the page that a pipeline has for what it has stored, in a browser, whether a run goes on or not.

    thresher browse ascp                      serve it on this machine until Ctrl-C; open the address that it shows
    thresher browse ascp --port 8690

It listens on the loopback address alone, and wants a token (decision 0021): a terminal is shown the address with it,
anything else the file that has it. Nothing is written where the pipeline keeps its state, and no run is disturbed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from actors.runtime.errors import ConfigError
from actors.runtime.extras import how_to_install, is_installed
from actors.settings import Settings

_DONE, _FAILURE = 0, 1
_HOST = "127.0.0.1"
_TOKEN_BYTES = 24


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what can be said."""
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. sinks.events.path=DIR")
    parser.add_argument("--state", metavar="DIR", help="where the run keeps its state; default: var/NAME")
    parser.add_argument("--port", type=_port, default=0, help="of 127.0.0.1; default: any that is free")


def main(options: argparse.Namespace) -> int:
    """Serve the page until told to stop; return the exit code.

    Raises:
        ConfigError: the pipeline has no page, or a library is missing.
    """
    from actors.console.inputs import settings_from

    settings = settings_from(options)
    if settings.pipeline.browse is None:
        raise ConfigError(f"{options.target}: {settings.pipeline.name} has no page to look at: docs/questions.md shows "
                          "how it is asked, and how a page is given")
    if not is_installed("aiohttp"):
        raise ConfigError(f"browse needs aiohttp: {how_to_install('monitor')}")
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with bound, tempfile.TemporaryDirectory(prefix="thresher-browse-") as folder:
        try:
            bound.bind((_HOST, options.port))
        except OSError as error:
            print(f"port {options.port} of {_HOST}: {(error.strerror or str(error)).lower()}: choose another, or none",
                  file=sys.stderr)
            return _FAILURE
        asyncio.run(_serve(settings, bound, Path(folder)))
    return _DONE


async def _serve(settings: Settings, bound: socket.socket, folder: Path) -> None:
    from actors.telemetry.http_browse import serve_browse

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    token = settings.manifest.monitor.token_secret or secrets.token_urlsafe(_TOKEN_BYTES)
    bound.listen()
    await serve_browse(settings.manifest, bound, token, stop, _shown(bound, token, folder))


def _shown(bound: socket.socket, token: str, folder: Path) -> Callable[[], None]:
    """What says where the page is, once it is there."""
    url = f"http://{_HOST}:{bound.getsockname()[1]}/"

    def say() -> None:
        if sys.stdout.isatty():
            from urllib.parse import quote

            print(f"{url}?token={quote(token, safe='')}\nCtrl-C ends it", flush=True)
            return
        path = folder / "browse.token"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(token)
        print(f"{url} with the token in {path}", flush=True)

    return say


def _port(text: str) -> int:
    if not (text.isdecimal() and text.isascii()) or len(text) > 5 or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"expected a port, got {text!r}")
    return int(text)
