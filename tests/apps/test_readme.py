"""Every block of the README does what it says, as it stands there; what cannot be done is listed, with the reason.

A block is known by its first line, without the comment behind it. A test that does one says so by ``shows``. Ports are
replaced by free ones, and nothing else.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import pytest

from actors.runtime.state import read_state
from actors.sinks.lmdb import read_lmdb
from tests.checkouts import make_checkout, make_programs
from tests.loads import DEVICE_TYPES, ROOT
from tests.servers import Memcached, free_port

README = (ROOT / "README.md").read_text(encoding="utf-8")
WATCHDOG_S = 240.0
RECORDS = 30_000
#: Blocks that show something and can be done by nobody.
ILLUSTRATIONS = {"supervisor": "a drawing of the tree of processes"}
_shown: set[str] = set()


class Block(NamedTuple):
    """A block of the page.

    Attributes:
        kind: what stands behind the fence; ``indented`` without one.
        lines: what is in it.
    """

    kind: str
    lines: list[str]

    @property
    def commands(self) -> list[str]:
        """What a shell does with it, command by command, without the comments behind them."""
        text = "\n".join(self.lines).replace("\\\n", "")
        return [command for line in text.splitlines() if (command := _bare(line))]


def _bare(line: str) -> str:
    return re.sub(r"(^|\s+)# .*", "", line).strip()


def blocks(text: str) -> dict[str, Block]:
    """The blocks of a page by their first lines: fenced ones, and those that are indented by four blanks."""
    fenced = [Block(match[1].strip() or "fenced", match[2].splitlines())
              for match in re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = [Block("indented", [line[4:] for line in match[0].strip("\n").splitlines()])
                for match in re.finditer(r"(?:^(?: {4}.*)?\n)*^ {4}.*\n(?:^(?: {4}.*)?\n)*", rest, re.MULTILINE)]
    return {_name(block.lines[0]): block for block in (*fenced, *indented)}


def _name(line: str) -> str:
    return line.split("  ")[0].strip()


BLOCKS = blocks(README)


def shows(first: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test does the block that begins like this."""
    _shown.add(first)
    return lambda test: test


class Reader:
    """Somebody who does what the page says, in a copy of the checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_checkout(folder / "checkout")
        self.monitor = free_port()
        self._environ = {
            **os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "THRESHER_MONITOR__PORT": str(self.monitor),
            "PATH": f"{make_programs(folder / 'bin')}:{os.environ['PATH']}"}

    def do(self, command: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        """Do what one command says, to its end."""
        done = subprocess.run(["sh", "-c", command], cwd=self.folder, env={**self._environ, **environ},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        return done

    @contextmanager
    def going_on(self, command: str, **environ: str) -> Iterator[Going]:
        """Start what has no end of its own; it is killed if it is not stopped."""
        said = self.folder.parent / f"said.{time.monotonic_ns()}"
        with said.open("w") as file:
            process = subprocess.Popen(["sh", "-c", f"exec {command}"], cwd=self.folder, stdin=subprocess.DEVNULL,
                                       env={**self._environ, **environ}, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield Going(process, said)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


class Going:
    """A command that goes on."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self._process = process
        self._said = said

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self._said.read_text()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until it has said something like this."""
        deadline = time.monotonic() + WATCHDOG_S
        while not (found := re.search(pattern, self.text)):
            assert self._process.poll() is None, f"it ended with {self._process.returncode}: {self.text}"
            assert time.monotonic() < deadline, f"it never said {pattern}: {self.text}"
            time.sleep(0.02)
        return found

    def wait(self) -> int:
        """Wait for its own end; return the exit code."""
        return self._process.wait(WATCHDOG_S)

    def interrupt(self) -> int:
        """Ctrl-C; return the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.wait()


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def _report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert report["event"] == "report"
    return report


@shows("scripts/demo")
def test_the_two_commands_are_there() -> None:
    """``test_first_ten_minutes.py`` does the one, and this is in the other."""
    for command in BLOCKS["scripts/demo"].commands:
        assert os.access(ROOT / command, os.X_OK)
        assert subprocess.run(["sh", "-n", ROOT / command], check=False).returncode == 0


