"""What is said of ``[tracing]`` before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.runtime.errors import ConfigError
from actors.settings import load
from tests.loads import ROOT


def test_without_the_extra_the_run_says_what_to_install_and_touches_nothing(tmp_path: Path) -> None:
    package = tmp_path / "without" / "opentelemetry"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ModuleNotFoundError('No module named opentelemetry')\n")
    done = subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", "appsinstalled", "--fresh", "--state", str(tmp_path / "state"),
         "--set", f"source.pattern={tmp_path}/*.gz", "--set", "tracing.enabled=true"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path / "without")}, capture_output=True, text=True,
        timeout=240, check=False)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == (
        "tracing.enabled needs opentelemetry.sdk and opentelemetry.exporter.otlp.proto.http: pip install "
        "'opentelemetry-sdk>=1.25' 'opentelemetry-exporter-otlp-proto-http>=1.25'\n")
    assert not (tmp_path / "state").exists()


def test_without_the_extra_a_configuration_that_does_not_trace_is_in_order(tmp_path: Path) -> None:
    package = tmp_path / "opentelemetry"
    package.mkdir()
    (package / "__init__.py").write_text("raise ModuleNotFoundError\n")
    done = subprocess.run(
        [sys.executable, "-m", "actors.cli", "lint", "appsinstalled"], cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("option", "what"), [
    ("tracing.endpoint=127.0.0.1:4318", "endpoint: expected http://HOST:PORT or https://HOST:PORT"),
    ("tracing.endpoint=grpc://127.0.0.1:4317", "endpoint: expected http://HOST:PORT or https://HOST:PORT"),
    ("tracing.sample_ratio=1.5", "<= 1"),
    ("tracing.sample_ratio=-1", ">= 0"),
    ("tracing.sampel_ratio=1", "sample_ratio"),
])
def test_an_option_that_is_wrong_is_told_with_what_was_expected(option: str, what: str) -> None:
    with pytest.raises(ConfigError) as error:
        load("appsinstalled", sets=[option])
    assert what in str(error.value)
