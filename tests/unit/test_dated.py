"""When input was seen first: decided once for each range, and found by whoever issues it again."""

from __future__ import annotations

from pathlib import Path

import msgspec

from actors.runtime.ledger import Ledger
from actors.runtime.lift import asks_for_unit, lift_parse, of_batch
from actors.runtime.messages import Batch
from actors.runtime.poison import Blame
from actors.runtime.values import Chunk, InputUnit
from thresher import Record, per_chunk

CHUNK = Chunk(unit=1, source="a.log", start=0, end=4, offset=0, line=1, data=b"a\nb\n")
BATCH = Batch(partition="p", start=0, end=4, epoch=0, low=0, roster=0, unit=3, source="a.log", offset=0, line=1,
              seen_ms=77)


def at(start: int, end: int) -> Chunk:
    return msgspec.structs.replace(CHUNK, start=start, end=end)


def test_a_range_has_the_time_at_which_it_was_issued_first_whoever_issues_it_again(tmp_path: Path) -> None:
    now = 1000

    def opened(run: str) -> Ledger:
        ledger = Ledger(tmp_path / "positions.db", run, clock=lambda: now)
        ledger.begin("a.log", "")
        return ledger

    first = opened("run")
    whole = first.issue(at(0, 4)).chunk
    assert whole.seen_ms == 1000
    first.flush()
    now = 2000
    assert first.issue(at(4, 8)).chunk.seen_ms == 2000
    first.issued.blamed([(msgspec.structs.replace(whole, end=2), Blame()),
                         (msgspec.structs.replace(whole, start=2), Blame())])  # it is cut
    first.flush()
    first._connection.close()  # it dies
    now = 9000
    for run in ("run", "a later one"):
        again = opened(run)
        assert [again.issue(at(*range_)).chunk.seen_ms for range_ in ((0, 2), (2, 4), (4, 8), (8, 9))] == [
            1000, 1000, 2000, 9000]
        again._connection.close()
    last = opened("run")
    last.close(at(0, 8), {})
    last.close_file()
    assert opened("run").issue(at(0, 2)).chunk.seen_ms == 9000, "what is committed is not kept"


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
