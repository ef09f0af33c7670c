"""An application that ends its own input, as real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.runtime.ledger import read_units
from tests.loads import Running


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
def test_the_run_ends_well_with_all_that_was_accepted_and_nothing_else(tmp_path: Path, fused: bool) -> None:
    lines = [f"{number:08}" for number in range(20_000)]
    lines[300] = "end"
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n")
    with Running(tmp_path / "state", "run", "tests.pipelines.finisher", "--set", f"source.pattern={tmp_path}/in.txt",
                 "--set", f"parser.fused={str(fused).lower()}") as running:
        assert running.wait() == 0, running.output()
    (report,) = running.of("report")
    assert (report["code"], report["reason"]) == (0, "the application has asked for the end of the input")
    (unit,) = read_units(tmp_path / "state" / "positions.db")
    assert 300 < unit.lines < 300 + 6 * 120, "no more than was under way, and was read"
    stays = unit.lines - 1
    assert unit.counts == {"read": unit.lines, "written": stays, "written.store": stays, "filtered": 1}
    stored = (tmp_path / "state" / "store.log").read_text().splitlines()
    assert stored == [line for line in lines[:unit.lines] if line != "end"]
    assert (tmp_path / "in.txt").exists(), "it is not all read"
