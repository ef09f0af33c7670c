"""What ``verify`` compares of records that were rejected: all that they came with."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from actors.runtime.framing import Record, envelope_of
from actors.runtime.values import DeadLetter, Unit
from actors.verify.compare import Difference, Outcome, _letters, differences
from tests.letters import put

RECORD = Record(71, b"a\nb", key=b"k")


def outcome(state: Path, record: Record, output: str = "") -> Outcome:
    put(state, DeadLetter("checker", "stars", "", "live/0", "p", 0, record.offset, record.line, record.value or b"",
                          envelope=envelope_of(record), output=output))
    return Outcome({"dead letters": _letters(state / "dead-letters.db")}, frozenset(), [])


def compared(tmp_path: Path, other: Record, output: str = "") -> list[Difference]:
    return differences(outcome(tmp_path / "a", RECORD), outcome(tmp_path / "b", other, output))


def test_the_same_record_is_no_difference(tmp_path: Path) -> None:
    assert compared(tmp_path, RECORD) == []


@pytest.mark.parametrize("change", [
    {"offset": 72}, {"value": None}, {"value": b"a"}, {"key": None}, {"key": b"other"}, {"time": 1},
    {"headers": (("h", None),)}])
def test_a_record_with_anything_else_is_another(tmp_path: Path, change: dict[str, object]) -> None:
    found = compared(tmp_path, msgspec.structs.replace(RECORD, **change))
    assert [(each.expected, each.got) for each in found] == [("1 time", "nothing"), ("nothing", "1 time")]


def test_another_output_of_the_same_record_is_another_letter(tmp_path: Path) -> None:
    first, second = compared(tmp_path, RECORD, "1")
    assert first.record.startswith("live/0: stars: Record(offset=71, value=b'a\\nb'")
    assert second.record.startswith("live/0 output 1: stars: Record(offset=71")


@pytest.mark.parametrize(("end", "read", "size"), [
    (1_000_000, 20_000, 1_000_000), (4000, 2000, 4000), (0, 0, 0), (20_000, 20_000, 1_280_000)],
    ids=["lines", "lines of one byte", "nothing", "records that are numbered"])
def test_a_sample_is_as_large_as_its_bytes_also_when_its_positions_count_records(
    end: int, read: int, size: int
) -> None:
    unit = Unit(1, "a", "", 50, 50 + end, 0, 50 + end, "done", {"read": read})
    assert Outcome({}, frozenset(), [unit]).sample_bytes == size
