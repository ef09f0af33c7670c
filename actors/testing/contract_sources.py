"""What every source promises, as tests that pytest collects from a subclass: ``thresher.testing.SourceContract``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

from actors.runtime.framing import RECORDS, Record, records_in
from actors.runtime.ports import Source, SourceOptions
from actors.runtime.values import Chunk
from actors.testing.contract import OptionsContract, names_in
from actors.testing.reading import Given, Reading, records_of

#: A resumption is tried after so many prefixes at most.
_MOST_PREFIXES = 12


class SourceContract(OptionsContract[SourceOptions]):
    """The contract of a source, as tests: inherit from this in a test module, and pytest runs them.

    ``options`` and ``records`` have to be given. Each test gets a folder of its own; positions, and what the
    source keeps, are in ``folder / "state"``. The ledger is the real one. pytest is not needed to import this. A source
    hands out lines, or records (a chunk's ``framing``); the same is asked of both.

    Example::

        class TestFiles(SourceContract):
            def options(self, folder):
                folder.joinpath("a.log").write_bytes(b"".join(record + b"\\n" for record in self.records()))
                return Files(pattern=f"{folder}/*.log")

            def records(self):
                return [b"record %d" % number for number in range(40)]

            def put_away(self, folder):
                return not (folder / "a.log").exists()
    """

    #: Size of a chunk, about: small, so that ``records`` make several.
    batch_bytes: ClassVar[int] = 64
    #: False for a source that cannot read again what its reader had read when it died (a pipe).
    rereads: ClassVar[bool] = True
    #: False for a source whose records come in any order.
    in_order: ClassVar[bool] = True

    def records(self) -> Sequence[Given]:
        """Return the records that the source reads: enough for three chunks or more. Has to be given.

        A line is bytes without its newline; of what is no line the value alone (None for none), or the whole
        ``Record``, with the place, key, headers and time that it has to have.
        """
        raise NotImplementedError(f"{type(self).__name__}.records")

    def feed(self, folder: Path, source: Source) -> None:
        """Send the records to the opened source, for one whose input is not there before; called once a folder."""

    def take_away(self, folder: Path, source: Source) -> None:
        """Have whoever gives out units ask for all that the opened source has. To be given when its units move."""
        raise NotImplementedError(f"{type(self).__name__}.take_away")

    def bring_back(self, folder: Path, source: Source) -> None:
        """Have them all given to this source again. To be given when its units move."""
        raise NotImplementedError(f"{type(self).__name__}.bring_back")

    def put_away(self, folder: Path) -> bool:
        """Whether all that is finished is put away (renamed); a source that puts nothing away has nothing to say."""
        return True

    def test_everything_is_read_in_order_to_the_end(self, tmp_path: Path) -> None:
        """The chunks are the records; then the source is exhausted, and has nothing more."""
        with self._fed(tmp_path) as reading:
            self._read_to_the_end(reading)
            self._expect(reading.chunks, self.records())
            assert reading.source.exhausted is True
            assert reading.source.read() is None, "a source that is exhausted has handed out more"

    def test_each_chunk_begins_where_the_last_one_ended(self, tmp_path: Path) -> None:
        """Positions of a partition have no holes; a chunk is whole lines, numbered, about as long as asked for."""
        with self._fed(tmp_path) as reading:
            self._read_to_the_end(reading)
            assert len(reading.chunks) > 2, "records: expected enough for three chunks"
            self._expect_contiguous(reading)

    def test_after_any_prefix_a_new_reader_gets_the_rest_cut_as_before(self, tmp_path: Path) -> None:
        """All was handed out and a prefix is committed when the reader dies: the next one, whose batches have another
        size, hands out exactly the rest, in the same ranges."""
        self._require_rereads()
        chunks = self._all_chunks(tmp_path / "all")
        for done in _some(len(chunks) + 1):
            folder = tmp_path / str(done)
            with self._fed(folder) as first:
                self._read_to_the_end(first)
                first.commit(*first.chunks[:done])
            with self._again(first, 3 * self.batch_bytes) as second:
                self._read_to_the_end(second, len(_records(first.chunks[done:])))
                assert [(each.start, each.end) for each in second.chunks] == [
                    (each.start, each.end) for each in first.chunks[done:]], "ranges are cut anew"
                rest, found = _data(first.chunks[done:]), _data(second.chunks)
                assert found == rest, f"expected the rest, {rest!r:.400}, found {found!r:.400}"
                second.commit(*second.chunks)

    def test_a_reader_that_died_half_way_is_gone_on_from(self, tmp_path: Path) -> None:
        """Some chunks were handed out, some of these committed: what was on its way comes again, then what is new."""
        self._require_rereads()
        number = len(self._all_chunks(tmp_path / "all"))
        for handed_out in _some(number):
            with self._fed(tmp_path / str(handed_out)) as first:
                first.read_until(_has_handed_out(handed_out))
                committed, on_its_way = first.chunks[:handed_out // 2], first.chunks[handed_out // 2:]
                first.commit(*committed)
            with self._again(first, 3 * self.batch_bytes) as second:
                self._read_to_the_end(second, len(_records(on_its_way)))
                assert [(each.start, each.end) for each in second.chunks[:len(on_its_way)]] == [
                    (each.start, each.end) for each in on_its_way], "ranges are cut anew"
                found = [*committed, *second.chunks]
                self._expect(found, self.records()[:len(_records(found)) if first.source.endless else None])
                self._expect_contiguous(second)

    def test_what_is_finished_is_put_away_also_when_it_is_said_again(self, tmp_path: Path) -> None:
        """``finished`` is called in order, once all is durable; again after a crash, also to a new reader."""
        with self._fed(tmp_path) as reading:
            self._read_to_the_end(reading)
            reading.commit(*reading.chunks)
            for _ in range(2):
                reading.finish()
            assert self.put_away(tmp_path), "it is not put away"
        with self._again(reading, self.batch_bytes) as second:
            for unit in reading.finished:
                second.source.finished(unit)
        assert self.put_away(tmp_path), "it is no longer put away"

    def test_what_has_failed_is_left_where_it_is(self, tmp_path: Path) -> None:
        """``failed`` puts nothing away."""
        with self._fed(tmp_path) as reading:
            before = names_in(tmp_path)
            self._read_to_the_end(reading)
            reading.commit(*reading.chunks)
            reading.fail()
            left = [name for name in before if not name.startswith("state")]
            assert [name for name in left if name not in names_in(tmp_path)] == []

    def test_to_stop_ends_it_and_nothing_that_it_accepted_is_lost(self, tmp_path: Path) -> None:
        """After ``stop`` it is soon exhausted; what it has handed out is the beginning, a new reader has the rest."""
        with self._fed(tmp_path) as first:
            first.read_until(_has_handed_out(1))
            first.source.stop()
            first.read_until(lambda reading: reading.source.exhausted)
            first.commit(*first.chunks)
            self._expect(first.chunks, self.records()[:len(_records(first.chunks))])
        if not self.rereads:
            return
        with self._again(first, self.batch_bytes) as second:
            second.read_until(lambda reading: reading.source.exhausted or (
                reading.source.endless and reading.has_nothing_now))
            found = [*first.chunks, *second.chunks]
            self._expect(found, self.records()[:len(_records(found)) if first.source.endless else None])

    def test_progress_only_grows(self, tmp_path: Path) -> None:
        """Bytes read, and in all; 0 in all when it is not known."""
        with self._fed(tmp_path) as reading:
            self._read_to_the_end(reading)
            seen = [read for read, _ in reading.progress]
            assert seen == sorted(seen), f"progress goes back: {seen}"
            assert all(not total or read <= total for read, total in reading.progress), "more is read than there is"

    def test_a_tick_may_come_at_any_time_and_says_when_the_next_has_to(self, tmp_path: Path) -> None:
        """In monotonic seconds, not before now; or None. However often it comes, what is read is the same."""
        with self._fed(tmp_path) as reading:
            reading.read_until(_has_handed_out(1))
            for _ in range(5):
                reading.tick()
            self._read_to_the_end(reading)
            for _ in range(5):
                reading.tick()
            self._expect(reading.chunks, self.records())
            assert all(then is None or then >= now for now, then in reading.ticks), f"it is too late: {reading.ticks}"

    def test_units_are_taken_away_only_when_the_options_say_that_they_move(self, tmp_path: Path) -> None:
        """Else a pipeline that folds would be allowed, and what it folds cannot go with them."""
        with self._fed(tmp_path) as reading:
            self._read_to_the_end(reading)
            reading.commit(*reading.chunks)
            assert reading.options.moves() or not reading.revoked, f"moves() is False: {reading.revoked}"

    def test_what_is_taken_away_is_handed_out_no_more_and_goes_on_where_it_was_committed(self, tmp_path: Path) -> None:
        """It is said once, and released by ``released``; when it comes back, what was not committed is read again."""
        with self._fed(tmp_path) as reading:
            if not reading.options.moves():
                raise SkipTest("moves: its units stay")
            reading.read_until(_has_handed_out(2))
            reading.commit(reading.chunks[0])
            self.take_away(tmp_path, reading.source)
            reading.read_until(lambda reading: bool(reading.revoked))
            before = len(reading.chunks)
            for _ in range(5):
                reading.tick()
                assert reading.source.read() is None, "it was taken away, and is handed out"
            units = reading.hand_over()
            assert len(units) == len({unit.id for unit in units}), f"it is said more than once: {units}"
            self.bring_back(tmp_path, reading.source)
            done = reading.chunks[:1]
            self._read_to_the_end(reading, len(_records(reading.chunks)) + len(self.records()) - len(_records(done)))
            self._expect([*done, *reading.chunks[before:]], self.records())

    def test_closing_twice_is_harmless(self, tmp_path: Path) -> None:
        """With and without anything read."""
        for reads in (False, True):
            with self._fed(tmp_path / str(reads)) as reading:
                if reads:
                    self._read_to_the_end(reading)
                reading.source.close()
                reading.source.close()

    def test_a_check_changes_nothing(self, tmp_path: Path) -> None:
        """It says what is wrong, in sentences; there is something to read, so nothing is."""
        options = self.options(tmp_path)
        before = names_in(tmp_path)
        assert options.check(tmp_path / "state") == []
        assert names_in(tmp_path) == before, "check has made something"

    @contextmanager
    def _fed(self, folder: Path) -> Iterator[Reading]:
        folder.mkdir(exist_ok=True)
        with Reading(self.options(folder), folder / "state", self.batch_bytes) as reading:
            self.feed(folder, reading.source)
            yield reading

    def _again(self, first: Reading, batch_bytes: int) -> Reading:
        """The reader's next generation, which finds what the first has left."""
        return Reading(first.options, first.state, batch_bytes)

    def _read_to_the_end(self, reading: Reading, at_least: int | None = None) -> None:
        """Read until it is exhausted; a source without end is told to stop when it has handed out so many records (by
        default all) and has nothing more now."""
        if reading.source.endless:
            number = len(self.records()) if at_least is None else at_least
            reading.read_until(lambda reading: reading.has_nothing_now and len(_records(reading.chunks)) >= number)
            reading.source.stop()
        reading.read_until(lambda reading: reading.source.exhausted)

    def _all_chunks(self, folder: Path) -> list[Chunk]:
        with self._fed(folder) as reading:
            self._read_to_the_end(reading)
            return reading.chunks

    def _require_rereads(self) -> None:
        if not self.rereads:
            raise SkipTest("rereads: what its reader had read is gone")

    def _expect(self, chunks: Sequence[Chunk], records: Sequence[Given]) -> None:
        whole = any(isinstance(record, Record) for record in records)
        found = [each.value if isinstance(each, Record) and not whole else each for each in _records(chunks)]
        expected = list(records)
        if not self.in_order:
            found, expected = sorted(found, key=repr), sorted(expected, key=repr)
        assert found == expected, f"expected {expected!r:.400}, found {found!r:.400}"

    def _expect_contiguous(self, reading: Reading) -> None:
        at: dict[str, int] = {}
        longest = max(map(_size, self.records()))
        for chunk in reading.chunks:
            partition = reading.ledger.partition(chunk.unit)
            assert chunk.end > chunk.start, f"an empty range: {chunk}"
            assert chunk.start == at.get(partition, chunk.start), f"expected to begin at {at.get(partition)}: {chunk}"
            size = sum(map(_size, records_of(chunk)))
            assert size <= max(4 * self.batch_bytes, longest), f"far longer than {self.batch_bytes}: {chunk}"
            _expect_places(chunk)
            at[partition] = chunk.end
        for before, after in zip(reading.chunks, reading.chunks[1:], strict=False):
            if before.unit == after.unit and before.source == after.source and not before.fault:
                _expect_to_follow(before, after)


def _expect_places(chunk: Chunk) -> None:
    """A chunk of records has each of them at its place, within its range; of lines it counts what it says."""
    if chunk.framing != RECORDS:
        assert chunk.lines in (-1, chunk.data.count(b"\n")), f"lines is not the number of newlines: {chunk}"
        return
    assert chunk.lines >= 0, f"lines of a chunk of records: expected 0 or more: {chunk}"
    places = [chunk.start - chunk.offset + record.offset for record in records_in(chunk.data)]
    assert not chunk.fault or len(places) < 2, f"a fault is one dead letter, of one record or none: {chunk}"
    assert places == sorted(set(places)), f"places that do not grow, {places}: {chunk}"
    assert all(chunk.start <= place < chunk.end for place in places), f"places beyond the range, {places}: {chunk}"


def _expect_to_follow(before: Chunk, after: Chunk) -> None:
    """Two chunks of a unit, one behind the other."""
    assert before.framing == after.framing, f"a unit of lines and of records: {after}"
    if before.framing == RECORDS:
        assert after.offset - before.offset == after.start - before.start, f"offset is not where it starts: {after}"
        assert after.line == before.line + before.lines, f"the line is numbered wrongly: {after}"
        return
    assert before.data.endswith(b"\n"), f"a line is cut: {before}"
    assert after.line == before.line + before.data.count(b"\n"), f"the line is numbered wrongly: {after}"


def _data(chunks: Sequence[Chunk]) -> bytes:
    return b"".join(chunk.data for chunk in chunks)


def _records(chunks: Sequence[Chunk]) -> list[Given]:
    return [record for chunk in chunks for record in records_of(chunk)]


def _size(record: Given) -> int:
    """Bytes, with what is between two of them."""
    return 1 + len((record.value if isinstance(record, Record) else record) or b"")


def _has_handed_out(number: int) -> Callable[[Reading], bool]:
    return lambda reading: len(reading.chunks) >= number


def _some(number: int) -> list[int]:
    """Numbers from 0 to below this one, at most so many, the first and the last among them."""
    step = max(1, -(-number // _MOST_PREFIXES))
    return sorted({*range(0, number, step), number - 1})
