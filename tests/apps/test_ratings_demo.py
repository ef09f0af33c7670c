"""The demo of the ratings as a person runs it: one command, both pipelines, the dashboard, and a clean Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from actors.topics.reading import read_topic
from scripts.make_reviews import write_reviews
from tests.checkouts import make_checkout
from tests.loads import ROOT, WATCHDOG_S

FAKES, REVIEWS = 0.05, 120


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(condition: Callable[[], bool], what: str, said: Path) -> None:
    deadline = time.monotonic() + WATCHDOG_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what}: {said.read_text()}"
        time.sleep(0.05)


def request(port: int, path: str, demo: Path) -> Request:
    """With what the demo says that one has to show."""
    token = demo / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    return Request(f"http://127.0.0.1:{port}/{path}", headers={"Authorization": f"Bearer {token.read_text()}"})


def is_there(port: int, demo: Path) -> bool:
    try:
        with urlopen(request(port, "", demo), timeout=WATCHDOG_S) as page:
            return bool(page.read())
    except (URLError, ConnectionError):
        return False


def panels(port: int, demo: Path) -> list[dict[str, Any]]:
    with urlopen(request(port, "api/panels", demo), timeout=WATCHDOG_S) as page:
        found: list[dict[str, Any]] = json.load(page)["panels"]
        return found


def test_the_demo_shows_the_plot_and_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    root, port, said = make_checkout(tmp_path / "a folder"), free_port(), tmp_path / "said"
    demo = root / "var" / "ratings-demo"
    write_reviews(demo / "reviews.json", REVIEWS, fakes=FAKES)
    fakes = (demo / "reviews.json").read_text().count('"buy this card now')
    assert fakes
    for number in range(2):  # the second time it goes on
        with said.open("w") as file:
            process = subprocess.Popen(
                [str(root / "scripts/ratings_demo"), "--hz", "200", "--check-cost", "0.01", "--port", str(port)],
                cwd="/", stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            until(lambda: "all reviews are published" in said.read_text(), "end of the reviews", said)
            until(lambda: is_there(port, demo), "page", said)
            assert {"main", "shop"} == {one["name"] for one in panels(port, demo)}
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(WATCHDOG_S) == 0, said.read_text()
            assert not is_there(port, demo)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(WATCHDOG_S)
        assert "second signal" not in (demo / "trends.out").read_text(), "Ctrl-C drains"
        assert f"http://127.0.0.1:{port}/ with the token in {demo}/token\n" in said.read_text()
        assert "ended; the same command goes on from here" in said.read_text(), number
        assert sum(1 for _ in read_topic(demo / "topics/live_ratings")) == REVIEWS - fakes


def test_ctrl_c_as_soon_as_both_run_ends_them_without_a_word_of_the_shell(tmp_path: Path) -> None:
    root, said = make_checkout(tmp_path / "folder"), tmp_path / "said"
    write_reviews(root / "var/ratings-demo/reviews.json", REVIEWS, fakes=FAKES)
    with said.open("w") as file:
        process = subprocess.Popen([str(root / "scripts/ratings_demo"), "--port", str(free_port())],
                                   stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    until(lambda: "Ctrl-C ends both" in said.read_text(), "beginning", said)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(WATCHDOG_S) == 0, said.read_text()
    assert "Terminated" not in said.read_text()


def test_an_option_without_its_value_is_told_with_the_usage(tmp_path: Path) -> None:
    done = subprocess.run(["sh", str(ROOT / "scripts/ratings_demo"), "--hz"], capture_output=True, text=True,
                          timeout=WATCHDOG_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("--hz: expected a value, got nothing\n")
    assert "[--hz 5]" in done.stderr
