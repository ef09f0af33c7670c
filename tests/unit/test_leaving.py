"""How a unit leaves: what is kept of it, and when."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.runtime.leaving import Leaving
from actors.runtime.ledger import Ledger, read_units
from actors.sources.files import Files


class Died(Exception):
    """The reader is killed here."""


@pytest.mark.parametrize(("max_error_rate", "verdict"), [(0.0, "failed"), (1.0, "loaded")])
def test_what_a_file_with_letters_is_known_by_is_durable_with_its_verdict(
    tmp_path: Path, max_error_rate: float, verdict: str
) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"a line\n" * 50_000)
    ledger = Ledger(tmp_path / "positions.db", "run")
    source = Files(paths=[str(path)]).open(ledger, 1 << 20, tmp_path)
    while (chunk := source.read()) is not None:
        ledger.issue(chunk)
        ledger.flush()
        ledger.close(chunk, {"dead_lettered": 1})

    def commit_and_die() -> None:
        ledger.commit()
        raise Died

    with pytest.raises(Died):
        Leaving(ledger, source, max_error_rate, False, commit_and_die).finish()
    (unit,) = read_units(tmp_path / "positions.db", "run")
    assert unit.status == verdict
    assert unit.content
    source.close()
    ledger.close_file()
