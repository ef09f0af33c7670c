"""scripts/send_numbers.py as people call it, with a real server."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.tcp import NINE, WATCHDOG_S, address_of, reading

ROOT = Path(__file__).resolve().parents[2]


def calling(where: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(ROOT / "scripts/send_numbers.py"), where, *words],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def where_of(state: Path) -> str:
    return "{}:{}".format(*address_of(state))


def test_what_it_sends_is_what_it_writes_down_with_terminate_behind_it(tmp_path: Path) -> None:
    out = tmp_path / "sent"
    with (reading(tmp_path / "state", max_clients=5, **NINE) as here,
          calling(where_of(here.state), "--count", "50001", "--file", str(out), "--terminate") as sending):
        here.until_data(500_020)
        here.until(lambda: b"terminate\n" in here.data)
        here.source.stop()
        said, problems = sending.communicate(timeout=WATCHDOG_S)
    assert (sending.returncode, problems) == (0, "")
    assert re.fullmatch(r"sent 50,001 numbers over 5 connections in .* numbers/s, \d+ MB/s\n", said)
    assert here.data.endswith(b"terminate\n")
    assert sorted(here.data.split()[:-1]) == sorted(out.read_bytes().split())
    assert re.fullmatch(rb"(?:[0-9]{9}\n){50001}", out.read_bytes())


def test_it_stops_when_it_is_time(tmp_path: Path) -> None:
    with (reading(tmp_path, **NINE) as here,
          calling(where_of(tmp_path), "--seconds", "0.2", "--clients", "2") as sending):
        here.until(lambda: sending.poll() is not None)
        assert sending.returncode == 0
        assert len(here.data) > 0


def test_more_clients_than_are_allowed_are_said(tmp_path: Path) -> None:
    with reading(tmp_path, max_clients=2, **NINE) as here, calling(where_of(tmp_path), "--clients", "3") as sending:
        here.until(lambda: sending.poll() is not None)
        _, problems = sending.communicate(timeout=WATCHDOG_S)
    assert sending.returncode == 1
    assert "has closed a connection before it had read all: it takes fewer clients (--clients)" in problems


def test_nobody_who_listens_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
    with calling(where, "--count", "1") as sending:
        _, problems = sending.communicate(timeout=WATCHDOG_S)
    assert sending.returncode == 1
    assert problems == f"{where}: nobody listens there: start the server first, or give its address\n"
