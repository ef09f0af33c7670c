"""``thresher tap``: some of the records that pass a stage of a run that is going on, as they are there.

The records come as datagrams from the parsers themselves (``runtime/tap.py``), into a socket in the run directory,
where no other user gets in. The wish is said again every few seconds, so a parser that was started anew shows its
records too, and one whose reader was killed stops showing them.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from actors.console import command
from actors.console.commandline import at_least, running_options
from actors.console.inputs import settings_of
from actors.runtime import rundir
from actors.runtime.errors import ConfigError
from actors.runtime.manifest import Manifest, load_manifest
from actors.runtime.printable import one_line
from actors.runtime.tap import Shown
from actors.runtime.topology import DEAD_LETTERS, writer_name
from actors.runtime.windows import FOREVER, NEVER, iso

#: A wish lasts so long, and is said again so often.
_LASTS_S, _AGAIN_S = 6, 2.0
#: After so long without any record it is said that nothing comes.
_QUIET_S = 5.0
#: Larger than any datagram.
_DATAGRAM_BYTES = 1 << 20
_LETTERS = writer_name(DEAD_LETTERS)
_REJECTING = ("reader", "parser", "checker")
#: What STAGE is, or begins with.
STAGES = (*_REJECTING, "aggregator", "writer.")
_decoder = msgspec.msgpack.Decoder(Shown)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said to the verb."""
    parser.add_argument("stage", metavar="STAGE", help="reader: raw records; parser: what parse makes of them; "
                        "checker: checked values, their route and item; aggregator: windows, keys and numbers; "
                        f"writer.NAME: items for that sink; {_LETTERS}: rejects with their reasons")
    running_options(parser)
    parser.add_argument("--rate", type=at_least(1), default=10, metavar="N", help="at most so many records a second; "
                        "default: 10")
    parser.add_argument("--limit", type=at_least(1), metavar="N", help="end after so many records")
    parser.add_argument("--seconds", type=at_least(1), metavar="S", help="end after so long")
    parser.add_argument("--errors", action="store_true", help="only records that STAGE rejects")
    parser.add_argument("--match", default="", metavar="TEXT", help="only records that have this text when they are "
                        "printed")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.epilog = ("A sample: the run never waits for it, and is not changed by it. Ends with the run, or with "
                     "Ctrl-C. Example: thresher tap parser --limit 5")


def main(options: argparse.Namespace) -> int:
    """Show records until there is a reason to end."""
    if options.target is not None:
        state = Path(settings_of(options.target, options.set, options.state).manifest.state)
    else:
        state = command.only_run() if options.state is None else Path(options.state)
    run_dir = command.run_directory(state)
    manifest = _manifest_in(run_dir)
    require_stage(options.stage, options.errors, manifest)
    shown = 0
    try:
        for record in _records(state, run_dir, options):
            line = render(record, options.stage, options.errors, options.json)
            if options.match in line:
                print(line, flush=True)
                shown += 1
                if shown == options.limit:
                    break
    except KeyboardInterrupt:
        pass
    return 0


def _manifest_in(run_dir: Path) -> Manifest:
    try:
        return load_manifest(run_dir / rundir.MANIFEST)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"the run of {run_dir} cannot be looked at: {error}: it has just begun or ended, or is of "
                          "another version of Thresher") from error


def stages_of(manifest: Manifest) -> list[str]:
    """The stages that show something."""
    return ["reader", "parser", "checker", *(["aggregator"] if manifest.folds else []),
            *(writer_name(sink) for sink in manifest.sinks if sink not in manifest.emit_sinks), _LETTERS]


def require_stage(stage: str, errors: bool, manifest: Manifest) -> None:
    """Raise ConfigError when nothing can be seen there, saying why."""
    valid = stages_of(manifest)
    if stage not in valid:
        emitted = [writer_name(sink) for sink in manifest.emit_sinks]
        why = ""
        if stage in emitted:
            why = "what the aggregators emit is made of no single record: tap aggregator, or look at the sink"
        elif stage == "aggregator":
            why = f"{manifest.name} folds nothing, so it has no aggregator"
        raise ConfigError(f"tap {stage}: expected one of {', '.join(valid)}" + (f" ({why})" if why else ""))
    if errors and stage not in (*_REJECTING, _LETTERS):
        raise ConfigError(f"tap {stage} --errors: nothing is rejected there: expected one of "
                          f"{', '.join(_REJECTING)}, or {_LETTERS} for all rejects")


def belongs(record: Shown, stage: str, errors: bool) -> bool:
    """Whether a record is to be seen at this stage."""
    if errors or stage == _LETTERS:
        is_one = record.is_letter or (record.reject is not None and not record.has_letters)
        return is_one and (stage == _LETTERS or (record.reject or ("",))[0] == stage)
    if record.is_letter:
        return False
    if stage == "reader":
        return True
    if stage == "aggregator":
        return bool(record.folded)
    if stage.startswith("writer."):
        return writer_name(record.sink) == stage and record.item is not msgspec.UNSET
    return getattr(record, "parsed" if stage == "parser" else "checked") is not msgspec.UNSET


