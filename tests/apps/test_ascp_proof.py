"""What the benchmark of ascp measures, drawn: the figures on the page are those of its JSON."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.apps.test_dashboard import CONTRAST
from tests.browser import chromium, visit
from tests.loads import ROOT, WATCHDOG_S


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the smallest of benchmarks says."""
    path = tmp_path_factory.mktemp("proof") / "ascp.json"
    done = subprocess.run(
        [sys.executable, "benchmarks/ascp.py", "--bytes", "1200KB", "--rounds", "1", "--end", "300KB", "--stream",
         "300KB", "--rate", "200", "--seconds", "1", "--json"], cwd=ROOT, capture_output=True, check=False,
        timeout=4 * WATCHDOG_S)
    assert done.returncode == 0, done.stderr.decode()
    path.write_bytes(done.stdout)
    subprocess.run([sys.executable, "benchmarks/ascp_proof.py", str(path)], cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL, timeout=WATCHDOG_S)
    return path


def rows_of(page: Page, id: str) -> list[tuple[str, str, float]]:
    """Name, figures and length of each bar."""
    found: list[tuple[str, str, float]] = page.evaluate("""(id) => [...document.querySelectorAll(`#${id} g.row`)].map(
        (row) => [row.children[0].textContent, row.querySelector(".figure").textContent,
                  row.querySelector("rect").width.baseVal.value])""", id)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_shows_what_was_measured(measured: Path, width: int, scheme: Any) -> None:
    said = json.loads(measured.read_text())
    (of,), (end,), (stream,) = said["rounds"], said["end to end"], said["stream"]
    assert said["same"]
    rates = {"one table": of["lines"] / of["table"], f"{said['expressions']} regexes": of["lines"] / of["regexes"],
             "regexes, by kind": of["lines"] / of["regexes by kind"], "batch: files": end["lines"] / end["thresher"],
             "stream: TCP": stream["lines"] / stream["seconds"],
             "plain loop, files": end["lines"] / end["plain loop"]}
    with chromium() as browser, visit(browser, measured.with_suffix(".html").as_uri(), color_scheme=scheme,
                                      viewport={"width": width, "height": 800}) as page:
        expect(page.locator("#same")).to_contain_text("they are the same")
        expect(page.locator("#parsers-said")).to_contain_text(f"{of['regexes'] / of['table']:.1f} times")
        shown = {name: (text, length) for name, text, length in (*rows_of(page, "parsers"), *rows_of(page, "ways"))}
        assert list(shown) == list(rates)
        for name, rate in rates.items():
            assert float(shown[name][0].split(" ")[0].replace(",", "")) == pytest.approx(rate, abs=0.51)
        assert shown["one table"][1] / shown["regexes, by kind"][1] == pytest.approx(
            rates["one table"] / rates["regexes, by kind"], rel=0.01)
        median = statistics.median(stream["waits"])
        expect(page.locator("#waits-said")).to_contain_text(
            f"at 200 lines/s: {f'{1000 * median:.0f} ms' if median < 1 else f'{median:.2f} s'} (median)")
        assert len(page.evaluate("document.querySelector('#waits path.line').getAttribute('d')")) > 100
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("""() => [...document.querySelectorAll(".figure")].every((text) =>
            text.getBoundingClientRect().right <= document.getElementById("parsers").getBoundingClientRect().right)""")
        assert page.evaluate(CONTRAST) == []
