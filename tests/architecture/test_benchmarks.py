"""Benchmarks start: one of them is called like a module of Python's own, and none takes it for that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loads import ROOT, WATCHDOG_S
from tests.monitors import eventually
from tests.processes import named_in_processes


@pytest.mark.parametrize("name", [
    "appsinstalled", "ascp", "ascp_pages", "ascp_proof", "connections", "framings", "kafka", "kafka_sink", "many_files",
    "many_keys", "monitor", "numbers", "overhead", "parquet", "poison", "rabbitmq", "ratings", "redis",
    "slow_functions", "sql_refusals", "survival", "topic", "tracing"])
def test_a_benchmark_says_what_it_does(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / f"benchmarks/{name}.py"), "--help"], capture_output=True, text=True,
        timeout=WATCHDOG_S, check=False)
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{name}.py" in done.stdout


@pytest.mark.parametrize("name", [
    "ascp_regexes", "ascp_stream", "plain_loop", "set_server", "numbers_client", "scrapers", "survival_peers"])
def test_what_a_benchmark_starts_can_be_imported(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import runpy; runpy.run_path('benchmarks/{name}.py')"], cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 0, done.stderr


def test_who_comes_through_has_all_but_the_record_that_fails_and_who_does_not_is_found_out() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/survival.py"), "--lines", "4000", "--rounds", "1", "--json",
         "--only", "executor,thresher"], capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["thresher"]["end"], found["thresher"]["rows"], found["thresher"]["twice"]) == ("done", 3999, 0)
    assert (found["executor"]["end"], found["executor"]["rows"] < 3999) == ("exit code 1", True)


def test_a_benchmark_that_is_told_to_end_leaves_no_run_behind(tmp_path: Path) -> None:
    words = ["--broker", "topic", "--reviews", "300000", "--rounds", "1", "--skip-paced"]
    with subprocess.Popen([sys.executable, str(ROOT / "benchmarks/ratings.py"), *words], cwd=tmp_path,
                          env={**os.environ, "TMPDIR": str(tmp_path)}, stderr=subprocess.DEVNULL) as running:
        eventually(lambda: named_in_processes("actors", str(tmp_path)), "actors of its runs")
        running.send_signal(signal.SIGTERM)
        assert running.wait(WATCHDOG_S) == 130
    eventually(lambda: not named_in_processes(str(tmp_path)), "the end of all that it has started")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("thresher-bench-")]
