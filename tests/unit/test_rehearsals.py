"""A dry run and a query often run beside the service whose configuration they read: its port is not theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.console import commandline
from actors.console.inputs import settings_from


@pytest.mark.parametrize(("words", "expected"), [
    ([], True), (["--dry-run"], False), (["--dry-run", "--monitor"], True),
    (["--dry-run", "--set", "monitor.enabled=true"], True)])
def test_a_rehearsal_has_a_monitor_only_when_it_is_told_to(tmp_path: Path, words: list[str], expected: bool) -> None:
    config = tmp_path / "x.toml"
    config.write_text('app = "appsinstalled"\n[monitor]\nenabled = true\n')
    options = commandline.read(["run", str(config), *words])
    assert settings_from(options, dry=options.dry_run).manifest.monitor.enabled is expected
