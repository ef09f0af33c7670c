"""When input was seen first: a fact that holds for an hour, and that whoever reads it again finds."""

from __future__ import annotations

import msgspec

from actors.runtime.dated import HOLDS_MS, Dates
from actors.runtime.lift import asks_for_unit, lift_parse, of_batch
from actors.runtime.messages import Batch
from actors.runtime.values import Chunk, InputUnit
from thresher import Record, per_chunk

CHUNK = Chunk(unit=1, source="a.log", start=0, end=4, offset=0, line=1, data=b"a\nb\n")
BATCH = Batch(partition="p", start=0, end=4, epoch=0, low=0, roster=0, unit=3, source="a.log", offset=0, line=1,
              seen_ms=77)


class Facts(dict[str, str]):
    """A ledger in memory."""

    def fact(self, name: str) -> str | None:
        return self.get(name)

    def keep(self, name: str, value: str) -> None:
        self[name] = value


def at(start: int, unit: int = 1) -> Chunk:
    return msgspec.structs.replace(CHUNK, unit=unit, start=start, end=start + 4)


def test_a_date_holds_for_an_hour_and_is_found_again() -> None:
    facts, now = Facts(), [1000]
    dates = Dates(facts, lambda: now[0])
    seen = []
    for start, later in ((0, 0), (4, HOLDS_MS - 1), (8, 1), (12, HOLDS_MS), (16, 5)):
        now[0] += later
        seen.append(dates(at(start)).seen_ms)
    assert seen == [1000, 1000, 1000 + HOLDS_MS, 1000 + 2 * HOLDS_MS, 1000 + 2 * HOLDS_MS]
    now[0] += 100 * HOLDS_MS
    another = Dates(facts, lambda: now[0])  # the reader that takes its place, which reads all of it again
    assert [another(at(start)).seen_ms for start in (0, 2, 4, 8, 12)] == [1000, 1000, *seen[1:4]]
    assert another(at(20)).seen_ms == now[0]


def test_each_unit_has_dates_of_its_own() -> None:
    facts, now = Facts(), [1000]
    dates = Dates(facts, lambda: now[0])
    dates(at(0, unit=1))
    now[0] = 5000
    assert dates(at(0, unit=2)).seen_ms == 5000
    assert dates(at(4, unit=1)).seen_ms == 1000 and dates(at(4, unit=2)).seen_ms == 5000


def test_few_dates_are_kept_of_a_unit_that_goes_on_for_years() -> None:
    facts, now = Facts(), [0]
    dates = Dates(facts, lambda: now[0])
    for hour in range(3000):
        now[0] = hour * HOLDS_MS
        assert dates(at(hour * 4)).seen_ms == now[0]
    assert len(facts["seen 1"]) < 40_000
    assert dates(at(2990 * 4)).seen_ms == 2990 * HOLDS_MS


def test_a_parse_that_asks_is_given_the_unit_of_its_batch() -> None:
    def parse(line: bytes, unit: InputUnit) -> tuple[bytes, InputUnit]:
        return line, unit

    @per_chunk
    def parse_records(lines: list[bytes], records: list[Record], unit: InputUnit) -> list[tuple[int, int]]:
        return [(record.offset, unit.seen_ms) for record in records]

    unit = InputUnit(3, "a.log", 77)
    assert of_batch(lift_parse(parse, None), BATCH)([b"x"]) == [(b"x", unit)]
    assert of_batch(lift_parse(parse_records, None), BATCH)([Record(9, b"x")]) == [(9, 77)]
    assert lift_parse(parse, None)([b"x"]) == [(b"x", InputUnit(0, "", 0))]
    assert asks_for_unit(parse) and not asks_for_unit(bytes.upper)
    plain = lift_parse(bytes.upper, None)
    assert of_batch(plain, BATCH) is plain
