"""Whether a run is live, ready, started: the three questions of an orchestrator, answered from the board. Pure.

    live      its supervisor's loop goes round           no: only a restart of the whole helps
    ready     it gets on: everybody is up, nobody waits  no: look at the reason; a server that is down is one
    started   everybody has been ready once              no: wait

A server that is down never makes a run anything but not ready: to restart the run would not bring the server back.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from actors.runtime.events import ActorView, RunView
from actors.runtime.topology import MONITOR, stage_of
from actors.telemetry.words import span

#: The supervisor's loop goes round every half second. One that was not heard of for so long hangs, or is stopped.
SILENT_S = 10.0
_UP = ("READY", "BUSY")
#: How a run ends, and what its actors then become one after the other, as they should.
_ENDING, _LEAVING = ("draining", "stopping", "ended"), ("DRAINING", "STOPPED")


class Verdict(msgspec.Struct, frozen=True):
    """The answer to one question, and why it is no."""

    ok: bool
    reasons: list[str]


def live(run: RunView) -> Verdict:
    """Whether the supervisor's loop goes round."""
    if run.beat_s < SILENT_S:
        return Verdict(True, [])
    return Verdict(False, [f"the supervisor (process {run.pid}) has not been heard of for {run.beat_s:.0f} s"])


def ready(run: RunView, views: Sequence[ActorView]) -> Verdict:
    """Whether the run gets on: it is running, everybody is up, and nobody waits for an outside system."""
    reasons = live(run).reasons + ([] if run.mode == "running" else [f"the run is {run.mode or 'starting'}"])
    is_ending = run.mode in _ENDING
    reasons += not_ready([view for view in views if view.note or not (is_ending and view.state in _LEAVING)])
    return Verdict(not reasons, reasons)


def started(run: RunView, views: Sequence[ActorView]) -> Verdict:
    """Whether everybody has been ready once."""
    if run.mode not in ("", "starting"):
        return Verdict(True, [])
    waiting = [view.actor for view in views if view.state not in _UP and stage_of(view.actor) != MONITOR]
    return Verdict(False, [f"starting: {', '.join(waiting)} not ready yet" if waiting else "starting"])


def not_ready(views: Sequence[ActorView]) -> list[str]:
    """Why a run does not get on: who is not up, or waits for an outside system, and since when; empty: it does."""
    return [f"{view.actor} waits: {view.note}{_since(view)}" if view.note else f"{view.actor} is {view.state}"
            for view in views if stage_of(view.actor) != MONITOR and (view.note or view.state not in _UP)]


def _since(view: ActorView) -> str:
    return f" (for {span(view.down_s)})" if view.down_s >= 1 else ""
