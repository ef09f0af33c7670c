"""``thresher explain``: what a configuration means, before it runs: the guarantee of each path, and who runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.console.frame import learnt
from actors.console.paths import path_of, state_of
from actors.runtime.manifest import Manifest
from actors.runtime.printable import one_line
from actors.runtime.questions import why_not
from actors.runtime.sections import WindowOptions
from actors.runtime.sizing import LEARNT
from actors.runtime.topology import expand
from actors.runtime.units import LEDGER, read_fact
from actors.settings import Settings


def explain(settings: Settings) -> dict[str, Any]:
    """What is known before the run, as a map."""
    manifest, shown = settings.manifest, settings.shown
    source = manifest.source.load()
    sinks = {name: component.load() for name, component in manifest.sinks.items()}
    letters = manifest.dead_letters.load()
    why = why_not(settings.pipeline.questions, sinks)
    return {
        "name": manifest.name,
        "state": manifest.state,
        "source": {"type": shown["source"]["type"], "reads": source.describe(), "guarantee": source.promises()},
        "sinks": {
            name: {"type": shown[f"sinks.{name}"]["type"], "writes": options.describe(),
                   "guarantee": options.promises(), "order": "source order" if options.ordered else "any order",
                   "path": path_of(source, options), "tombstones": options.tombstones(),
                   "answers": options.answers_in_words()}
            for name, options in sinks.items()
        },
        "dead_letters": {"writes": letters.describe(), "guarantee": letters.guarantee},
        "questions": {name: {"about": question.summary, "why_not": why.get(name, "")}
                      for name, question in settings.pipeline.questions.items()},
        "aggregates": state_of(source) if manifest.folds else "none",
        "windows": _windows(manifest.window) if manifest.windowed else "none",
        "actors": [spec.name for spec in expand(manifest)],
        "after_a_crash": (
            f"the window is done again: at most {manifest.flow.window_batches} batches of about "
            f"{manifest.flow.batch_bytes // 1024} KiB; every effect of it that is durable already is not repeated, "
            "or repeated without a trace"),
        "batches": _batches(manifest),
        "outages": _outages(manifest),
        "order": "of two values for one key the later in source order stands, whatever the number of workers",
        "notes": settings.notes,
    }


def _outages(manifest: Manifest) -> str:
    """How long is waited for the source or a sink that is down."""
    longest_s = manifest.limits.longest_outage_s()
    until = ("for as long as it takes" if longest_s == math.inf else
             f"for at most {longest_s:g} s, then the run stops, resumable, with exit code 3")
    return f"who is down is waited for, {until} (run.max_outage_s); the run is not ready meanwhile"


def _batches(manifest: Manifest) -> str:
    """How the input is cut, and what the last run on this state has learnt of the work in a record."""
    flow = manifest.flow
    size = f"about {flow.batch_bytes // 1024} KiB" if flow.batch_bytes >= 1024 else f"about {flow.batch_bytes} bytes"
    if not flow.batch_s:
        return f"{size} each, however long they take"
    record_s, _, records = (read_fact(Path(manifest.state) / LEDGER, LEARNT) or "").partition(" ")
    last = f"; at the end of the last run {learnt(float(record_s), int(records))}" if records else ""
    return f"{size} each, or about {flow.batch_s:g} s of work, if that is less (flow.batch_s){last}"


def _windows(window: WindowOptions) -> str:
    """What windows there are, and who is late."""
    origin = {"clock": "counted from full hours in UTC", "first": "counted from the first record"}.get(
        str(window.start), f"counted from {window.start} ms")
    kind = {
        "tumbling": f"tumbling, {window.size_s:g} s each, {origin}",
        "hopping": f"hopping, {window.size_s:g} s each, one every {window.every_s:g} s, {origin}",
        "session": f"sessions, ended by {window.gap_s:g} s of silence",
        "global": "one, closed at the end of the input",
    }[window.kind]
    if window.kind == "global":
        return kind
    kept = f", after another {window.lateness_s:g} s" if window.lateness_s else ""
    empty = "; those without records come, too" if window.empty == "emit" else ""
    return (f"{kind}{empty}; closed by a record {window.disorder_s:g} s younger than the end; "
            f"what comes for a closed one{kept} is a dead letter (late)")


def _asked(questions: dict[str, dict[str, str]]) -> Iterator[str]:
    """What can be asked of what is stored, and what cannot."""
    if can := [name for name, said in questions.items() if not said["why_not"]]:
        yield f"answers {', '.join(can)} (thresher ask)"
    cannot: dict[str, list[str]] = {}
    for name, said in questions.items():
        cannot.setdefault(said["why_not"], []).append(name)
    yield from (f"        not {', '.join(names)}: {why}" for why, names in cannot.items() if why)


def render(data: dict[str, Any]) -> str:
    """The same as text."""
    lines = [f"{data['name']}, state in {data['state']}", "",
             f"reads   {data['source']['reads']}", f"        {data['source']['guarantee']}"]
    for name, sink in data["sinks"].items():
        lines += [f"writes  {name}: {sink['writes']}, in {sink['order']}", f"        {sink['guarantee']}",
                  f"        from its source: {sink['path']}"]
        lines += [f"        {sink['tombstones']}"] * bool(sink["tombstones"])
        lines += [f"        {sink['answers']}"] * bool(sink["answers"])
    lines += [f"rejects {data['dead_letters']['writes']}", f"        {data['dead_letters']['guarantee']}",
              f"folds   {data['aggregates']}"]
    if data["windows"] != "none":
        lines.append(f"windows {data['windows']}")
    lines += _asked(data["questions"])
    lines += ["", f"order   {data['order']}", f"batches {data['batches']}", f"crash   {data['after_a_crash']}",
              f"outages {data['outages']}", "", "actors  " + ", ".join(data["actors"]),
              *(f"note    {note}" for note in data["notes"])]
    return "\n".join(map(one_line, lines))