def _records(state: Path, run_dir: Path, options: argparse.Namespace) -> Iterator[Shown]:
    """Yield what belongs to the stage, at the wanted rate, until the run or the time is over."""
    path = run_dir / f"tap.{os.getpid()}"
    began = time.monotonic()
    until = began + options.seconds if options.seconds else float("inf")
    with contextlib.closing(_listen(path)) as listening:
        try:
            again_at, next_at, heard_at = began, began, began
            while (now := time.monotonic()) < until:
                if now >= again_at:
                    if not _wish(state, path):
                        return
                    again_at = time.monotonic() + _AGAIN_S
                if now - heard_at > _QUIET_S and heard_at == began:
                    heard_at = now
                    print(f"nothing has passed for {_QUIET_S:g} s: is there input? `thresher status` says who waits",
                          file=sys.stderr)
                for record in _received(listening, min(again_at, until) - now):
                    heard_at = time.monotonic()
                    if heard_at >= next_at and belongs(record, options.stage, options.errors):
                        next_at = max(next_at, heard_at - 1.0) + 1.0 / options.rate
                        yield record
        finally:
            path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)  # of a process of this number that was killed
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        raise ConfigError(f"run directory {path.parent}: {(error.strerror or str(error)).lower()}: the run may have "
                          "ended; `thresher status` says") from error
    finally:
        os.umask(before)
    return listening


def _wish(state: Path, path: Path) -> bool:
    """Say what is wanted to the supervisor; False: the run has ended."""
    try:
        reply = command.ask(state, "tap", str(path), str(_LASTS_S))
    except ConfigError:
        return False
    if not reply.ok and rundir.find(state) is not None:
        print(reply.text, file=sys.stderr)
    return reply.ok


def _received(listening: socket.socket, wait_s: float) -> Iterator[Shown]:
    """Yield what is there, after waiting for it."""
    readable, _, _ = select.select([listening], [], [], max(0.0, wait_s))
    while readable:
        try:
            yield _decoder.decode(listening.recv(_DATAGRAM_BYTES))
        except BlockingIOError:
            return
        except msgspec.MsgspecError:  # none of ours
            continue


# What is printed ----------------------------------------------------------------------------------------------------


def render(record: Shown, stage: str, errors: bool, as_json: bool) -> str:
    """A record as one line."""
    which = {"output": record.output} if record.output and stage != "reader" else {}
    fields = {"stage": stage, "actor": record.actor, "source": record.source, "offset": record.offset, **which,
              **_fields(record, stage, errors)}
    if as_json:
        return json.dumps(fields, default=_jsonable, ensure_ascii=False)
    said = "  ".join(f"{name}={_text(value)}" if name not in ("raw", "value") else _text(value, name)
                     for name, value in fields.items() if name not in ("stage", "actor", "source", "offset"))
    return f"{one_line(record.source)}:{record.offset}  {said}"


def _fields(record: Shown, stage: str, errors: bool) -> dict[str, Any]:
    if (errors or stage == _LETTERS) and record.reject is not None:
        rejecting, reason, detail = record.reject
        return {"by": rejecting, "reason": reason, "detail": detail, **_came_with(record), "raw": _raw(record)}
    if stage == "reader":
        return {**_came_with(record), "raw": _raw(record)}
    if stage == "parser":
        return {"value": record.parsed}
    if stage == "checker":
        end = {"outcome": record.outcome} if record.outcome else {}
        item = {} if record.item is msgspec.UNSET else {"item": record.item}
        return {"value": record.checked, "sink": record.sink or None, **item, **end}
    if stage == "aggregator":
        return {"folded": [_folded(*each) for each in record.folded]}
    return {"item": record.item}


def _came_with(record: Shown) -> dict[str, Any]:
    """What a record that is no line has besides its value."""
    return {**({} if record.key is None else {"key": record.key}),
            **({} if record.time is None else {"published": iso(record.time)}),
            **({"headers": record.headers} if record.headers else {})}


def _raw(record: Shown) -> Any:
    raw = record.raw
    return raw if raw is None or record.size == len(raw) else raw + b"... (%d bytes)" % record.size


def _folded(start: Any, end: Any, whose: Any, key: Any, numbers: Any) -> dict[str, Any]:
    found = {"key": key, "numbers": numbers}
    if start is None:
        return found
    window = ["all time"] if (start, end) == (NEVER, FOREVER) else [iso(start), iso(end)]
    return {"window": window, **({"of": whose} if whose else {}), **found}


def _text(value: Any, name: str = "") -> str:
    if value is None and name == "raw":
        return "(no value)"
    if isinstance(value, bytes):
        value = value.decode(errors="backslashreplace")
    return one_line(value if isinstance(value, str) else json.dumps(value, default=_jsonable, ensure_ascii=False))


def _jsonable(value: Any) -> Any:
    if not isinstance(value, bytes):
        return repr(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
