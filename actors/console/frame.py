"""A run at one moment as lines of text, for a screen of any size. Pure.

Columns go by their worth: on a narrow screen the least important ones are left out, never cut in half. Whole lines have
a style (words of rich), and nothing is said by colour alone: the stage that is the limit has a ``>`` in front.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Mapping, Sequence

from actors.runtime.counts import OUTCOMES
from actors.runtime.printable import one_line
from actors.telemetry.model import Happening, Snapshot, StageFlow, Status
from actors.telemetry.words import lag_line
from actors.telemetry.words import span as span

#: A line, and its style.
Line = tuple[str, str]
#: Least height and width that are made use of; what is smaller still is cut.
_LEAST_LINES, _LEAST_COLUMNS = 10, 24
#: So much of the name of a stage is always shown: writer.dead_letters.
_LEAST_NAME = 19
#: Most happenings that are shown.
_HAPPENINGS = 8


class _Column:
    """A column of the table of stages: head, what it shows, and its worth: the higher, the sooner it is left out."""

    def __init__(self, head: str, cost: int, cell: Callable[[StageFlow, int], str]) -> None:
        self.head = head
        self.cost = cost
        self.cell = cell


_COLUMNS = (
    _Column("stage", 0, lambda stage, died: stage.stage),
    _Column("n", 4, lambda stage, died: str(len(stage.actors))),
    _Column("records/s", 1, lambda stage, died: number(stage.records_per_s)),
    _Column("batches/s", 9, lambda stage, died: number(stage.batches_per_s)),
    _Column("busy", 0, lambda stage, died: percent(stage.busy)),
    _Column("waits", 6, lambda stage, died: percent(stage.starved)),
    _Column("backlog", 2, lambda stage, died: f"{stage.queued:,}"),
    _Column("oldest", 3, lambda stage, died: span(stage.waiting_s) if stage.queued or stage.waiting_s else "-"),
    _Column("CPU", 5, lambda stage, died: percent(stage.cpu)),
    _Column("RSS", 7, lambda stage, died: f"{stage.rss_bytes / 1e6:,.0f} MB"),
    _Column("restarts", 8, lambda stage, died: f"{died:,}"),
)


def frame(status: Status, width: int, height: int = 0) -> list[Line]:
    """Return the lines of a frame.

    Args:
        status: what is known of the run.
        width: columns of the screen.
        height: its lines; 0: as many as there are.
    """
    width = max(width, _LEAST_COLUMNS)
    lines = [*_head(status, width), ("", ""), *_table(status, width), ("", "")]
    lines += _wrapped(f"bottleneck: {status.flow.bottleneck.text}", width, "bold")
    lines += _outcomes(status.snapshot, width)
    happenings = status.snapshot.happenings[-_HAPPENINGS:]
    if height:
        height = max(height, _LEAST_LINES)
        happenings = happenings[-max(0, height - len(lines) - 1):] if height > len(lines) + 1 else []
        lines = lines[:height]
    if happenings:
        lines += [("", ""), *(_happening(each, width) for each in happenings)]
    return [(one_line(text)[:width].rstrip(), style) for text, style in lines]


def _head(status: Status, width: int) -> list[Line]:
    snapshot, flow = status.snapshot, status.flow
    lines = [(title(snapshot.name, snapshot.mode, snapshot.at - snapshot.started, not snapshot.not_ready), "bold")]
    for reason in snapshot.not_ready:
        lines += _wrapped(f"not ready: {reason}", width, "yellow")
    more = [] if snapshot.lag is None else _wrapped(lag_line(snapshot.lag), width, "")
    parts = [f"{number(flow.records_per_s)} records/s"]
    if flow.progress is not None:
        parts.append(f"{percent(flow.progress)} of the input read")
    if flow.eta_s:
        parts.append(f"{span(flow.eta_s)} left")
    parts += [learnt(each.view.record_s, each.view.batch_records) for each in snapshot.actors if each.view.record_s]
    return [*lines, *_wrapped(", ".join(parts), width, ""), *more]


def _table(status: Status, width: int) -> list[Line]:
    restarts = {each.view.actor: each.restarts for each in status.snapshot.actors}
    stages = status.flow.stages
    died = [sum(restarts.get(actor, 0) for actor in stage.actors) for stage in stages]
    longest = max(_LEAST_NAME, width // 3)
    cells = {column: [column.head, *(_cut(column.cell(stage, count), longest)
                                     for stage, count in zip(stages, died, strict=True))] for column in _COLUMNS}
    widths = {column: max(map(len, texts)) for column, texts in cells.items()}
    chosen = list(_COLUMNS)
    while 1 + sum(1 + widths[column] for column in chosen) > width and len(chosen) > 2:
        chosen.remove(max(chosen, key=lambda column: column.cost))
    lines: list[Line] = []
    for row, name in enumerate(["", *(stage.stage for stage in stages)]):
        is_limit = bool(name) and name == status.flow.bottleneck.stage
        first, *others = (cells[column][row].ljust(widths[column]) if column is _COLUMNS[0]
                          else cells[column][row].rjust(widths[column]) for column in chosen)
        style = "bold yellow" if is_limit else "" if name else "dim"
        lines.append((f"{'>' if is_limit else ' '} " + " ".join([first, *others]), style))
    return lines


def _outcomes(snapshot: Snapshot, width: int) -> list[Line]:
    """What has become of the records, by sink and by reason."""
    counts = snapshot.outcomes
    lines = _wrapped(so_far(counts), width, "")
    for heading, prefix in (("written", "written."), ("rejected", "rejected.")):
        each = [f"{name.removeprefix(prefix)} {count:,}" for name, count in sorted(counts.items())
                if name.startswith(prefix) and count]
        if each and not (heading == "written" and len(each) == 1):
            lines += _wrapped(f"{heading}: {', '.join(each)}", width, "")
    if snapshot.deaths:
        deaths = ", ".join(f"{cause} {count:,}" for cause, count in sorted(snapshot.deaths.items()))
        lines += _wrapped(f"deaths: {deaths}", width, "red")
    return lines


def _happening(happening: Happening, width: int) -> Line:
    at = time.strftime("%H:%M:%S", time.localtime(happening.at))
    return _cut(f"{at} {' '.join(happening.text.split())}", width), "dim"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[:width - 2]}.."


def _wrapped(text: str, width: int, style: str) -> list[Line]:
    return [(line, style) for line in textwrap.wrap(text, width, subsequent_indent="  ")]


def title(name: str, mode: str, seconds: float, is_ready: bool) -> str:
    """Say which run it is, how far it is, since when, and whether it gets on."""
    return f"{name}: {mode or 'starting'} for {span(max(0.0, seconds))}{', ready' if is_ready else ''}"


def learnt(record_s: float, batch_records: int) -> str:
    """Say what a record costs, and how many of them the reader puts into a batch for that."""
    cost = next(f"{record_s * factor:.3g} {unit}" for factor, unit in (
        (1, "s"), (1e3, "ms"), (1e6, "µs"), (1e9, "ns")) if record_s * factor >= 1 or unit == "ns")
    size = {0: "any number", 1: "one"}.get(batch_records, f"{batch_records:,} or fewer")
    return f"a record takes {cost} of work, {size} in a batch"


def so_far(counts: Mapping[str, int]) -> str:
    """Say what has become of the records, in all runs with a state directory."""
    totals = [f"{name.replace('_', '-')} {counts[name]:,}"
              for name in ("read", *OUTCOMES) if counts.get(name)]
    return "so far: " + (", ".join(totals) or "nothing")


def number(value: float) -> str:
    """A rate or count in at most nine columns."""
    if value >= 1e9:
        return f"{value / 1e6:,.0f}M"
    return f"{value:,.1f}" if 0 < value < 10 else f"{value:,.0f}"


def percent(part: float) -> str:
    """A part of 1; more of it is shown as it is: 250 % are two and a half."""
    return f"{100 * part:.0f} %"


def plain(lines: Sequence[Line]) -> str:
    """The same without styles."""
    return "\n".join(text for text, _ in lines)
