"""The wire is msgpack: the reference implementation reads what real runs say, and our decoder what that one writes.

``tests/wiretap`` keeps what every process of a run receives. The runs here provoke every type of message: a worker and
a writer that die, a pool that shrinks, a monitor, a tap, windows that wait for what they are counted from, a server
that is down. Nothing is made by hand. What the arrays hold is compared with the tables in docs/protocol.md.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import msgpack
import msgspec
import pytest

from actors.runtime import messages
from actors.runtime.codec import VERSION, decode
from actors.runtime.marks import Care, Mark
from actors.runtime.messages import Late, Member, Span
from tests.loads import ROOT, WATCHDOG_S, Load, Running, Views

DOCUMENT = (ROOT / "docs" / "protocol.md").read_text()
TYPES: dict[str, type[msgspec.Struct]] = {
    str(kind.__struct_config__.tag): kind for kind in get_args(messages.AnyMessage)}
#: Structs within messages.
INNER: dict[str, type[msgspec.Struct]] = {
    "member": Member, "span": Span, "late": Late, "mark": Mark, "care": Care}
RECORDS = 30_000

Frames = list[bytes]


class Field(NamedTuple):
    """One field as the table has it."""

    name: str
    kind: str
    has_default: bool


Table = dict[str, list[Field]]


def table_of(document: str) -> Table:
    """The table of headers: the fields of each type, in order."""
    section = document.partition("## Headers, field by field\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `?([a-z_]+)`? \|(.*)\|$", section, re.MULTILINE)
    return {name: [_field(text.strip()) for text in fields.split(";") if text.strip()]
            for name, fields in rows if name != "type"}


def _field(text: str) -> Field:
    match = re.fullmatch(r"(\*?)`([a-z_]+)`\1 (.+)", text)
    assert match is not None, f"not a field: {text}"
    return Field(match[2], match[3], bool(match[1]))


TABLE = table_of(DOCUMENT)


def text_of(kind: Any) -> str:
    """A type annotation in the words of the table."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind == messages.Linked:
        return "message"
    if origin is list:
        return f"[{text_of(arguments[0])}]"
    if origin is tuple and arguments[1:] == (...,):
        return f"[{text_of(arguments[0])}]"
    if origin is tuple:
        return f"({', '.join(map(text_of, arguments))})"
    if origin is dict:
        return f"{{{': '.join(map(text_of, arguments))}}}"
    if arguments and type(None) in arguments:
        return " or ".join(map(text_of, arguments))
    names = {kind: name for name, kind in INNER.items()}
    return names.get(kind) or {type(None): "nil"}.get(kind) or str(kind.__name__)


def differences(table: Table) -> list[str]:
    """Where the table is not what the structs are."""
    found = []
    structs = TYPES | INNER
    for name in sorted(structs.keys() | table.keys()):
        true = [Field(each.name, text_of(each.type), not each.required)
                for each in msgspec.structs.fields(structs[name])] if name in structs else None
        if table.get(name) != true:
            found.append(f"{name}: the table has {table.get(name)}, it is {true}")
    return found


def fits(value: Any, kind: str) -> bool:
    """Whether what msgpack decoded is of a kind in the words of the table."""
    if " or " in kind:
        return any(fits(value, each) for each in kind.split(" or "))
    if kind == "message":
        return isinstance(value, list) and not problems(value[1:], TABLE[value[0]])
    if kind in INNER:
        return isinstance(value, list) and not problems(value, TABLE[kind])
    if kind[0] == "[":
        return isinstance(value, list) and all(fits(each, kind[1:-1]) for each in value)
    if kind[0] == "(":
        parts = kind[1:-1].split(", ")
        return isinstance(value, list) and len(value) == len(parts) and all(map(fits, value, parts))
    if kind[0] == "{":
        first, second = kind[1:-1].split(": ")
        return isinstance(value, dict) and all(fits(k, first) and fits(v, second) for k, v in value.items())
    return type(value) is {"str": str, "int": int, "bool": bool, "float": float, "nil": type(None)}[kind]


def problems(values: list[Any], fields: list[Field]) -> list[str]:
    """What is wrong with the elements of an array."""
    if len(values) != len(fields):
        return [f"{len(values)} elements, {len(fields)} fields"]
    return [f"{field.name}: {value!r} is no {field.kind}"
            for value, field in zip(values, fields, strict=True) if not fits(value, field.kind)]