@shows("thresher init access && cd access")
def test_a_pipeline_of_yours_takes_a_minute(reader: Reader) -> None:
    made, run, tests, follow = BLOCKS["thresher init access && cd access"].commands
    reader.do(made)
    reader.folder /= "access"
    assert _report(reader.do(run))["read"] == 200
    assert " passed" in reader.do(tests).stdout
    with reader.going_on(follow) as going:
        url = f"http://127.0.0.1:{reader.monitor}/"
        (file,) = going.until(rf'"url": "{re.escape(url)}", "token_file": "([^"]+)"').groups()
        shown = {"Authorization": f"Bearer {Path(file).read_text()}"}  # here is no terminal, which is shown the token
        with urlopen(Request(url, headers=shown), timeout=WATCHDOG_S) as page:
            assert b"<html" in page.read()
        assert going.interrupt() == 0, going.text
    assert "http://127.0.0.1:8686/?token=…" in "\n".join(BLOCKS["thresher init access && cd access"].lines)


@shows("scripts/make_logs.py --out logs")
def test_tracker_logs_are_loaded_into_each_kind_of_store(reader: Reader) -> None:
    make, embedded, servers, loader = BLOCKS["scripts/make_logs.py --out logs"].commands
    reader.do(make)
    assert _report(reader.do(embedded))["outcomes"]["written"] == RECORDS
    stores = {name: len(dict(read_lmdb(reader.folder / f"var/appsinstalled/{name}.lmdb"))) for name in DEVICE_TYPES}
    assert sum(stores.values()) == RECORDS
    with ExitStack() as stack:
        memcacheds = [stack.enter_context(Memcached()) for _ in DEVICE_TYPES]
        config = reader.folder / "config/appsinstalled-memcached.toml"
        config.write_text(_elsewhere(config.read_text(), memcacheds))
        for command in (servers, _elsewhere(loader, memcacheds)):
            reader.do(make)
            assert _report(reader.do(command))["outcomes"]["written"] == RECORDS
            assert [memcached.items() for memcached in memcacheds] == list(stores.values())
            for memcached in memcacheds:
                memcached.flush()


def _elsewhere(text: str, memcacheds: list[Memcached]) -> str:
    """The text with the ports of these servers in the places of those that it names."""
    for port, memcached in zip(range(33013, 33017), memcacheds, strict=True):
        assert text.count(f"127.0.0.1:{port}") == 1, text
        text = text.replace(f"127.0.0.1:{port}", memcached.address)
    return text


@shows(".venv/bin/thresher run numbers")
def test_numbers_are_taken_and_counted_until_a_client_ends_it(reader: Reader) -> None:
    run, send = BLOCKS[".venv/bin/thresher run numbers"].commands
    port = str(free_port())
    with reader.going_on(run, THRESHER_SOURCE__PORT=port) as going:
        going.until('"ready"|ready after')
        reader.do(send.replace(":4000 ", f":{port} "))
        assert going.wait() == 0, going.text
    logged = (reader.folder / "var/numbers/numbers.log").read_text().splitlines()
    assert 990_000 < len(logged) <= 1_000_000  # random ones: a few come twice
    assert len(set(logged)) == len(logged)


@shows("scripts/grow_log.py access.log &")
def test_connections_are_reported_while_the_log_grows_and_asked_for_when_it_is_whole(reader: Reader) -> None:
    grow, follow, make, ask = BLOCKS["scripts/grow_log.py access.log &"].commands
    with reader.going_on(grow.removesuffix("&")), reader.going_on(follow) as going:
        going.until(r"connected to Higapo: \w+")
        assert going.interrupt() == 0, going.text
    reader.do(make)
    assert (reader.folder / "day.log").stat().st_size > 45_000_000
    found = [line for line in reader.do(ask).stdout.splitlines() if not line.startswith("{")]
    assert len(found) > 100
    assert found == sorted(set(found))


@shows("scripts/make_reviews.py --out reviews.json --reviews 200")
def test_ratings_are_published_and_counted(reader: Reader) -> None:
    make, feed, trends = BLOCKS["scripts/make_reviews.py --out reviews.json --reviews 200"].commands
    reader.do(make)
    fed = _report(reader.do(feed))
    assert fed["read"] == 150
    counted = _report(reader.do(trends))
    assert counted["read"] == fed["outcomes"]["written"] > 100
    rows = [json.loads(line) for line in (reader.folder / "var/ratings-trends/averages.jsonl").read_text().splitlines()]
    assert sum(row["count"] for row in rows) == counted["read"]


