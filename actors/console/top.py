"""``thresher top``: watch a run that is going on, until it ends or one has seen enough.

On a terminal the screen is drawn anew twice a second, and what it showed last stays there in the end. Elsewhere (a
pipe, a dumb terminal) one frame is printed, of two looks, since rates take two.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from actors.console import command
from actors.console.commandline import running_options
from actors.console.frame import Line, frame, plain
from actors.console.history import read_record
from actors.runtime import procfs
from actors.runtime.errors import ConfigError
from actors.runtime.whole_lines import as_is
from actors.telemetry.model import Status
from actors.telemetry.watcher import Watcher

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Seconds between two looks: on a screen, and for one answer.
_SCREEN_S, _ANSWER_S = 0.5, 1.0
#: So long is waited for the report of a run that has ended.
_REPORT_S = 3.0
#: Width of what is printed elsewhere, unless COLUMNS says another.
_PIPE_COLUMNS = 120


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said to ``thresher top``."""
    running_options(parser)
    parser.add_argument("--once", action="store_true", help="print one frame and end, also on a terminal")
    parser.add_argument("--json", action="store_true", help="print one status as JSON and end")
    parser.add_argument("--interval", type=_interval, metavar="S", default=0.0, help="seconds between two looks; "
                        f"default: {_SCREEN_S:g} on a terminal, else {_ANSWER_S:g}")


def main(options: argparse.Namespace) -> int:
    """Do it; return the exit code."""
    state = _state(options)
    watcher = _watcher(state, is_one=options.json or options.once or not _is_screen())
    with contextlib.closing(watcher):
        if options.json:
            print(msgspec.json.encode(_two_looks(watcher, options.interval)).decode())
        elif options.once or not _is_screen():
            size = shutil.get_terminal_size((_PIPE_COLUMNS, 0))
            print(plain(frame(_two_looks(watcher, options.interval), size.columns)))
        else:
            _watch(watcher, state, options.interval or _SCREEN_S)
    return 0


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600.0:
        raise argparse.ArgumentTypeError(f"expected seconds from 0.1 to 3600, got {text!r}")
    return seconds


def _state(options: argparse.Namespace) -> Path:
    if options.target is not None:
        from actors.console.inputs import settings_from

        return Path(settings_from(options).manifest.state)
    return command.only_run() if options.state is None else Path(options.state)


def _watcher(state: Path, is_one: bool) -> Watcher:
    run_dir = command.run_directory(state)
    try:
        return Watcher(run_dir, 0.0) if is_one else Watcher(run_dir)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the run with the state directory {state} cannot be looked at: {error}: "
                          "it has just begun or ended, or is of another version of Thresher") from error


def _is_screen() -> bool:
    if not sys.stdout.isatty():
        return False
    from rich.console import Console

    return not Console().is_dumb_terminal


def _two_looks(watcher: Watcher, interval: float) -> Status:
    """Look twice; of a run that ends in between there is the first look."""
    try:
        status = watcher.status()
    except OSError as error:
        raise ConfigError(f"{error}: see it with `thresher report`") from error
    time.sleep(interval or _ANSWER_S)
    with contextlib.suppress(OSError):
        status = watcher.status()
    return status


def _watch(watcher: Watcher, state: Path, interval: float) -> None:
    """Draw until the run ends, or Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=as_is(sys.stdout), highlight=False)
    lines: list[Line] = []
    end = ""
    with (_terminated_as_interrupted(), contextlib.suppress(KeyboardInterrupt),
          Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live):
        while not end:
            try:
                status = watcher.status()
            except OSError:
                end = _how_it_ended(state, watcher.manifest.run)
            else:
                lines = frame(status, console.width, console.height)
                live.update(_drawn(lines), refresh=True)
                time.sleep(interval)
    console.print(_drawn(lines))
    if end:
        print(end)


def _drawn(lines: list[Line]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    return Group(*(Text(text, style=style, no_wrap=True, overflow="crop") for text, style in lines))


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """The terminal is to be left as it was, whichever way one is asked to go."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _how_it_ended(state: Path, run: str) -> str:
    """Say how a run has ended; its report is written only after its last process has gone."""
    deadline = time.monotonic() + _REPORT_S
    is_alive = True
    while is_alive and time.monotonic() < deadline:
        record = read_record(state)
        is_alive = record is not None and procfs.look(record.pid) is not None
        if record is not None and record.run == run and record.result is not None:
            result = record.result
            return f"the run ended with exit code {result.code} after {result.seconds:.1f} s: {result.reason}"
        time.sleep(0.05)
    return "the run has ended, and has left no report: `thresher status` says what is known"
