"""Benchmarks start: one of them is called like a module of Python's own, and none takes it for that."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.loads import ROOT, WATCHDOG_S


@pytest.mark.parametrize("name", [
    "appsinstalled", "ascp", "connections", "framings", "kafka", "kafka_sink", "many_files", "many_keys", "monitor",
    "numbers", "overhead", "parquet", "rabbitmq", "ratings", "redis", "slow_functions", "sql_refusals", "topic",
    "tracing"])
def test_a_benchmark_says_what_it_does(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / f"benchmarks/{name}.py"), "--help"], capture_output=True, text=True,
        timeout=WATCHDOG_S, check=False)
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{name}.py" in done.stdout


@pytest.mark.parametrize("name", ["ascp_regexes", "plain_loop", "set_server", "numbers_client", "scrapers"])
def test_what_a_benchmark_starts_can_be_imported(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import runpy; runpy.run_path('benchmarks/{name}.py')"], cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 0, done.stderr
