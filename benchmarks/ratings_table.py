"""What `benchmarks/ratings.py` prints: one table for each form of message, a column for each broker."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: What was found: by kind (``paced``, ``ours``, ``plain``), broker and form.
Key = tuple[str, str, str]
Round = Mapping[Key, Mapping[str, Any]]
#: Of a kind: the figure, what it is called, how it is written.
_FIGURES: tuple[tuple[str, str, str, str], ...] = (
    ("ours", "setup_s", "set-up of trends, s", "{:.2f}"), ("ours", "feed_setup_s", "set-up of feed, s", "{:.2f}"),
    ("ours", "messages_per_s", "messages a second, through both", "{:,.0f}"),
    ("ours", "feed_us", "feed, a message, us", "{:.1f}"),
    ("ours", "both_us", "feed and trends, a message, us", "{:.1f}"),
    ("ours", "feed_cpu_us", "feed, CPU of a message, us", "{:.1f}"),
    ("ours", "trends_cpu_us", "trends, CPU of a message, us", "{:.1f}"),
    ("plain", "messages_per_s", "plain loop, messages a second", "{:,.0f}"),
    ("plain", "feed_us", "plain loop, publishing, us", "{:.1f}"),
    ("plain", "trends_us", "plain loop, counting, us", "{:.1f}"),
    ("paced", "seconds", "paced: in all, s", "{:.2f}"), ("paced", "of_floor", "paced: of the floor", "{:.3f}"))
_FIRST, _COLUMN = 34, 30


def tables(rounds: Sequence[Round], brokers: Sequence[str], forms: Sequence[str]) -> Iterator[str]:
    """Yield the lines: the median of all rounds, and the least and the most."""
    for form in forms:
        yield ""
        yield f"{form:{_FIRST}}" + "".join(f"{broker:>{_COLUMN}}" for broker in brokers)
        for kind, name, label, shape in _FIGURES:
            cells = [_cell([one[kind, broker, form][name] for one in rounds if (kind, broker, form) in one], shape)
                     for broker in brokers]
            if any(cells):
                yield f"{label:{_FIRST}}" + "".join(f"{cell:>{_COLUMN}}" for cell in cells)
        yield from _actors(rounds, brokers, form)


def _cell(values: Sequence[float], shape: str) -> str:
    if not values:
        return ""
    middle = shape.format(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({shape.format(min(values))} to {shape.format(max(values))})"


def _actors(rounds: Sequence[Round], brokers: Sequence[str], form: str) -> Iterator[str]:
    """CPU by stage, all of its processes and all rounds together, and the most memory that one of them had."""
    cpu: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    pss: dict[str, dict[str, int]] = defaultdict(dict)
    for broker in brokers:
        for one in (each["ours", broker, form] for each in rounds if ("ours", broker, form) in each):
            stages: dict[str, float] = defaultdict(float)
            for name, seconds in one["cpu_s"].items():
                stages[_stage(name)] += seconds
            for stage, seconds in stages.items():
                cpu[stage][broker].append(1e6 * seconds / one["reviews"])
            for name, size in one["pss"].items():
                pss[_stage(name)][broker] = max(pss[_stage(name)].get(broker, 0), size)
    for stage in sorted(cpu):
        cells = [f"{statistics.median(cpu[stage][broker]):.1f} us CPU, {pss[stage].get(broker, 0) / 1e6:.0f} MB"
                 if cpu[stage][broker] else "" for broker in brokers]
        yield f"  {stage:{_FIRST - 2}}" + "".join(f"{cell:>{_COLUMN}}" for cell in cells)


def _stage(name: str) -> str:
    """``feed parser`` of ``feed parser.2``; writers are each alone."""
    return re.sub(r"\.\d+$", "", name)
