"""What ``docs/own-sink.md`` and ``docs/own-source.md`` show works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.apps.test_cli import thresher
from tests.loads import ROOT

PAGES = ("own-sink", "own-source")


def shown(page: str) -> tuple[dict[str, str], list[str]]:
    """The files that a page shows by name, and its blocks of TOML."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"^<!-- test: (\S+) -->\n```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    return files, re.findall(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_what_the_page_shows_keeps_the_contract(page: str, tmp_path: Path) -> None:
    files, tables = shown(page)
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert text.count("\n```") == 2 * (len(files) + len(tables)), "a block is neither a named file nor TOML"
    for name, code in files.items():
        (tmp_path / name).write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=tmp_path, capture_output=True, text=True,
        timeout=120, check=False, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_both_run_as_the_pages_configure_them(tmp_path: Path) -> None:
    toml = 'app = "both"\n'
    for page in PAGES:
        files, tables = shown(page)
        for name, code in files.items():
            (tmp_path / name).write_text(code)
        toml += "".join(tables)
    (tmp_path / "both.py").write_text(
        "from thresher import Pipeline\nfrom thresher.sinks import Discard\nfrom thresher.sources import Files\n"
        'PIPELINE = Pipeline(source=Files(pattern="x"), parse=bytes.strip, sinks={"out": Discard()})\n')
    (tmp_path / "both.toml").write_text(toml)
    done = thresher("run", "both.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "var/both/loud.txt").read_bytes().split() == [b"%d" % number for number in range(500)]
