"""The public contract of sources can fail: for each test of it there is a source that is wrong, and fails it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from actors.runtime.framing import RECORDS, Record, pack_records
from actors.runtime.ports import Source, SourceOptions, UnitLedger
from actors.runtime.values import Chunk, Revoked, Unit
from actors.testing import SourceContract

LINES = [b"record %d" % number for number in range(40)]
DATA = b"".join(line + b"\n" for line in LINES)


class Good(SourceOptions, frozen=True, kw_only=True):
    """One unit that is made of nothing; ``wrong`` says what it does wrong."""

    guarantee: ClassVar[str] = "made again"

    folder: str
    wrong: str = ""

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> Source:
        return Reading(self, ledger, batch_bytes)

    def describe(self) -> str:
        return "" if self.wrong == "describe" else "nothing"

    def check(self, state: Path) -> list[str]:
        if self.wrong == "check":
            (Path(self.folder) / "checked").touch()
        return []


class Melting(Good, frozen=False):  # type: ignore[misc]
    """It is not frozen."""


class Unsaid(SourceOptions, frozen=True, kw_only=True):
    """It says nothing of what is promised."""

    folder: str
    open, describe = Good.open, Good.describe


class Changing(Good, frozen=True, kw_only=True):
    """Its tuple comes back as a list."""

    names: Any = ("one", "two")


def _local() -> type[Good]:
    class Local(Good, frozen=True, kw_only=True):
        pass

    return Local


class Moving(Good, frozen=True, kw_only=True):
    """Its unit is taken away as long as there is a file that says so; where it is committed is in another."""

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> Source:
        return MovingReading(self, ledger, batch_bytes)

    def moves(self) -> bool:
        return self.wrong != "moves unsaid"


KINDS: dict[str, Any] = {"melting": Melting, "local": _local(), "unsaid": Unsaid, "changing": Changing}
#: What only a source can do wrong whose unit moves.
MOVES = ("moves", "moves unsaid", "moves from the start", "goes on", "said twice")


class Reading(Source):
    def __init__(self, options: Good, ledger: UnitLedger, batch_bytes: int) -> None:
        self.wrong, self.ledger, self.batch_bytes = options.wrong, ledger, batch_bytes
        self.file = Path(options.folder) / "input"
        self.unit = ledger.begin("x", "x", alone=isinstance(options, Moving))
        self.at = 0 if self.wrong == "from the start" else self.unit.low
        self.line = self.unit.lines + 1
        self.recorded = deque(() if self.wrong == "cut anew" else ledger.boundaries(self.unit))
        self.stopping = self.closed = False

    def read(self) -> Chunk | None:
        if self.at >= len(DATA) or (self.stopping and not self.recorded):
            self.exhausted = True
            return None
        start = self.at
        self.at = self.recorded.popleft()[1] if self.recorded else (
            DATA.find(b"\n", start + self.batch_bytes) + 1 or len(DATA))
        if self.wrong == "loses" and start > 200:
            self.at = len(DATA)
        data = DATA[start:self.at]
        shift = 1 if self.wrong == "hole" and start else 0
        chunk = Chunk(self.unit.id, "x", start + shift, self.at, start, 1 if self.wrong == "line" else self.line,
                      data[:50] if self.wrong == "loses" else data)
        self.line += data.count(b"\n")
        return _of_records(chunk, self.wrong) if self.wrong.startswith("records") else chunk

    def tick(self, now: float) -> float | None:
        if self.wrong == "tick reads":
            self.read()
        return now - 1 if self.wrong == "ticks late" else None

    def finished(self, unit: Unit) -> None:
        if self.wrong == "finished":
            self.file.rename(self.file.with_name(".input"))  # not the second time
        elif self.wrong != "stays":
            self.file.unlink(missing_ok=True)

    def failed(self, unit: Unit) -> None:
        if self.wrong == "failed":
            self.file.unlink()

    def stop(self) -> None:
        self.stopping = True
        if self.wrong == "stop":
            self.at = len(DATA)
            self.ledger.begin("x", "x").low = self.at

    def progress(self) -> tuple[int, int]:
        return (-self.at if self.wrong == "progress" else self.at), len(DATA)

    def close(self) -> None:
        if self.wrong == "close" and self.closed:
            raise OSError("bad file descriptor")
        self.closed = True


class MovingReading(Reading):
    """The same, with a unit that may be taken away."""

    def __init__(self, options: Good, ledger: UnitLedger, batch_bytes: int) -> None:
        super().__init__(options, ledger, batch_bytes)
        self.wanted = Path(options.folder) / "wanted"
        self.low = self.unit.low
        self.is_said = self.is_gone = False

    def tick(self, now: float) -> float | None:
        if self.is_gone and not self.wanted.exists():
            self.low = 0 if self.wrong == "moves from the start" else self.low
            self.is_gone = self.is_said = False
            self.unit = self.ledger.begin("x", "x", alone=True, after=(self.low, DATA.count(b"\n", 0, self.low)))
            self.at, self.line, self.recorded = self.low, self.unit.lines + 1, deque()
        return now + 1

    def revoked(self) -> list[Revoked]:
        is_wanted = self.wanted.exists() or (self.wrong == "moves unsaid" and self.at >= len(DATA))
        if not is_wanted or self.is_gone or (self.is_said and self.wrong != "said twice"):
            return []
        self.is_said = True
        return [Revoked((self.unit,))]

    def released(self, units: Sequence[Unit]) -> None:
        self.is_gone, self.low = True, self.unit.low

    def read(self) -> Chunk | None:
        return None if (self.is_said and self.wrong != "goes on") or self.is_gone else super().read()


def _of_records(chunk: Chunk, wrong: str) -> Chunk:
    """The same lines as records with places, keys and numbers of lines of their own; or wrong ones."""
    records: list[Record] = []
    offset = chunk.offset
    for number, line in enumerate(chunk.data.removesuffix(b"\n").split(b"\n")):
        place = {"records without order": chunk.offset, "records beyond": offset + 1000}.get(wrong, offset)
        key = b"other" if wrong == "records with other keys" else line[-1:]
        records.append(Record(place, line, chunk.line + number, key=key))
        offset += len(line) + 1
    lines = {"records without lines": 0, "records not counted": -1}.get(wrong, chunk.data.count(b"\n"))
    shift = chunk.start if wrong == "records elsewhere" else 0
    return msgspec.structs.replace(chunk, offset=chunk.offset - shift, data=pack_records(records), lines=lines,
                                   framing=RECORDS, fault="torn" if wrong == "records in a fault" else "")


class OfGood(SourceContract):
    __test__ = False
    wrong = ""

    def options(self, folder: Path) -> SourceOptions:
        (folder / "input").touch()
        if self.wrong in MOVES:
            return Moving(folder=str(folder), wrong=self.wrong)
        kind = KINDS.get(self.wrong)
        if kind is None:
            return Good(folder=str(folder), wrong=self.wrong)
        options: SourceOptions = kind(folder=str(folder))
        return options

    def records(self) -> Sequence[bytes | Record]:
        if not self.wrong.startswith("records"):
            return LINES
        places = [0, *itertools.accumulate(len(line) + 1 for line in LINES)]
        return [Record(place, line, number, key=line[-1:])
                for number, (place, line) in enumerate(zip(places, LINES, strict=False), 1)]

    def take_away(self, folder: Path, source: Source) -> None:
        (folder / "wanted").touch()

    def bring_back(self, folder: Path, source: Source) -> None:
        (folder / "wanted").unlink()

    def put_away(self, folder: Path) -> bool:
        return not (folder / "input").exists()


TESTS = [name for name in dir(SourceContract) if name.startswith("test_")]
WRONG = [
    ("unsaid", "test_all_that_has_no_default_is_given"),
    ("melting", "test_options_do_not_change"),
    ("changing", "test_options_survive_the_way_through_a_file"),
    ("local", "test_actors_find_the_options_by_their_name"),
    ("describe", "test_what_people_are_told_is_one_line_without_secrets"),
    ("loses", "test_everything_is_read_in_order_to_the_end"),
    ("hole", "test_each_chunk_begins_where_the_last_one_ended"),
    ("line", "test_each_chunk_begins_where_the_last_one_ended"),
    ("from the start", "test_after_any_prefix_a_new_reader_gets_the_rest_cut_as_before"),
    ("cut anew", "test_after_any_prefix_a_new_reader_gets_the_rest_cut_as_before"),
    ("cut anew", "test_a_reader_that_died_half_way_is_gone_on_from"),
    ("stays", "test_what_is_finished_is_put_away_also_when_it_is_said_again"),
    ("finished", "test_what_is_finished_is_put_away_also_when_it_is_said_again"),
    ("failed", "test_what_has_failed_is_left_where_it_is"),
    ("from the start", "test_to_stop_ends_it_and_nothing_that_it_accepted_is_lost"),
    ("progress", "test_progress_only_grows"),
    ("ticks late", "test_a_tick_may_come_at_any_time_and_says_when_the_next_has_to"),
    ("tick reads", "test_a_tick_may_come_at_any_time_and_says_when_the_next_has_to"),
    ("moves unsaid", "test_units_are_taken_away_only_when_the_options_say_that_they_move"),
    ("moves from the start", "test_what_is_taken_away_is_handed_out_no_more_and_goes_on_where_it_was_committed"),
    ("goes on", "test_what_is_taken_away_is_handed_out_no_more_and_goes_on_where_it_was_committed"),
    ("said twice", "test_what_is_taken_away_is_handed_out_no_more_and_goes_on_where_it_was_committed"),
    ("close", "test_closing_twice_is_harmless"),
    ("check", "test_a_check_changes_nothing"),
    ("records with other keys", "test_everything_is_read_in_order_to_the_end"),
    ("records without order", "test_each_chunk_begins_where_the_last_one_ended"),
    ("records beyond", "test_each_chunk_begins_where_the_last_one_ended"),
    ("records without lines", "test_each_chunk_begins_where_the_last_one_ended"),
    ("records not counted", "test_each_chunk_begins_where_the_last_one_ended"),
    ("records elsewhere", "test_each_chunk_begins_where_the_last_one_ended"),
    ("records in a fault", "test_each_chunk_begins_where_the_last_one_ended"),
]


def run(wrong: str, test: str, folder: Path) -> None:
    contract = OfGood()
    contract.wrong = wrong
    getattr(contract, test)(folder)


@pytest.mark.parametrize("kind", ["", "records", "moves"])
@pytest.mark.parametrize("test", TESTS)
def test_the_good_ones_pass(test: str, kind: str, tmp_path: Path) -> None:
    run(kind, test, tmp_path)


@pytest.mark.parametrize(("wrong", "test"), WRONG)
def test_a_wrong_one_fails(wrong: str, test: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, OSError)):
        run(wrong, test, tmp_path)


def test_each_test_of_the_contract_has_a_source_that_fails_it() -> None:
    assert sorted({test for _, test in WRONG}) == sorted(TESTS)
