"""``thresher dlq``: what was rejected, for people: look at it, take it out, send it in again, let it go."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from actors.console import letters
from actors.console.history import why_no_record
from actors.console.letters import Count, Filters, Store, escaped
from actors.console.retry import Outcome, Prepared, Retry, Run
from actors.console.retry_plan import settle, unfinished
from actors.runtime import settling
from actors.runtime.database import named
from actors.runtime.errors import ConfigError
from actors.runtime.events import DONE, FAILED, USAGE, Observer
from actors.runtime.framing import Record
from actors.runtime.units import LEDGER
from actors.runtime.values import SOURCE_LOST
from actors.runtime.windows import iso
from actors.settings import Settings
from actors.sinks.dead_letters import StoredLetter, used_bytes

#: Characters of a letter's bytes in a list.
_RAW_WIDTH = 40
#: What is shown for a value that is None, which is not an empty one.
_NO_VALUE = "(no value)"


def main(options: argparse.Namespace, settings: Settings) -> int:
    """Run a verb other than ``retry``; return the exit code."""
    store = letters.store_of(settings)
    verbs: dict[str, Callable[[argparse.Namespace, Store, sqlite3.Connection], int]] = {
        "ls": _ls, "show": _show, "export": _export, "purge": _purge}
    if not store.path.exists():
        return _nothing(options, settings, store)
    try:
        with closing(store.connect()) as connection:
            settle(connection, Path(settings.manifest.state))
            settling.settle(settings.manifest)
            return verbs[options.what](options, store, connection)
    except sqlite3.Error as error:
        return _failed(store, error)


def retry(options: argparse.Namespace, settings: Settings, run: Run, observer: Observer) -> int:
    """Send letters in again; return the exit code: 0, or 4 when some were rejected again, 3 when a sink was down."""
    store = letters.store_of(settings)
    if not store.path.exists():
        return _nothing(options, settings, store)
    try:
        settling.settle(settings.manifest)
        retrying = Retry(settings.manifest, store, run, observer, options.only_missing)
        prepared = retrying.prepare(_filters(options))
        if not options.json and not options.quiet:
            print(_intention(prepared, options.only_missing), flush=True)
        outcome = retrying.carry_out(prepared)
    except sqlite3.Error as error:
        return _failed(store, error)
    if options.json:
        print(json.dumps(_told(outcome, prepared)))
    else:
        print(_result(outcome))
    return outcome.code


def _filters(options: argparse.Namespace) -> Filters:
    return Filters(ids=options.id, reasons=options.reason, stages=options.stage, sources=options.source,
                   status=getattr(options, "status", "open"), limit=options.limit,
                   up_to=options.up_to)


def _nothing(options: argparse.Namespace, settings: Settings, store: Store) -> int:
    state = Path(settings.manifest.state)
    if not (state / LEDGER).exists() and (why := why_no_record(state)):
        print(why, file=sys.stderr)
        return FAILED
    if options.what == "show":
        raise ConfigError(f"{store.path}: no such file: nothing was rejected here, or --state is another")
    if options.what == "export":
        print(f"no dead letters: there is no {store.path}", file=sys.stderr)
    elif options.json:
        print(json.dumps({
            "ls": {"path": str(store.path), "bytes": 0, "max_bytes": store.options.max_bytes, "counts": [],
                   "unfinished_retry": 0, "letters": []},
            "purge": {"purged": 0, "freed_bytes": 0, "held_bytes": 0},
            "retry": _told(Outcome(), Prepared(None, [], 0, 0)),
        }[options.what]))
    else:
        print(f"no dead letters: there is no {store.path}")
    return DONE


def _failed(store: Store, error: sqlite3.Error) -> int:
    print(f"{named(store.path, error)}: try again", file=sys.stderr)
    return FAILED


# Looking ----------------------------------------------------------------------------------------------------------


def _ls(options: argparse.Namespace, store: Store, connection: sqlite3.Connection) -> int:
    filters = _filters(options)
    groups = letters.counts(connection, filters)
    listed = letters.newest(connection, filters)
    plan = unfinished(connection)
    left = 0 if plan is None else plan.left
    held, limit = used_bytes(connection), store.options.max_bytes
    if options.json:
        print(json.dumps({
            "path": str(store.path), "bytes": held, "max_bytes": limit, "counts": msgspec.to_builtins(groups),
            "unfinished_retry": left, "letters": [letters.fields(letter, store.item_in(letter)) for letter in listed]}))
    else:
        print("\n".join(_list(filters, store, groups, listed, f"{held:,} bytes" + (f" of {limit:,}" if limit else ""))))
        if left:
            print(f"\na retry has not ended: {left:,} letters of it are to come (`thresher dlq retry` takes it up)")
    return DONE


def _list(
    filters: Filters, store: Store, groups: Sequence[Count], listed: Sequence[StoredLetter], size: str
) -> Iterator[str]:
    total = sum(group.letters for group in groups)
    yield f"{_how_many(total, filters)} in {store.path} ({size})"
    if not total:
        return
    yield ""
    yield from _table(
        ["reason", "stage", "status", "last", "letters"],
        [[*map(escaped, (group.reason, group.stage)), group.status, group.last, f"{group.letters:,}"]
         for group in groups])
    yield ""
    records = [letter.record for letter in listed]
    about = [record or store.item_in(letter) for letter, record in zip(listed, records, strict=True)]
    keys = [None if record is None else record.key for record in about]
    has_keys = any(key is not None for key in keys)
    yield from _table(
        ["id", "time", "stage", "reason", "source:line", "attempts", "status", *["key"] * has_keys, "raw"],
        [[str(letter.id), letter.time, escaped(letter.stage), escaped(letter.reason), _place(letter),
          str(letter.attempts), letter.status, *["" if key is None else _beginning(key)] * has_keys,
          _NO_VALUE if _is_none(record) else _beginning(letter.raw)]
         for letter, record, key in zip(listed, records, keys, strict=True)])
    if len(listed) < total:
        yield f"  and {total - len(listed):,} older ones (--limit 0 lists them all)"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        yield ("  " + "  ".join(map(str.ljust, row, widths))).rstrip()


def _how_many(number: int, filters: Filters) -> str:
    kind = "" if filters.status == "all" else f"{filters.status} "
    return f"{number:,} {kind}letter{'' if number == 1 else 's'}" if number else f"no {kind}letters"


def _place(letter: StoredLetter) -> str:
    has_lines = letter.line >= 0 and letter.reason != SOURCE_LOST
    return escaped(letter.source) + (f":{letter.line}" if has_lines else _number_of(letter))


def _number_of(letter: StoredLetter) -> str:
    """Of a record in a unit that has no lines, where it is."""
    is_numbered = letter.envelope or letter.reason == SOURCE_LOST
    return f" offset {letter.offset}" if is_numbered and letter.offset >= 0 else ""


def _is_none(record: Record | None) -> bool:
    return record is not None and record.value is None


def _beginning(raw: bytes) -> str:
    text = escaped(raw[:_RAW_WIDTH])
    return text if len(raw) <= _RAW_WIDTH and len(text) <= _RAW_WIDTH else f"{text[:_RAW_WIDTH]}..."


def _show(options: argparse.Namespace, store: Store, connection: sqlite3.Connection) -> int:
    found = letters.letter_of(connection, options.id)
    if found is None:
        print(f"{store.path}: there is no letter {options.id}: `thresher dlq ls` lists what is there", file=sys.stderr)
        return FAILED
    if options.raw:
        if _is_none(found.record):
            print(f"letter {options.id} is a record without a value: nothing is written", file=sys.stderr)
        sys.stdout.buffer.write(found.raw)
        sys.stdout.buffer.flush()
    elif options.json:
        print(json.dumps(letters.fields(found, store.item_in(found))))
    else:
        print("\n".join(_all_of(found, found.record or store.item_in(found))))
    return DONE


def _all_of(letter: StoredLetter, about: Record | None) -> Iterator[str]:
    is_byte = letter.offset >= 0 and letter.reason != SOURCE_LOST and not (letter.envelope and letter.line < 0)
    offset = f", byte {letter.offset:,}" if is_byte else ""
    yield f"letter {letter.id}: {letter.status}, retried {letter.attempts} times" + (
        f", last {letter.tried}" if letter.tried else "")
    yield f"rejected  {letter.time} by {escaped(letter.stage)}"
    yield f"reason    {escaped(letter.reason)}"
    first, *more = letter.detail.split("\n")
    if letter.detail:
        yield f"detail    {escaped(first)}"
        yield from (f"          {escaped(line)}" for line in more)
    yield f"source    {_place(letter)}{offset}"
    yield f"known by  {escaped(letter.partition)} {letter.position} {escaped(letter.origin)} {letter.item}" + (
        f" {escaped(letter.output)}" if letter.output else "")
    if letter.output:
        yield f"output    {escaped(letter.output)}, one of several that were made of its record"
    if about is not None:
        yield from _envelope_of(about)
    if _is_none(letter.record):
        yield f"raw       {_NO_VALUE}"
        return
    yield f"raw       {len(letter.raw):,} bytes"
    yield from (f"          {escaped(line)}" for line in letter.raw.splitlines(keepends=True))


def _envelope_of(record: Record) -> Iterator[str]:
    """What a record, or the item of a writer, came with besides its value."""
    if record.key is not None:
        yield f"key       {escaped(record.key)}"
    if record.time is not None:
        yield f"published {iso(record.time)}"
    for name, value in record.headers:
        yield f"header    {escaped(name)}: {_NO_VALUE if value is None else escaped(value)}"


# Taking out and letting go ----------------------------------------------------------------------------------------


def _export(options: argparse.Namespace, store: Store, connection: sqlite3.Connection) -> int:
    filters = _filters(options)
    connection.execute("BEGIN")  # what is looked at first is what is written then
    if options.format == "raw":
        letters.require_lines(letters.no_lines(connection, filters))
    if options.out is None:
        number, last = _write(sys.stdout.buffer, options.format, store, letters.oldest(connection, filters))
        sys.stdout.buffer.flush()
    else:
        with letters.new_file(Path(options.out)) as file:
            number, last = _write(file, options.format, store, letters.oldest(connection, filters))
    print(f"{_how_many(number, filters)} exported" + (f" to {options.out}" if options.out else "")
          + (f" (with `purge --up-to {last}` none goes that came later)" if number else ""), file=sys.stderr)
    return DONE


def _write(file: BinaryIO, form: str, store: Store, chosen: Iterator[StoredLetter]) -> tuple[int, int]:
    """Write letters; return how many, and the number of the last."""
    number = last = 0
    for letter in chosen:
        file.write(letters.line(letter, form, store.item_in(letter) if form == "jsonl" else None))
        number, last = number + 1, letter.id
    return number, last


def _purge(options: argparse.Namespace, store: Store, connection: sqlite3.Connection) -> int:
    filters = _filters(options)
    numbers = letters.matching(connection, filters)
    if numbers and not options.yes:
        question = f"{_how_many(len(numbers), filters)} in {store.path} would be deleted for good"
        if not sys.stdin.isatty():
            print(f"{question}: say --yes if you mean it", file=sys.stderr)
            return USAGE
        if input(f"{question}: go on? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was deleted")
            return DONE
    purged = letters.purge(connection, filters, numbers)
    freed, problem = letters.shrink(store.path, connection)
    if options.json:
        print(json.dumps({"purged": purged, "freed_bytes": freed, "held_bytes": used_bytes(connection)}))
    else:
        print(f"{_how_many(purged, filters)} deleted, {max(0, freed):,} bytes freed, "
              f"{used_bytes(connection):,} bytes held")
    if problem:
        print(f"{store.path}: the file could not be made smaller now ({problem}): its free space is used for the "
              "letters to come", file=sys.stderr)
    return DONE


# Sending in again -------------------------------------------------------------------------------------------------


def _intention(prepared: Prepared, only_missing: bool) -> str:
    lines: list[str] = []
    if prepared.interrupted is not None:
        lines.append(f"a retry was interrupted: {prepared.interrupted.left:,} letters of it go in first")
    if not prepared.numbers and prepared.interrupted is None:
        lines.append("no letters go in: `thresher dlq ls` lists those that are open")
    if prepared.numbers:
        number = "1 letter goes" if len(prepared.numbers) == 1 else f"{len(prepared.numbers):,} letters go"
        lines.append(f"{number} in as new data of now: " + (
            "what is there under their keys stays" if only_missing else
            "a newer value of a key of theirs is overwritten (--only-missing leaves what is there)"))
    if prepared.pieces:
        lines.append(f"{prepared.pieces:,} of the reader are left out: they tell of what was lost, or are pieces "
                     "of lines, which may pass for records (--stage reader sends them)")
    if prepared.empty:
        lines.append(f"{prepared.empty:,} hold no bytes and are left out: give the file again that could not be read")
    if prepared.emitted:
        lines.append(f"{prepared.emitted:,} are what aggregators could not emit, no input, and are left out: "
                     "`thresher dlq export` has the numbers")
    return "\n".join(lines)


def _told(outcome: Outcome, prepared: Prepared) -> dict[str, Any]:
    return {"event": "retry", **msgspec.to_builtins(outcome), "pieces": prepared.pieces, "empty": prepared.empty,
            "emitted": prepared.emitted}


_LATE = ("\nlate: their windows are closed; with --set window.lateness_s=SECONDS they are opened again, and their rows "
         "come once more (thresher docs windows)")


def _result(outcome: Outcome) -> str:
    again = sum(outcome.rejected.values())
    reasons = ", ".join(f"{escaped(reason)} {number:,}" for reason, number in outcome.rejected.most_common())
    return (f"{outcome.retried:,} retried, {again:,} rejected again" + (f": {reasons}" if again else "")
            + (_LATE if "late" in outcome.rejected else "")
            + f"\nexit code {outcome.code}: {outcome.reason}")
