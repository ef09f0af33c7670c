"""Loads of the pipeline ``troubled``: how they start, what they must leave behind, and what they do."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from actors.console import status
from actors.runtime.state import read_state
from actors.sinks.dead_letters import read_letters
from actors.sinks.lmdb import read_lmdb
from tests.loads import Load, assert_counts_add_up
from tests.pipelines import troubled


class Results(msgspec.Struct, frozen=True):
    """Everything that a load leaves behind; dead letters as (line, stage, reason, raw)."""

    store: dict[bytes, bytes]
    letters: list[tuple[int, str, str, bytes]]
    folded: dict[tuple[Any, ...], list[int]]
    counts: dict[str, int]


class Gate:
    """Where loads wait in their middle, so that a fault is never too late.

    Args:
        mark: a file that does not exist yet.
    """

    def __init__(self, mark: Path) -> None:
        self._mark = mark
        self.trouble = f"parser gate {mark}"

    def open(self) -> None:
        """Let them go on, this one and all that come."""
        self._mark.with_name(f"{self._mark.name}.open").touch()


def expected() -> Results:
    """What one program would make of the lines, one after the other."""
    store: dict[bytes, bytes] = {}
    letters: list[tuple[int, str, str, bytes]] = []
    folded: dict[tuple[Any, ...], list[int]] = {}
    counts: Counter[str] = Counter(read=troubled.RECORDS)
    for number in range(troubled.RECORDS):
        raw = troubled.line(number)
        key, blank, text = raw.partition(b" ")
        if not blank:
            letters.append((number + 1, "parser", "form", raw))
            counts.update(("dead_lettered", "rejected.form"))
        elif key == b"skip":
            counts.update(("filtered",))
        else:
            for at, each in troubled.partials([(key, int(text))], 1).items():
                folded[at] = [a + b for a, b in zip(folded.get(at, [0, 0, 0]), each, strict=True)]
            if key == b"fold":
                counts.update(("folded",))
            else:
                store[key] = text
                counts.update(("written", "written.store"))
    return Results(store, letters, folded, dict(counts))


def found(
    state: Path, *, items: dict[bytes, bytes] | None = None, store: Path | None = None, letters: Path | None = None
) -> Results:
    """What a state directory holds; the ``items`` or the path of the store, or of the letters, when elsewhere."""
    return Results(
        dict(read_lmdb(store or state / "store.lmdb")) if items is None else items,
        [(letter.line, letter.stage, letter.reason, letter.raw)
         for letter in read_letters(letters or state / "dead-letters.db")],
        read_state(state / "aggregator.1.db"), assert_counts_add_up(state))


def start(folder: Path, *sets: str, state: Path | None = None, output: Path | None = None) -> Load:
    """Start a load of one file in ``folder/logs``, made when it is not there; state in ``folder/state``."""
    log = folder / "logs" / "a.txt"
    if not log.parent.exists():
        log.parent.mkdir()
        log.write_bytes(b"".join(troubled.line(number) + b"\n" for number in range(troubled.RECORDS)))
    return Load(log.parent / "*.txt", state or folder / "state", "budget.max_error_rate=0.5", *sets,
                target="tests.pipelines.troubled", output=output)


def until_status_shows(running: Load, pattern: str) -> None:
    """Wait until ``thresher status`` has a line like this; between two tries an actor is not in the phase RETRY."""
    running.until(lambda _: bool(re.search(pattern, status.render(status.status(running.state)), re.MULTILINE)),
                  f"status like {pattern}")
