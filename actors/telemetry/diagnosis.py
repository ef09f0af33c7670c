"""What keeps a run from being faster, in one sentence. Pure.

The one rule: behind the stage that is the limit everybody is idle, and in front of it everybody waits for credit or
room; so the limit is the stage that is busy nearly all the time. Whether it can be helped is another question: more
workers need free cores, a writer that waits for its server gains nothing from any of this.

    somebody is down, or waits for an outside system   it is that, whatever the figures say
    a stage is busy nearly all the time                it is that; what would help
    nobody is, and all cores are in use                it is the machine
    nobody is, and the window is full                  it is the window
    else                                               it is the input
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.runtime.sections import FlowOptions
from actors.runtime.topology import DEAD_LETTERS, MONITOR, writer_name
from actors.telemetry.model import ActorStatus, Bottleneck, Snapshot, StageFlow

#: Part of the time from which on a stage counts as busy all the time.
BUSY = 0.85
#: Cores that are to be free before one more process would gain anything.
_FREE = 0.5
#: Part of its busy time in which a process computes, below which it rather waits, and above which it does little else.
_WAITS, _COMPUTES = 0.5, 0.8
_UP = ("READY", "BUSY")


def bottleneck(
    after: Snapshot, stages: Sequence[StageFlow], seconds: float, options: FlowOptions, cores: int
) -> Bottleneck:
    """Say what keeps a run from being faster.

    Args:
        after: the run now.
        stages: what its stages did in the last seconds.
        seconds: how many; 0: nobody knows what they did.
        options: how much may be under way.
        cores: processors that the run may use.
    """
    if after.mode in ("", "starting"):
        return _nobody("the run is starting")
    if after.mode in ("stopping", "ended"):
        return _nobody("the run is being stopped")
    trouble = _trouble(after)
    if trouble is not None:
        return trouble
    if not seconds:
        return _nobody("not known yet: rates take two looks")
    busiest = max(reversed(stages), key=lambda stage: stage.busy, default=None)  # of equals the one further down
    if busiest is not None and busiest.busy >= BUSY:
        return Bottleneck(stage=busiest.stage, text=_busy(busiest, sum(stage.cpu for stage in stages), cores))
    return _nobody(_without_a_busy_stage(after, stages, busiest, options, cores))


def _nobody(text: str) -> Bottleneck:
    return Bottleneck(stage="", text=text)


def _trouble(after: Snapshot) -> Bottleneck | None:
    """Who waits for an outside system, or is down so that nothing gets on."""
    actors = [status for status in after.actors if status.stage != MONITOR]
    for status in actors:
        if status.view.note:
            return Bottleneck(stage=_stage(status), text=f"{status.view.actor} waits: {status.view.note} (retrying)")
    for status in actors:
        others = [each for each in actors if _stage(each) == _stage(status)]
        if all(each.view.state not in _UP for each in others):
            who = status.view.actor if len(others) == 1 else f"every {status.stage}"
            return Bottleneck(stage=_stage(status), text=f"{who} is {status.view.state}: everybody waits for it")
    return None


def _stage(status: ActorStatus) -> str:
    return status.stage if status.stage in ("reader", "parser", "checker") else status.view.actor


def _busy(stage: StageFlow, used: float, cores: int) -> str:
    """What a stage that is busy all the time needs."""
    many = len(stage.actors) > 1
    pool = stage.stage in ("parser", "checker")
    name = f"{stage.stage}s are" if many else f"the {stage.stage} is" if pool or stage.stage == "reader" else (
        f"{stage.stage} is")
    text = f"{name} busy {_percent(stage.busy)}"
    computes = stage.cpu / (stage.busy * len(stage.actors))
    if pool:
        return text + _more_workers(stage, computes, used, cores)
    if stage.stage == "reader":
        return f"{text}: reading is the limit, and there is one reader; more workers would not help"
    if stage.stage.startswith("aggregator."):
        return f"{text}: more shards would help (aggregator.shards, for a new state directory)"
    if stage.stage == writer_name(DEAD_LETTERS):
        return f"{text}: so many records are rejected"
    if computes > _COMPUTES:
        return f"{text} and computes all the time: it needs a core for itself, and has one"
    return f"{text}: its server is the limit, or its disk"


def _more_workers(stage: StageFlow, computes: float, used: float, cores: int) -> str:
    in_use = f"{used:.1f} of {cores} core{'s' if cores > 1 else ''} in use"
    if cores - used < _FREE:
        return f": more workers would not help, no core is free ({in_use})"
    if computes < _WAITS:
        return (f", but computing {_percent(computes)} of that: waiting for something outside, or for cores that "
                f"others use ({in_use}); more workers may help")
    return f": more workers would help ({in_use}): thresher scale {stage.stage}={len(stage.actors) + 1}"


def _without_a_busy_stage(
    after: Snapshot, stages: Sequence[StageFlow], busiest: StageFlow | None, options: FlowOptions, cores: int
) -> str:
    used = sum(stage.cpu for stage in stages)
    if cores - used < _FREE / 2:
        most = max(stages, key=lambda stage: stage.cpu)
        return (f"the machine is the limit: {used:.1f} of {cores} cores in use, most of them by {most.stage} "
                f"({most.cpu:.1f})")
    readers = [status.view for status in after.actors if status.stage == "reader"]
    reader = next((stage for stage in stages if stage.stage == "reader"), None)
    is_open = sum(view.open for view in readers)
    room = min(options.window_batches, max(1, options.window_bytes // options.batch_bytes))
    if reader is not None and reader.starved > _FREE and is_open >= room:
        return (f"the window is full ({is_open} batches) and nobody is busy: a larger one may help "
                "(flow.window_batches, flow.window_bytes)")
    moving = any(stage.batches_per_s for stage in stages)
    if is_open and not moving:
        oldest = max((view.waiting_s for view in readers), default=0.0)
        return f"nothing was finished in this time: {is_open} batches are open, the oldest for {oldest:.0f} s"
    if after.mode == "draining":
        return "the run is draining: no new input is taken"
    if not moving or busiest is None:
        return "everybody waits for input"
    return f"the input: nobody is busy, the most is {busiest.stage} with {_percent(busiest.busy)}"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"
