"""What every sink promises, as tests that pytest collects from a subclass: ``thresher.testing.SinkContract``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

from actors.runtime.errors import Retryable
from actors.runtime.ports import GatheringSink, Sink, SinkOptions, unfit, unpacks
from actors.runtime.values import Payload, Refusal
from actors.testing.contract import OptionsContract, names_in
from actors.testing.killed import write_and_be_killed

#: Most seconds that a sink may take to open while its server is down.
_OPEN_S = 5.0


class SinkContract(OptionsContract[SinkOptions]):
    """The contract of a sink, as tests: inherit from this in a test module, and pytest runs them.

    ``options``, ``items`` and ``contents`` have to be given. ``impossible``, ``versions`` and ``down`` add tests, which
    are skipped without. Each test gets a folder of its own, which is the state directory, too; it may use fixtures.
    pytest is not needed to import this.

    Example::

        class TestLines(SinkContract):
            in_order = True

            def options(self, folder):
                return Lines(path="lines.txt", sync=False)

            def items(self):
                return [b"one", b"two", b"three", b"four"]

            def contents(self, folder):
                path = folder / "lines.txt"
                return path.read_bytes().splitlines() if path.exists() else []
    """

    #: What the sink is called.
    name: ClassVar[str] = "contract"
    #: True for a sink that is ``at least once``: after a crash, what it had written may be there twice.
    repeats: ClassVar[bool] = False
    #: True when ``contents`` come in the order of writing; a store of keys has none.
    in_order: ClassVar[bool] = False

    def items(self) -> list[Any]:
        """Return four items or more that the sink takes, all different, of different keys. Has to be given."""
        raise NotImplementedError(f"{type(self).__name__}.items")

    def contents(self, folder: Path) -> list[Any] | None:
        """Return the items as they stand in the outside system now, by other means than the sink's; nothing is there
        yet: an empty list. None: nobody can look. Has to be given."""
        raise NotImplementedError(f"{type(self).__name__}.contents")

    def impossible(self) -> Any | None:
        """Return an item that ``pack`` takes and the outside system refuses for good; None: there is none."""
        return None

    def versions(self) -> tuple[Any, Any] | None:
        """Return two items, the later of which takes the place of the earlier; None: all items stay."""
        return None

    def down(self, folder: Path) -> AbstractContextManager[object] | None:
        """Return what keeps the outside system from working while it is entered; None: that cannot be done."""
        return None

    def test_what_is_packed_can_be_unpacked(self, tmp_path: Path) -> None:
        """``unpack`` gives the items that ``pack`` was given, or None."""
        options = self.options(tmp_path)
        data = options.pack(self.items())
        assert isinstance(data, bytes), f"pack has returned {type(data).__name__}, expected bytes"
        if unpacks(options):
            found = options.unpack(data)
            assert found == self.items(), f"unpack: expected {self.items()!r:.400}, found {found!r:.400}"
        else:
            assert options.unpack(data) is None

    def test_what_is_written_is_there_when_write_returns(self, tmp_path: Path) -> None:
        """Several payloads in one call, then more: all there before the sink is closed, in order where there is one."""
        options, items = self.options(tmp_path), self.items()
        with closing(self._open(options, tmp_path)) as sink:
            assert sink.write(self._payloads(options, [items[:2], items[2:3]])) == []
            self._expect(tmp_path, items[:3])
            assert sink.write(self._payloads(options, [items[3:]], 3)) == []
            self._expect(tmp_path, items)

    def test_a_call_without_payloads_writes_nothing(self, tmp_path: Path) -> None:
        """An empty call is harmless."""
        options, items = self.options(tmp_path), self.items()
        with closing(self._open(options, tmp_path)) as sink:
            sink.write(self._payloads(options, [items]))
            assert sink.write([]) == []
            self._expect(tmp_path, items)

    def test_a_payload_may_be_a_view_of_memory(self, tmp_path: Path) -> None:
        """``Payload.data`` is bytes or a memoryview."""
        options, items = self.options(tmp_path), self.items()
        views = [Payload(each.partition, each.start, each.end, each.count, memoryview(each.data))
                 for each in self._payloads(options, [items[:2], items[2:]])]
        with closing(self._open(options, tmp_path)) as sink:
            assert sink.write(views) == []
            self._expect(tmp_path, items)

    def test_the_later_of_two_values_stands(self, tmp_path: Path) -> None:
        """In one payload, in two of one call, in two calls."""
        versions = self.versions()
        if versions is None:
            raise SkipTest("versions: all items stay")
        options, (early, late) = self.options(tmp_path), versions
        with closing(self._open(options, tmp_path)) as sink:
            for number, groups in enumerate(([[early, late]], [[early], [late]])):
                sink.write(self._payloads(options, groups, 10 * number))
                self._expect(tmp_path, [late])
            sink.write(self._payloads(options, [[early]], 20))
            sink.write(self._payloads(options, [[late]], 30))
            self._expect(tmp_path, [late])

    def test_writing_again_does_what_is_promised(self, tmp_path: Path) -> None:
        """The same payloads in another call, as after ``Retryable``; then with a sink that was opened anew."""
        options, items = self.options(tmp_path), self.items()
        said = options.repeated()
        assert said in ("", "added") or not self.repeats, f"repeated() says {said!r}, the suite repeats = True"
        assert said != "added" or self.repeats, "repeated() says 'added', the suite repeats = False"
        payloads = self._payloads(options, [items[:2], items[2:]])
        with closing(self._open(options, tmp_path)) as sink:
            sink.write(payloads)
            sink.write(payloads)
            self._expect_again(tmp_path, items)
        with closing(self._open(options, tmp_path)) as sink:
            sink.write(payloads[1:])
            self._expect_again(tmp_path, items)

    def test_what_a_killed_writer_has_written_is_there_and_can_be_written_again(self, tmp_path: Path) -> None:
        """A process of its own is killed as soon as ``write`` has returned; the next one is given more, and all again.
        """
        options, items = self.options(tmp_path), self.items()
        payloads = self._payloads(options, [items[:2], items[2:3], items[3:]])
        write_and_be_killed(options, self.name, tmp_path, payloads[:2])
        self._expect(tmp_path, items[:3])
        with closing(self._open(options, tmp_path)) as sink:
            assert sink.write(payloads) == []
            self._expect_again(tmp_path, items)

    def test_an_item_that_is_refused_does_not_harm_its_neighbours(self, tmp_path: Path) -> None:
        """A ``Refusal`` names its payload and item, says why, and has the item as it was sent."""
        bad = self.impossible()
        if bad is None:
            raise SkipTest("impossible: nothing is refused")
        options, items = self.options(tmp_path), self.items()
        groups = [items[:1], [items[1], bad, items[2]]]
        with closing(self._open(options, tmp_path)) as sink:
            refusals = sink.write(self._payloads(options, groups))
            found = [(each.payload, each.item) for each in refusals]
            assert found == [(1, 1)], f"expected a refusal of item 1 of payload 1 alone, found {found} (payload, item)"
            self._expect_refusal(options, refusals[0], bad)
            self._expect(tmp_path, items[:3])

    def test_an_outage_is_waited_for(self, tmp_path: Path) -> None:
        """Down: ``open`` neither waits nor raises, ``write`` raises ``Retryable``. Up again: it works."""
        down = self.down(tmp_path)
        if down is None:
            raise SkipTest("down: it cannot be made unusable")
        options, items = self.options(tmp_path), self.items()
        payloads = self._payloads(options, [items])
        with down:
            began = time.monotonic()
            sink = self._open(options, tmp_path)
            assert time.monotonic() - began < _OPEN_S, "open waits for the server: that is for write"
            said = _retryable(lambda: sink.write(payloads))
            assert said is not None, "nothing can have been written, and write did not raise Retryable"
            assert len(said.splitlines()) == 1, f"expected one line that names the system, got {said}"
        with closing(sink):
            assert sink.write(payloads) == []
            self._expect(tmp_path, items)

    def test_the_end_of_the_input_takes_nothing_away(self, tmp_path: Path) -> None:
        """Of a sink that ``gathers``. Nor does a ``tick``; the end may come twice, and more may be written then."""
        options, items = self.options(tmp_path), self.items()
        if not options.gathers:
            raise SkipTest("gathers: nothing is kept for later")
        payloads = self._payloads(options, [items[:2], items[2:]])
        with closing(self._open(options, tmp_path)) as sink:
            assert isinstance(sink, GatheringSink), "gathers: what is opened is no GatheringSink"
            for payload in payloads:
                sink.write([payload])
                for _ in range(2):
                    seconds = sink.tick()
                    assert seconds is None or seconds >= 0, f"tick: expected seconds or None, got {seconds!r}"
                    sink.end()
            self._expect(tmp_path, items)
        with closing(self._open(options, tmp_path)) as again:
            assert isinstance(again, GatheringSink)
            again.end()
            self._expect(tmp_path, items)

    def test_closing_twice_is_harmless(self, tmp_path: Path) -> None:
        """With and without anything written."""
        options = self.options(tmp_path)
        for number in range(2):
            sink = self._open(options, tmp_path)
            sink.write(self._payloads(options, [self.items()] * number))
            sink.close()
            sink.close()

    def test_a_check_changes_nothing(self, tmp_path: Path) -> None:
        """Neither before anything is there, nor after; and it says that the sink works, for it has just worked."""
        options, items = self.options(tmp_path), self.items()
        before = names_in(tmp_path)
        assert all(isinstance(problem, str) for problem in options.check(self.name, tmp_path))
        assert names_in(tmp_path) == before, "check has made something"
        with closing(self._open(options, tmp_path)) as sink:
            sink.write(self._payloads(options, [items]))
        assert options.check(self.name, tmp_path) == []
        self._expect(tmp_path, items)

    def test_clearing_empties_what_is_its_own_or_says_that_it_cannot(self, tmp_path: Path) -> None:
        """True: all of ours is gone, and it can be begun anew; False: all is there. What lies beside it stays."""
        options, items = self.options(tmp_path), self.items()
        options.clear(self.name, tmp_path)  # there is nothing yet
        with closing(self._open(options, tmp_path)) as sink:
            sink.write(self._payloads(options, [items]))
        (tmp_path / "of somebody else").write_text("stays")
        is_empty = options.clear(self.name, tmp_path)
        assert (tmp_path / "of somebody else").exists(), "clear has removed what is not its own"
        self._expect(tmp_path, [] if is_empty else items)
        if is_empty:
            with closing(self._open(options, tmp_path)) as sink:
                sink.write(self._payloads(options, [items]))
            self._expect(tmp_path, items)

    def _open(self, options: SinkOptions, folder: Path) -> Sink:
        sink = options.open(self.name, folder)
        problem = unfit(sink, Sink, options)
        assert not problem, problem
        return sink

    def _payloads(self, options: SinkOptions, groups: Sequence[list[Any]], start: int = 0) -> list[Payload]:
        """The payloads of batches, one behind the other, as workers pack them."""
        return [Payload("reader.1", start + number, start + number + 1, len(group), options.pack(group))
                for number, group in enumerate(groups)]

    def _expect(self, folder: Path, items: list[Any]) -> None:
        found = self.contents(folder)
        if found is not None:
            expected, found = self._sorted(items), self._sorted(found)
            assert found == expected, f"expected {expected!r:.400}, found {found!r:.400}"

    def _expect_again(self, folder: Path, items: list[Any]) -> None:
        """The items are there, as often as is promised for those that were written again."""
        found = self.contents(folder)
        if found is None:
            return
        if self.repeats:
            found = [item for number, item in enumerate(found) if item not in found[:number]]
        expected, found = self._sorted(items), self._sorted(found)
        why = "" if self.repeats else "; when that is promised, the suite says repeats = True"
        assert found == expected, f"expected {expected!r:.400}, found {found!r:.400}{why}"

    def _sorted(self, items: list[Any]) -> list[Any]:
        return items if self.in_order else sorted(items, key=repr)

    def _expect_refusal(self, options: SinkOptions, refusal: Refusal, bad: Any) -> None:
        assert refusal.reason and not set(refusal.reason) - set("abcdefghijklmnopqrstuvwxyz0123456789_"), (
            f"expected a short word as the reason, got {refusal.reason!r}")
        assert refusal.detail, "expected what the system has said as the detail"
        if unpacks(options):
            assert options.unpack(refusal.raw) == [bad], "raw is not the item as it was sent"
        else:
            assert refusal.raw, "expected the item as it was sent as raw"


def _retryable(write: Callable[[], object]) -> str | None:
    try:
        write()
    except Retryable as error:
        return str(error)
    return None
