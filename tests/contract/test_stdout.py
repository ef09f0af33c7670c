"""Standard output as a sink: blocks of lines as they are, waiting for whoever reads, the end when nobody does."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.console.progress import is_off_screen, shares_output
from actors.runtime.errors import Finish, Reject, Retryable
from actors.runtime.marks import Mark
from actors.runtime.messages import Ack, BatchId, Member, Message, Part
from actors.runtime.tracing import OFF
from actors.runtime.values import Payload
from actors.settings import load
from actors.sinks.dead_letters import DeadLetters
from actors.sinks.stdout import Stdout, _Console
from actors.writer import Writer
from tests.loads import ROOT

TARGET = "tests.pipelines.liner"


def payload(items: list[Any], start: int = 0) -> Payload:
    return Payload("p", start, start + 1, len(items), Stdout().pack(items))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        for descriptor in (reading, writing):
            with contextlib.suppress(OSError):  # a test may have closed it
                os.close(descriptor)


def test_an_item_is_a_line_or_a_block_of_lines_of_text_or_bytes() -> None:
    assert Stdout().pack(["ä", b"b\xff", "two\nlines\n", ""]) == "ä\nb".encode() + b"\xff\ntwo\nlines\n\n"
    assert Stdout().pack([]) == b""
    with pytest.raises(Reject, match=r"^text: expected text or bytes for standard output, got int$"):
        Stdout().pack([17])  # type: ignore[list-item]


def test_lines_come_out_in_order_and_complete_through_a_pipe_that_is_full_and_does_not_block(
    pipe: tuple[int, int]
) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    lines = [f"line {number}" for number in range(100_000)]
    received = bytearray()

    def read() -> None:
        while part := os.read(reading, 8192):
            received.extend(part)

    thread = threading.Thread(target=read)
    thread.start()
    assert _Console(writing).write([payload(lines[:50_000]), payload(lines[50_000:], 1)]) == []
    os.close(writing)
    thread.join()
    assert received.decode().splitlines() == lines


def test_a_full_disk_is_waited_for_and_what_was_written_is_not_written_again(
    monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]
) -> None:
    reading, writing = pipe
    real, calls = os.write, []

    def write(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[:3])

    monkeypatch.setattr("actors.runtime.whole_lines.os.write", write)
    sink = _Console(writing)
    with pytest.raises(Retryable, match=r"^standard output: no space left on device$"):
        sink.write([payload(["abcdef"])])
    assert sink.write([payload(["abcdef"])]) == []
    assert sink.write([payload(["gh"], 1)]) == []
    assert os.read(reading, 100) == b"abcdef\ngh\n"


def test_a_reader_that_has_gone_is_the_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    with pytest.raises(Finish):
        _Console(writing).write([payload(["a"])])


class Slot:
    """A slot on no board."""

    def __init__(self) -> None:
        self.batches = self.records = self.bytes_done = self.bytes_total = self.open = 0
        self.queued = self.credit = 0
        self.waiting_since = self.record_s = self.down_since = 0.0
        self.batch_records = 0
        self.note = ""

    def take(self, batch: BatchId) -> None:
        """Have a batch in hand."""

    def mark(self, mark: Mark) -> None:
        """Have this of it in hand."""

    def took(self, *seconds: float) -> None:
        """Count how long batches took."""

    def phase(self, phase: str) -> None:
        """Enter a phase."""


class Outbox:
    """A ``Post`` that keeps what is sent."""

    def __init__(self) -> None:
        self.address, self.generation, self.roster_version = "writer.out#1", 1, 0
        self.members: dict[str, Member] = {}
        self.tracer = OFF
        self.slot = Slot()
        self.sent: list[Message] = []

    def send(self, address: str, message: Message, frames: Sequence[bytes] = ()) -> bool:
        self.sent.append(message)
        return True

    def tell(self, message: Message) -> None:
        """Nobody supervises."""


class Deaf:
    """A sink that nobody reads."""

    def write(self, payloads: Any) -> Any:
        raise Finish("nobody reads")

    def close(self) -> None:
        """Nothing is held."""


def test_what_nobody_reads_is_acknowledged_and_the_origin_is_told_to_finish() -> None:
    post = Outbox()
    writer = Writer(post, "out", Deaf(), True, DeadLetters())
    for start in (0, 10):
        part = Part("p", start, start + 10, 1, 0, 1, {"written": 1})
        writer.message("parser.1#1", part, [b"a\n"])
    writer.work(0.0)
    acks = [message for message in post.sent if isinstance(message, Ack)]
    assert [ack.counts for ack in acks] == [{"written": 1, "finish": 1}] * 2


def run(tmp_path: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", TARGET, "--state", str(tmp_path / "state"),
         "--set", f"source.pattern={tmp_path}/*.txt", "--set", "sinks.store.type=stdout", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False, **options)


@pytest.mark.parametrize("form", ["text", "json", "auto"])
def test_standard_output_has_the_lines_alone_and_all_else_goes_to_standard_error(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.txt").write_text("".join(f"line {number}\n" for number in range(1000)))
    done = run(tmp_path, "--format", form, "--set", "flow.batch_bytes=1000")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"line {number}\n" for number in range(1000))
    assert ("actors ready" in done.stderr) == (form == "text")
    assert ('"event": "report"' in done.stderr) == (form != "text")


def test_a_dry_run_prints_no_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\nb\n")
    done = run(tmp_path, "--dry-run")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_run_whose_reader_has_gone_ends(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"line {number}\n" for number in range(50_000)))
    command = (f"{sys.executable} -m actors.cli run {TARGET} --state {tmp_path}/state --set sinks.store.type=stdout "
               f"--set source.pattern='{tmp_path}/*.txt' --set flow.batch_bytes=2000 | head -n 3")
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout == "line 0\nline 1\nline 2\n"
    assert '"event": "outage"' not in done.stderr


def test_which_sinks_share_the_output_and_where_a_bar_may_be_drawn(tmp_path: Path, pipe: tuple[int, int]) -> None:
    assert shares_output(load(TARGET, sets=["sinks.store.type=stdout"]).manifest)
    assert not shares_output(load(TARGET).manifest)
    with (tmp_path / "file").open("w") as file, Path(os.devnull).open("w") as nowhere:
        assert is_off_screen(file.fileno())
        assert is_off_screen(nowhere.fileno())
    assert not is_off_screen(pipe[1])
    terminal, screen = os.openpty()
    try:
        assert not is_off_screen(screen)
    finally:
        os.close(terminal)
        os.close(screen)


def on_a_terminal(tmp_path: Path, out: int | None) -> bytes:
    """What a terminal shows of a run; ``out``: where its standard output goes instead."""
    terminal, screen = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "actors.cli", "run", TARGET, "--state", str(tmp_path / "state"), "--set",
         f"source.pattern={tmp_path}/*.txt", "--set", "sinks.store.type=stdout", "--set", "flow.batch_bytes=1000"],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=screen if out is None else out, stderr=screen,
        env={**os.environ, "TERM": "xterm"})
    os.close(screen)
    shown = bytearray()
    try:
        with contextlib.suppress(OSError):  # how the end of a terminal looks
            while part := os.read(terminal, 4096):
                shown += part
        assert process.wait(60) == 0, shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    return bytes(shown)


def test_on_a_terminal_no_bar_is_drawn_into_the_lines_but_above_a_file_it_is(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(300)]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    shown = on_a_terminal(tmp_path, None)
    assert b"\x1b" not in shown
    assert [line for line in shown.decode().splitlines() if line.startswith("line ")] == lines
    assert b"actors ready" in shown
    (tmp_path / ".a.txt").rename(tmp_path / "a.txt")
    with (tmp_path / "out").open("wb") as out:
        shown = on_a_terminal(tmp_path, out.fileno())
    assert b"\x1b" in shown
    assert (tmp_path / "out").read_text().splitlines() == lines
