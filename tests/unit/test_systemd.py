"""The channel to the service manager: which messages go out, and what becomes of those that nobody takes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.console.progress import QuietObserver
from actors.console.systemd import Channel, Notifier
from actors.runtime.events import Draining, Reloaded, RunReady


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(10)
        yield receiver


def _texts(receiver: socket.socket) -> list[str]:
    receiver.setblocking(False)
    texts: list[str] = []
    while True:
        try:
            texts.append(receiver.recv(65536).decode())
        except BlockingIOError:
            return texts


def _said(receiver: socket.socket) -> list[list[str]]:
    return [[line.split("=")[0] for line in text.split("\n")] for text in _texts(receiver)]


def _notifier(receiver: socket.socket, **environ: str) -> Notifier:
    return Notifier(QuietObserver(), {"NOTIFY_SOCKET": receiver.getsockname(), **environ})


def test_the_variables_are_taken_out_of_the_environment() -> None:
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    channel = Channel(environ)
    assert environ == {"HOME": "/"}
    assert channel.watchdog_s == 1.0
    channel.close()


@pytest.mark.parametrize(("usec", "pid", "seconds"), [
    ("30000000", "", 15.0), ("30000000", "ours", 15.0), ("30000000", "1", 0.0), ("", "", 0.0),
    ("0", "", 0.0), ("soon", "", 0.0), ("-5", "", 0.0)])
def test_the_watchdog_is_fed_at_half_its_time_when_it_is_meant_for_this_process(
    usec: str, pid: str, seconds: float
) -> None:
    pid = str(os.getpid()) if pid == "ours" else pid
    channel = Channel({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid})
    assert channel.watchdog_s == seconds
    channel.close()


@pytest.mark.parametrize("address", ["", "/", "@", "vsock:2:1234", "relative"])
def test_an_address_that_is_none_is_as_good_as_no_service_manager(address: str) -> None:
    notifier = Notifier(QuietObserver(), {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    assert notifier.refresh_s == 0  # so the supervisor never wakes up for it
    notifier.event(RunReady(3, 0.1))
    notifier.refresh([])
    notifier.close()


def test_what_is_said_once_waits_for_room_and_comes_before_what_is_said_later(receiver: socket.socket) -> None:
    channel = Channel({"NOTIFY_SOCKET": receiver.getsockname()})
    for number in range(5000):  # more than any queue takes; what does not fit is dropped
        channel.say(f"STATUS={number}")
    channel.say("READY=1", once=True)
    channel.say("STOPPING=1", once=True)
    texts = _texts(receiver)
    assert 0 < len(texts) < 5000
    assert set(texts) == {f"STATUS={number}" for number in range(len(texts))}
    channel.say("STATUS=there is room again")
    assert _texts(receiver) == ["READY=1", "STOPPING=1", "STATUS=there is room again"]
    channel.close()


def test_where_nobody_listens_nothing_is_kept(tmp_path: Path) -> None:
    channel = Channel({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    channel.say("READY=1", once=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as late:
        late.bind(str(tmp_path / "nobody"))
        channel.say("STATUS=x")
        assert _texts(late) == ["STATUS=x"]
    channel.close()


def test_a_reload_is_told_before_it_begins_and_after_it_has_ended(receiver: socket.socket) -> None:
    notifier = _notifier(receiver)
    notifier.event(RunReady(3, 0.1))
    seen: list[list[list[str]]] = [_said(receiver)]
    notifier.reloading(lambda: seen.append(_said(receiver)))()
    notifier.event(Reloaded("SIGHUP", False, "nothing is changed: two\nlines"))
    assert [*seen, _said(receiver)] == [
        [["READY", "MAINPID", "STATUS"]], [["RELOADING", "MONOTONIC_USEC"]], [["READY", "STATUS"]]]
    notifier.close()


def test_no_reload_is_told_of_a_run_that_is_not_ready_or_stops(receiver: socket.socket) -> None:
    notifier = _notifier(receiver)
    notifier.reloading(lambda: None)()
    notifier.event(Reloaded("SIGHUP", True, "nothing has changed"))
    assert _said(receiver) == []
    notifier.event(RunReady(3, 0.1))
    notifier.event(Draining("SIGTERM: finishing"))
    _said(receiver)
    notifier.reloading(lambda: None)()
    notifier.event(Reloaded("SIGHUP", True, "nothing has changed"))
    assert _said(receiver) == []
    notifier.close()


def test_stopping_is_said_once(receiver: socket.socket) -> None:
    notifier = _notifier(receiver)
    notifier.event(Draining("SIGTERM: finishing"))
    notifier.event(Draining("SIGTERM: finishing"))
    assert _said(receiver) == [["STOPPING", "STATUS"], ["STATUS"]]
    notifier.close()