@shows("scripts/make_ascp.py --lines 3000 > ascp.log")
def test_transfer_logs_are_taken_apart_and_summed_up(reader: Reader) -> None:
    make, run, longest, browse = BLOCKS["scripts/make_ascp.py --lines 3000 > ascp.log"].commands
    reader.do(make)
    assert _report(reader.do(run))["outcomes"]["written"] == 3000
    lines = set((reader.folder / "ascp.log").read_bytes().splitlines())  # of two that are the same there is one event
    assert len(dict(read_lmdb(reader.folder / "var/ascp/events.lmdb"))) == len(lines) > 2900
    rows = [json.loads(line) for line in (reader.folder / "var/ascp/sessions.jsonl").read_text().splitlines()]
    assert len(rows) > 20 and any(row["status"] == "success" and row["mbps"] for row in rows)
    head, *asked = csv.reader(reader.do(longest).stdout.splitlines())
    assert (len(asked), head[:3]) == (3, ["session", "start", "seconds"])
    assert float(asked[0][2]) == max(row["elapsed_s"] for row in rows)
    with reader.going_on(browse) as going:
        url, token = going.until(r"(http://127\.0\.0\.1:[0-9]+/) with the token in (.+)").groups()
        shown = urlopen(Request(f"{url}api/browse/items", headers={
            "Authorization": f"Bearer {Path(token).read_text()}"}), timeout=WATCHDOG_S)
        with shown:
            assert len(json.load(shown)["items"]["items"]) == len(rows)
        assert going.interrupt() == 0


@shows('app = "appsinstalled"')
def test_the_configuration_of_the_readme_can_be_run(reader: Reader) -> None:
    text = "\n".join(BLOCKS['app = "appsinstalled"'].lines)
    with Memcached() as memcached:
        assert text.count("127.0.0.1:33013") == 1
        (reader.folder / "pipeline.toml").write_text(text.replace("127.0.0.1:33013", memcached.address))
        reader.do("scripts/make_logs.py --out logs")
        assert _report(reader.do("thresher run pipeline.toml"))["outcomes"]["written"] == RECORDS
        assert memcached.items() > RECORDS / 5
    shown = json.loads(reader.do("thresher echo pipeline.toml --json").stdout)
    assert shown["parser"]["workers"] == 4


def test_what_is_said_of_layers_is_so(reader: Reader) -> None:
    (reader.folder / "pipeline.toml").write_text("\n".join(BLOCKS['app = "appsinstalled"'].lines))
    said = dict(re.findall(r"`(THRESHER_PARSER__WORKERS)=(\d)`", README))
    (option,) = re.findall(r"`(--set parser\.workers=4)`", README)
    assert said == {"THRESHER_PARSER__WORKERS": "4"}
    for words, workers in (("", 7), (option, 4)):
        shown = reader.do(f"thresher echo pipeline.toml --json {words}", THRESHER_PARSER__WORKERS="7")
        assert json.loads(shown.stdout)["parser"]["workers"] == workers


def test_every_command_of_the_table_is_one(reader: Reader) -> None:
    table = README.split("| command | |\n|---|---|\n")[1].split("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines()]
    named = {words.split()[0] for cell in first for words in re.findall(r"`([^`]+)`", cell)}
    named -= {"ready", "startup", "show", "retry", "export", "purge", "sinks", "apps"}  # second words
    listed = re.findall(r"^    ([a-z]+) ", reader.do("thresher --help").stdout, re.MULTILINE)
    assert named == set(listed)


def _python() -> str:
    (first,) = [name for name, block in BLOCKS.items() if block.kind == "python"]
    return first


@shows(_python())
def test_the_functions_of_the_readme_are_a_pipeline(reader: Reader) -> None:
    (command,) = re.findall(r"Save this as `words.py`, and run `([^`]*)` beside it", README)
    (reader.folder / "words.py").write_text("\n".join([*BLOCKS[_python()].lines, ""]))
    (reader.folder / "in.txt").write_text("one 1\ntwo 2\none 11\n")
    assert _report(reader.do(command))["code"] == 0
    assert dict(read_lmdb(reader.folder / "var/words/words.lmdb")) == {b"one": b"11", b"two": b"2"}
    assert read_state(reader.folder / "var/words/aggregator.1.db") == {("one",): [12], ("two",): [2]}


def test_every_block_is_done_or_listed_as_an_illustration() -> None:
    assert set(BLOCKS) == _shown | set(ILLUSTRATIONS)
    assert not _shown & set(ILLUSTRATIONS)
    assert README.count("\n```") == 2 * len([block for block in BLOCKS.values() if block.kind != "indented"])


def test_blocks_are_found_whatever_their_form() -> None:
    found = blocks("a\n\n    one x   # why\n    two \\\n        three\n\n    four\n\n"
                   "b\n```toml\nk = 1\n```\n\n    five\n")
    assert {name: (block.kind, block.commands) for name, block in found.items()} == {
        "k = 1": ("toml", ["k = 1"]), "one x": ("indented", ["one x", "two     three", "four"]),
        "five": ("indented", ["five"])}