def unpacked(header: bytes) -> list[Any]:
    """A header as the reference implementation reads it."""
    assert header[0] == VERSION
    values = msgpack.unpackb(header[1:], strict_map_key=True)
    assert isinstance(values, list)
    return values


def _ask(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "actors.cli", *words], cwd=ROOT, capture_output=True, text=True,
                          timeout=WATCHDOG_S, check=False)
    assert done.returncode == 0, done.stderr


def _troubled_load(folder: Path) -> None:
    """Parsers and checkers apart, a monitor; a record that kills, and a writer that dies with parts in hand."""
    (folder / "logs").mkdir()
    lines = [f"k{number} {'check-kill' if number == 3210 else number}\n" for number in range(RECORDS)]
    (folder / "logs" / "a.txt").write_text("".join(lines))
    sets = ("flow.batch_bytes=4000", "parser.fused=false", "budget.max_error_rate=0.5", f"options.marks={folder}",
            "monitor.enabled=true", "monitor.port=0")
    with Load(folder / "logs" / "*.txt", folder / "state", *sets, target="tests.pipelines.treacherous") as running:
        running.kill("writer.store", 1, signal.SIGSTOP)
        views = running.until(_has_more_than_the_writer, "parts that wait for the writer")
        os.kill(views["writer.store"].pid, signal.SIGKILL)
        assert running.wait() == 0, running.output()


def _has_more_than_the_writer(views: Views) -> bool:
    checked = sum(view.batches for name, view in views.items() if name.startswith("checker."))
    return checked >= views["writer.store"].batches + 3


def _windows(folder: Path) -> None:
    """A log that is followed, in windows counted from its first record, with a gap too long to emit; a tap; a pool that
    shrinks."""
    log, state = folder / "a.log", folder / "windows"
    gap_ms = 12_000 * 3_600_000
    log.write_text("".join(f"{1_565_647_204_351 + number * 1000 + (number // 19_900) * gap_ms} Aadvik Matina\n"
                           for number in range(20_000)))
    words = [word for one in ("source.poll_s=0.05", "source.idle_timeout_s=0.3", "flow.batch_bytes=20000",
                              "parser.workers=2", "options.into_host=Matina", "options.from_host=Aadvik",
                              "window.empty=emit")
             for word in ("--set", one)]
    with Running(state, "run", "connections", *words, str(log)) as running:
        running.until(lambda views: views["reader.1"].bytes_done >= log.stat().st_size, "the whole log read")
        _ask("tap", "reader", "--seconds", "1", "--state", str(state))
        _ask("scale", "parser=1", "--state", str(state))
        running.until(lambda views: "parser.2" not in views, "one worker")
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0, running.output()


def _outage(folder: Path) -> None:
    """A sink whose server is not there."""
    (folder / "apps").mkdir()
    (folder / "apps" / "a.tsv").write_text("idfa\te7e1\t67.5\t-22.5\t7,8\n")
    sets = ("sinks.idfa.type=memcached", f"sinks.idfa.server=unix:{folder}/nobody")
    with Load(folder / "apps" / "*.tsv", folder / "outage", *sets) as running:
        running.until(lambda views: '"outage"' in running.output(), "an outage")
        running.process.send_signal(signal.SIGTERM)
        running.wait()


def _lost(folder: Path) -> None:
    """A log that is cut to nothing before all of it was read."""
    log, state = folder / "lost.log", folder / "lost"
    log.write_text("".join(f"{1_565_647_204_351 + number} Aadvik Matina\n" for number in range(400_000)))
    words = ["--set", "flow.batch_bytes=2000", "--set", "options.into_host=Matina", "--set", "options.from_host=Aadvik"]
    with Running(state, "run", "connections", *words, str(log)) as running:
        running.until(lambda views: views["reader.1"].bytes_done > 0, "some of the log read")
        running.process.send_signal(signal.SIGTERM)
        running.wait()
    log.write_text("")
    with Running(state, "run", "connections", "--once", *words, str(log)) as running:
        assert running.wait() == 4, running.output()


