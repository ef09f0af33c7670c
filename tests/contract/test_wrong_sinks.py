"""The public contract of sinks can fail: for each test of it there is a sink that is wrong, and fails it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

import pytest

from actors.runtime.errors import Retryable
from actors.runtime.ports import GatheringSink, Sink, SinkOptions
from actors.runtime.values import Payload, Refusal
from actors.testing import SinkContract


class Good(SinkOptions, frozen=True, kw_only=True):
    """A file of lines that is rewritten whole, with each payload by where it came from: exactly once.

    ``wrong`` says what it does wrong.
    """

    guarantee: ClassVar[str] = "by position: exactly once"
    ordered: ClassVar[bool] = True
    gathers: ClassVar[bool] = True

    wrong: str = ""

    def pack(self, items: Sequence[Any]) -> bytes:
        return b"\n".join(items)

    def unpack(self, data: bytes) -> list[Any]:
        return data.split(b"\n")[self.wrong == "unpack":]

    def open(self, name: str, state: Path) -> Sink:
        if self.wrong == "open" and (state / "down").exists():
            raise Retryable("down")
        return Shelf(state / "shelf", self.wrong)

    def describe(self) -> str:
        return "two\nlines" if self.wrong == "describe" else "redis://me:secret@host" if self.wrong == "secret" else "x"

    def check(self, name: str, state: Path) -> list[str]:
        if self.wrong == "check":
            (state / "checked").touch()
        return []

    def clear(self, name: str, state: Path) -> bool:
        for path in (state / "shelf").glob("*") if self.wrong != "clear nothing" else ():
            path.unlink()
        if self.wrong == "clear all":
            (state / "of somebody else").unlink(missing_ok=True)
        return True


class Melting(Good, frozen=False):  # type: ignore[misc]
    """It is not frozen."""


class Unsaid(SinkOptions, frozen=True, kw_only=True):
    """It says nothing of what is promised."""

    pack, open, describe = Good.pack, Good.open, Good.describe


class Changing(Good, frozen=True, kw_only=True):
    """Its tuple comes back as a list."""

    names: Any = ("one", "two")


class Shelf(GatheringSink):
    """A file a payload."""

    def __init__(self, folder: Path, wrong: str) -> None:
        self.folder, self.wrong, self.closed, self.late = folder, wrong, False, list[Payload]()

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        if (self.folder.parent / "down").exists():
            if self.wrong == "down":
                return []
            raise Retryable("the shelf is down")
        self.folder.mkdir(exist_ok=True)
        if self.wrong == "empty" and not payloads:
            raise IndexError
        if self.wrong == "view" and any(not isinstance(payload.data, bytes) for payload in payloads):
            raise TypeError
        if self.wrong == "late":
            self.late += payloads
            return []
        return [refusal for number, payload in enumerate(reversed(payloads) if self.wrong == "order" else payloads)
                for refusal in self._put(number, payload)]

    def tick(self) -> float | None:
        return -1.0 if self.wrong == "tick" else None

    def end(self) -> None:
        if self.wrong == "end":
            for path in list(self.folder.iterdir())[:1]:
                path.unlink()

    def close(self) -> None:
        if self.wrong == "close" and self.closed:
            raise OSError("bad file descriptor")
        self.closed = True

    def _put(self, number: int, payload: Payload) -> list[Refusal]:
        items = bytes(payload.data).split(b"\n")
        bad = [index for index, item in enumerate(items) if item == b"bad"]
        if bad and self.wrong == "neighbours":
            items = []
        name = f"{payload.start:04}"
        if self.wrong == "again":
            name = f"{len(list(self.folder.iterdir())):04}"
        elif self.wrong == "order":
            name = f"{9999 - payload.start:04}"
        (self.folder / name).write_bytes(b"\n".join(item for item in items if item != b"bad"))
        return [Refusal(number, index + (self.wrong == "refusal"), "bad", "it is bad", b"bad") for index in bad]


class OfGood(SinkContract):
    __test__ = False
    in_order: ClassVar[bool] = True
    wrong = ""

    def options(self, folder: Path) -> SinkOptions:
        kind = KINDS.get(self.wrong)
        options: SinkOptions = Good(wrong=self.wrong) if kind is None else kind()
        return options

    def items(self) -> list[Any]:
        return [b"one", b"two", b"three", b"four"]

    def contents(self, folder: Path) -> list[Any]:
        found = [path.read_bytes() for path in sorted((folder / "shelf").glob("*"))]
        return [line for data in found for line in data.split(b"\n") if line]

    def impossible(self) -> Any:
        return b"bad"

    @contextmanager
    def down(self, folder: Path) -> Iterator[None]:
        (folder / "down").touch()
        yield
        (folder / "down").unlink()


def _local() -> type[Good]:
    class Local(Good, frozen=True, kw_only=True):
        pass

    return Local


Local = _local()
KINDS: dict[str, Any] = {"melting": Melting, "local": Local, "unsaid": Unsaid, "changing": Changing}
TESTS = [name for name in dir(SinkContract) if name.startswith("test_")]
WRONG = [
    ("unsaid", "test_all_that_has_no_default_is_given"),
    ("changing", "test_options_survive_the_way_through_a_file"),
    ("melting", "test_options_do_not_change"),
    ("local", "test_actors_find_the_options_by_their_name"),
    ("describe", "test_what_people_are_told_is_one_line_without_secrets"),
    ("secret", "test_what_people_are_told_is_one_line_without_secrets"),
    ("unpack", "test_what_is_packed_can_be_unpacked"),
    ("late", "test_what_is_written_is_there_when_write_returns"),
    ("order", "test_what_is_written_is_there_when_write_returns"),
    ("empty", "test_a_call_without_payloads_writes_nothing"),
    ("view", "test_a_payload_may_be_a_view_of_memory"),
    ("again", "test_writing_again_does_what_is_promised"),
    ("again", "test_what_a_killed_writer_has_written_is_there_and_can_be_written_again"),
    ("late", "test_what_a_killed_writer_has_written_is_there_and_can_be_written_again"),
    ("refusal", "test_an_item_that_is_refused_does_not_harm_its_neighbours"),
    ("neighbours", "test_an_item_that_is_refused_does_not_harm_its_neighbours"),
    ("down", "test_an_outage_is_waited_for"),
    ("open", "test_an_outage_is_waited_for"),
    ("tick", "test_the_end_of_the_input_takes_nothing_away"),
    ("end", "test_the_end_of_the_input_takes_nothing_away"),
    ("close", "test_closing_twice_is_harmless"),
    ("check", "test_a_check_changes_nothing"),
    ("clear nothing", "test_clearing_empties_what_is_its_own_or_says_that_it_cannot"),
    ("clear all", "test_clearing_empties_what_is_its_own_or_says_that_it_cannot"),
]


def run(wrong: str, test: str, folder: Path) -> None:
    contract = OfGood()
    contract.wrong = wrong
    getattr(contract, test)(folder)


@pytest.mark.parametrize("test", TESTS)
def test_the_good_one_passes(test: str, tmp_path: Path) -> None:
    with contextlib.suppress(SkipTest):  # all items stay: it has no versions
        run("", test, tmp_path)


@pytest.mark.parametrize(("wrong", "test"), WRONG)
def test_a_wrong_one_fails(wrong: str, test: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, OSError, IndexError, TypeError, Retryable)):
        run(wrong, test, tmp_path)


class OfValues(OfGood):
    """Its items are versions of one value: the good one keeps the last that it is given, a wrong one another."""

    def contents(self, folder: Path) -> list[Any]:
        given = super().contents(folder)
        return given[:1] if self.wrong == "first" else [max(given)] if self.wrong == "greatest" else given[-1:]

    def versions(self) -> tuple[Any, Any]:
        return b"two", b"one"


@pytest.mark.parametrize("wrong", ["first", "greatest"])
def test_a_sink_in_which_another_value_stands_fails(wrong: str, tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    contract = OfValues()
    contract.test_the_later_of_two_values_stands(good)
    contract.wrong = wrong
    with pytest.raises(AssertionError):
        contract.test_the_later_of_two_values_stands(bad)


def test_each_test_of_the_contract_has_a_sink_that_fails_it() -> None:
    assert sorted({*(test for _, test in WRONG), "test_the_later_of_two_values_stands"}) == sorted(TESTS)
