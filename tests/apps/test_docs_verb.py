"""``thresher docs``: the pages, wherever it is installed."""

from __future__ import annotations

import subprocess
import sys

from tests.loads import ROOT


def _docs(*words: str) -> tuple[int, str, str]:
    said = subprocess.run([sys.executable, "-m", "actors.cli", "docs", *words], cwd=ROOT, capture_output=True,
                          text=True, check=False)
    return said.returncode, said.stdout, said.stderr


def test_every_page_is_listed_with_its_title() -> None:
    code, out, err = _docs()
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == sorted(path.stem for path in (ROOT / "docs").glob("*.md"))
    assert all(len(line.split(maxsplit=1)) == 2 for line in out.splitlines()), "a page has no title"


def test_a_page_is_printed_byte_for_byte() -> None:
    page = (ROOT / "docs" / "sinks.md").read_text(encoding="utf-8")
    assert _docs("sinks") == _docs("docs/sinks.md") == (0, page, "")


def test_a_page_that_is_not_there_is_told_with_what_may_be_meant() -> None:
    code, out, err = _docs("sink")
    assert (code, out) == (78, "")
    assert err.splitlines()[:2] == ["thresher docs sink: no such page", "  did you mean 'sinks'?"]
