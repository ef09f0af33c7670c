"""``thresher probe live|ready|startup``: the exit code is the answer, 0 for yes and 1 for no; for whoever starts runs.

It reads the board, so it costs the run nothing and gets its answer also from a run that hangs. It is called every few
seconds, so it imports next to nothing: an application only when TARGET names one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path

from actors.console.commandline import running_options
from actors.runtime import rundir
from actors.runtime.board import BoardReader
from actors.telemetry import readiness
from actors.telemetry.readiness import Verdict

YES, NO, USAGE = 0, 1, 2
#: Seconds between two tries of ``--timeout``.
_AGAIN_S = 0.1


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what can be said to ``thresher probe``."""
    parser.add_argument(
        "question", choices=("live", "ready", "startup"), metavar="live|ready|startup",
        help="live: its supervisor answers; ready: everybody is up and nobody waits for a server; "
             "startup: everybody has been ready once")
    running_options(parser)
    parser.add_argument("--timeout", type=_seconds, default=0.0, metavar="S",
                        help="ask again until the answer is yes, for at most so long; default: ask once")
    parser.add_argument("--json", action="store_true")


def main(options: argparse.Namespace) -> int:
    """Ask, say the answer in one line, return it as exit code.

    Raises:
        ConfigError: TARGET is wrong.
    """
    given = _state(options)
    deadline = time.monotonic() + options.timeout
    while True:
        states = _states() if given is None else [given]
        if len(states) > 1:
            print("more than one run is going on, say which with --state DIR:",
                  *(f"  {state}" for state in states), sep="\n", file=sys.stderr)
            return USAGE
        verdict = ask(options.question, states[0]) if states else Verdict(False, ["no run is going on"])
        if verdict.ok or time.monotonic() >= deadline:
            _say(options.question, verdict, options.json)
            return YES if verdict.ok else NO
        time.sleep(_AGAIN_S)


def ask(question: str, state: Path) -> Verdict:
    """Answer ``live``, ``ready`` or ``startup`` for the run of a state directory; no run at all is a no."""
    gone = Verdict(False, [f"no run is going on with the state directory {state}"])
    run_dir = rundir.find(state)
    if run_dir is None:
        return gone
    try:
        board = BoardReader(run_dir / rundir.BOARD)
    except (OSError, ValueError):  # it ended just now
        return gone
    with contextlib.closing(board):
        run = board.run()
        if question == "live":
            return readiness.live(run)
        judge = readiness.ready if question == "ready" else readiness.started
        return judge(run, board.views())


def _state(options: argparse.Namespace) -> Path | None:
    """Whose run is meant; None when nobody has said."""
    if options.target is not None:
        from actors.console.inputs import settings_from

        return Path(settings_from(options).manifest.state)
    return None if options.state is None else Path(options.state)


def _states() -> list[Path]:
    from actors.console.command import going_on

    return going_on()


def _say(question: str, verdict: Verdict, as_json: bool) -> None:
    fields = {"question": question, "ok": verdict.ok, "reasons": verdict.reasons}
    try:
        print(json.dumps(fields) if as_json else
              f"{question}: {'yes' if verdict.ok else 'no: ' + '; '.join(verdict.reasons)}", flush=True)
    except OSError:  # nobody reads it; the exit code is the answer
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text!r}")
    return seconds
