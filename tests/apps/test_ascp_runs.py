"""ascp as users run it: files and streams, with kills, into one store; the same keys and rows whichever way."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from actors.apps.ascp import PIPELINE
from actors.apps.ascp.browse import charts, transfers
from actors.apps.ascp.events import Event, encode
from actors.apps.ascp.lines import parse_lines
from actors.sinks import redis
from actors.sinks.lmdb import read_lmdb
from scripts.make_ascp import make_lines
from tests.ascp import REFERENCE, REFERENCE_MS, sessions
from tests.loads import ROOT, WATCHDOG_S, Running, Views, assert_counts_add_up, living
from tests.redis import Redis
from tests.tcp import address_of
from tests.topics import Feed
from thresher import Look

LINES = list(islice(make_lines(4, hosts=3, processes=2, longest_s=30), 1500))
DATED = ("--set", f"options.reference={REFERENCE}")
#: The columns that questions are answered from, for a table.
SUMMED_UP = ", ".join(f'{name} = "{kind}"' for name, kind in {
    "session": "text", "host": "text", "start": "timestamp", "end": "timestamp", "status": "text", "source": "text?",
    "dest": "text?", "bytes": "integer?", "elapsed_s": "real?", "mbps": "real?", "target_bps": "integer?",
    "rex_ratio": "real?", "transfers": "integer"}.items())


def expected_store() -> dict[bytes, bytes]:
    """What any way of storing these lines leaves in the store."""
    events = parse_lines([line[:-1] for line in LINES], "", REFERENCE_MS)
    return dict(encode(event) for event in events if isinstance(event, Event))


def expected_rows() -> list[dict[str, Any]]:
    return in_order(session.summary() for session in sessions([line[:-1] for line in LINES]))


def in_order(rows: Any) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row["session"]))


def rows_of(state: Path) -> list[dict[str, Any]]:
    return in_order(json.loads(line) for line in (state / "sessions.jsonl").read_text().splitlines())


def run(state: Path, target: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", target, "--state", str(state), *DATED, *words], cwd=ROOT,
        capture_output=True, text=True, timeout=WATCHDOG_S, check=False)


def test_files_plain_and_packed_and_rotated_are_one_log(tmp_path: Path) -> None:
    logs, state = tmp_path / "logs", tmp_path / "state"
    logs.mkdir()
    with gzip.open(logs / "ascp.log.2.gz", "wb") as packed:
        packed.writelines(LINES[:500])
    (logs / "ascp.log.1").write_bytes(b"".join(LINES[500:900]))
    (logs / "ascp.log").write_bytes(b"".join(LINES[900:]) + b"Oct 10 13:00:00 h ascp[1]: LOG Receiver bl t/o/r=1/2\n")
    done = run(state, "ascp", str(logs), "--set", "flow.batch_bytes=20000")
    assert done.returncode == 0, done.stderr
    assert assert_counts_add_up(state)["rejected.group"] == 1
    assert dict(read_lmdb(state / "events.lmdb")) == expected_store()
    assert rows_of(state) == expected_rows()


def test_a_log_that_grows_with_kills_gives_the_same_rows(tmp_path: Path) -> None:
    log, state, rng = tmp_path / "ascp.log", tmp_path / "state", random.Random(2)
    log.write_bytes(b"")
    whole = b"".join(LINES)
    cuts = sorted(rng.randrange(len(whole)) for _ in range(8))
    quick = ("--set", "source.poll_s=0.05", "--set", "flow.batch_bytes=20000")
    with Running(state, "run", "ascp", str(log), "--follow", *DATED, *quick) as running, log.open("ab", 0) as out:
        killed: set[int] = {0}
        for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(whole)], strict=True)):
            out.write(whole[start:end])
            wanted = whole.rfind(b"\n", 0, end)
            if number % 3 == 1:
                views = running.until(bool, "a board")
                victims = sorted(view.pid for view in views.values() if view.pid not in killed and living([view.pid]))
                if victims:
                    killed.add(rng.choice(victims))
                    os.kill(sorted(killed & set(victims))[0], 9)
            running.until(reader_has(wanted), "the piece read")
        running.process.terminate()
        assert running.wait() == 0, running.output()
    done = run(state, "ascp", str(log))
    assert done.returncode == 0, done.stderr
    assert dict(read_lmdb(state / "events.lmdb")) == expected_store()
    assert rows_of(state) == expected_rows()


def test_a_batch_run_over_what_was_streamed_changes_nothing(tmp_path: Path) -> None:
    live, batch, store = tmp_path / "live", tmp_path / "batch", tmp_path / "events.lmdb"
    into = ("--set", f"sinks.events.path={store}")
    with Running(live, "run", "ascp-live", "--set", "source.port=0", *DATED, *into) as running:
        running.until(lambda views: (live / "journal" / "tcp.address").exists(), "an address")
        with socket.create_connection(address_of(live), timeout=WATCHDOG_S) as client:
            client.sendall(b"".join(LINES[:800]))
            running.kill("parser.1", 0)
            client.sendall(b"".join(LINES[800:]))
        running.until(lambda _: store.exists() and len(dict(read_lmdb(store))) == len(expected_store()), "all events")
        running.process.terminate()
        assert running.wait() == 0, running.output()
    streamed = dict(read_lmdb(store))
    assert streamed == expected_store()
    log = tmp_path / "ascp.log"
    log.write_bytes(b"".join(LINES))
    done = run(batch, "ascp", str(log), *into)
    assert done.returncode == 0, done.stderr
    assert assert_counts_add_up(batch)["written.events"] == len(LINES)
    assert dict(read_lmdb(store)) == streamed


def test_standard_input_gives_what_files_give(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", "ascp-live", "--state", str(state), *DATED, "--set",
         "source.type=stdin"], cwd=ROOT, input=b"".join(LINES), capture_output=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 0, done.stderr
    assert dict(read_lmdb(state / "events.lmdb")) == expected_store()
    assert rows_of(state) == expected_rows()


def test_the_configurations_that_ship_put_sessions_into_tables(tmp_path: Path) -> None:
    log = tmp_path / "ascp.log"
    log.write_bytes(b"".join(LINES))
    batch, live = tmp_path / "ascp", tmp_path / "ascp-live"
    done = run(batch, str(ROOT / "config/ascp.toml"), str(log))
    assert done.returncode == 0, done.stderr
    with (batch / "sessions.csv").open(encoding="utf-8") as file:
        found = {row["session"]: row for row in csv.DictReader(file)}
    expected = {row["session"]: row for row in expected_rows()}
    assert {name: row["bytes"] for name, row in found.items()} == {
        name: str(row["bytes"]) for name, row in expected.items()}
    with (batch / "series.csv").open(encoding="utf-8") as file:
        assert sum(1 for _ in file) == 1 + sum(len(session.points) for session in sessions(
            [line[:-1] for line in LINES]))
    before = dict(read_lmdb(batch / "events.lmdb"))
    text = (ROOT / "config/ascp-live.toml").read_text()
    config = tmp_path / "live.toml"
    head, _, rest = text.partition('type = "tcp"\nhost = "127.0.0.1"\nport = 5140\n')
    config.write_text(f'{head}type = "directory"\npaths = ["{log}"]\nfollow = false\n{rest}')
    done = run(live, str(config))
    assert done.returncode == 0, done.stderr
    with contextlib.closing(sqlite3.connect(live / "sessions.sqlite")) as connection:
        rows = dict(connection.execute("SELECT session, bytes FROM sessions"))
    assert rows == {name: row["bytes"] for name, row in expected.items()}
    assert dict(read_lmdb(batch / "events.lmdb")) == before  # one store for both


def test_from_a_topic_into_redis_and_parquet_keys_rows_and_answers_are_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    feed = Feed(tmp_path / "lines")
    feed.append(*(line[:-1] for line in LINES))
    with Redis() as server:
        to_redis = options(f"sinks.events.type=redis sinks.events.url={server.url()} sinks.events.index=ascp:")
        to_parquet = ("--set", "sinks.sessions.type=parquet", "--set", f"sinks.sessions.columns={{{SUMMED_UP}}}")
        done = run(tmp_path / "state", "ascp-live", *options("source.type=topic source.follow=false"), "--set",
                   f'source.topics=["topic://{feed.topic}"]', *to_redis, *to_parquet)
        assert done.returncode == 0, done.stderr
        assert server.contents() == expected_store()
        for name, prefix in ((b"host:host-1", b"host-1/"), (b"process:host-2/5001", b"host-2/5001/")):
            listed = [(key, float(key.split(b"/")[2])) for key in expected_store() if key.startswith(prefix)]
            assert listed and server.entries(b"ascp:" + name) == sorted(listed, key=lambda pair: (pair[1], pair[0]))
        from_redis = asked(tmp_path / "state", *to_redis)
        with contextlib.closing(redis.Redis(url=server.url(), index="ascp:").reader("events", tmp_path)) as reader:
            page = transfers({"events": reader}, Look(), window=PIPELINE.window)
            lines = {item.id: charts({"events": reader}, item.id, window=PIPELINE.window) for item in page.items}
    from_parquet = asked(
        tmp_path / "state", *options("sinks.events.type=memcached sinks.events.server=127.0.0.1:9"), *to_parquet)
    assert from_redis == from_parquet
    assert [(row["session"], row["bytes"], row["mbps"]) for row in from_redis] == [
        (row["session"], row["bytes"], row["mbps"]) for row in expected_rows()]
    assert sorted((item.id, item.cells[6]) for item in page.items) == [(row["session"], row["bytes"])
                                                                       for row in from_redis]
    assert {name: {fact: value for fact, value, _ in drawn.facts}["bytes"] for name, drawn in lines.items()
            if drawn is not None} == {row["session"]: row["bytes"] for row in from_redis}


def options(words: str) -> list[str]:
    return [word for option in words.split() for word in ("--set", option)]


def asked(state: Path, *words: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "actors.cli", "ask", "ascp-live", "transfers", "--json", "--state", str(state), *words],
        cwd=ROOT, capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 0, done.stderr
    return in_order(json.loads(line) for line in done.stdout.splitlines())


def test_explain_says_what_each_store_can_answer() -> None:
    said = {}
    for kind in ("lmdb", "memcached", "redis"):
        place = {"memcached": "server=127.0.0.1:11211", "redis": "url=redis://127.0.0.1:6379/0"}.get(kind)
        more = ("--set", f"sinks.events.{place}") if place else ()
        said[kind] = subprocess.run(
            [sys.executable, "-m", "actors.cli", "explain", "ascp", "--set", f"sinks.events.type={kind}", *more],
            cwd=ROOT, capture_output=True, text=True, timeout=WATCHDOG_S, check=True).stdout
    assert "answers a key, and keys from one to another, in order" in said["lmdb"]
    assert "answers a key, and nothing else" in said["memcached"]
    assert "answers a key; with index keys in their order, and what it is listed in" in said["redis"]


def reader_has(size: int) -> Any:
    def has(views: Views) -> bool:
        return "reader.1" in views and views["reader.1"].bytes_done >= size
    return has