def _kept(folder: Path) -> Iterator[Frames]:
    for path in folder.iterdir():
        data, at = path.read_bytes(), 0
        while at < len(data):
            (count,) = struct.unpack_from("<I", data, at)
            lengths = struct.unpack_from(f"<{count}I", data, at + 4)
            at += 4 * (count + 1)
            frames = []
            for length in lengths:
                frames.append(data[at:at + length])
                at += length
            yield frames


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Frames]]:
    """Every message that crossed a socket of the runs, by type."""
    folder = tmp_path_factory.mktemp("wire")
    tapped = folder / "tapped"
    tapped.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "tests" / "wiretap"))
        patch.setenv("WIRETAP", str(tapped))
        for run in (_troubled_load, _windows, _outage, _lost):
            run(folder)
    by_type: dict[str, list[Frames]] = {}
    for frames in _kept(tapped):
        tag, *fields = unpacked(frames[0])
        by_type.setdefault(tag, []).append(frames)
        for one, inner in _bundled(fields, frames[1:]) if tag == "bundle" else ():
            by_type.setdefault(one, []).append(inner)
    return by_type


def _bundled(fields: list[Any], payload: Frames) -> Iterator[tuple[str, Frames]]:
    """The messages of a bundle as documented, each as if it had been sent alone."""
    at = 0
    for message, sizes in zip(*fields, strict=True):
        frames = [bytes([VERSION]) + msgpack.packb(message)]
        for size in sizes:
            frames.append(payload[0][at:at + size])
            at += size
        yield message[0], frames
    assert at == sum(map(len, payload))


def test_the_document_has_every_message_with_every_field() -> None:
    assert differences(TABLE) == []


@pytest.mark.parametrize(("line", "instead"), [
    ("| `hello` | `run` str |\n", ""),
    ("`start` int; ", ""),
    ("`pid` int", "`pid` str"),
    ("*`end`* bool", "`end` bool"),
    ("| `stop` | |\n", "| `stop` | |\n| `halt` | |\n"),
])
def test_a_document_that_has_not_is_found_out(line: str, instead: str) -> None:
    assert line in DOCUMENT
    assert differences(table_of(DOCUMENT.replace(line, instead)))


def test_every_type_of_message_has_crossed_a_socket(heard: dict[str, list[Frames]]) -> None:
    assert heard.keys() == TYPES.keys()


def test_the_reference_implementation_reads_every_header_as_documented(heard: dict[str, list[Frames]]) -> None:
    wrong = {(tag, text) for tag, some in heard.items() for frames in some
             for text in problems(unpacked(frames[0])[1:], TABLE[tag])}
    assert wrong == set()


def test_our_decoder_takes_what_the_reference_implementation_writes(heard: dict[str, list[Frames]]) -> None:
    for frames in (frames for some in heard.values() for frames in some):
        header = bytes([VERSION]) + msgpack.packb(unpacked(frames[0]))
        assert decode(header) == decode(frames[0])


def test_a_header_that_ends_before_the_defaults_is_taken_and_one_that_is_longer_too(
    heard: dict[str, list[Frames]]
) -> None:
    for tag, (frames, *_) in heard.items():
        required = 1 + sum(not field.has_default for field in TABLE[tag])
        values = unpacked(frames[0])
        assert isinstance(decode(bytes([VERSION]) + msgpack.packb(values[:required])), TYPES[tag])
        assert decode(bytes([VERSION]) + msgpack.packb([*values, "from later on"])) == decode(frames[0])


def test_the_rows_between_parser_and_checker_are_msgpack_as_documented(heard: dict[str, list[Frames]]) -> None:
    batches = [frames for frames in heard["batch"] if len(frames) == 3]
    assert batches
    stages = set()
    for header, lines, rows in batches:
        stage, values, rejects, finishes = msgpack.unpackb(rows)
        stages.add(stage)
        batch = decode(header)
        assert isinstance(batch, messages.Batch)
        assert finishes == []
        if batch.fault:  # the record that kills
            assert (stage, values, rejects) == ("reader", [None], [[0, batch.fault, batch.detail]])
        else:
            assert (stage, rejects) == ("parser", [])
            assert [b" ".join(value) for value in values] == lines.splitlines()
    assert stages == {"parser", "reader"}
