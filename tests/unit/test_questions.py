"""Questions as an application declares them: what of a function is an argument, what is refused, what is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from actors.runtime.errors import ConfigError
from actors.runtime.ports import Sink, SinkOptions
from actors.runtime.questions import Argument, arguments_of, needs_of, open_store, require_questions, rows_of
from actors.runtime.stored import Need, Reader, sentence
from actors.sinks.discard import Discard
from actors.sinks.jsonl import Jsonl
from actors.sinks.lmdb import Lmdb
from scripts.make_sinks import ROWS
from thresher import Moment, Question, Store, WindowOptions


def plenty(
    store: Store, name: str, *others: str, top: int = 10, share: float | None = None, since: Moment | None = None,
    is_new: bool = False, form: Literal["long", "short"] = "long", options: Any = None, window: WindowOptions
) -> Iterator[dict[str, Any]]:
    """Everything that can be said.

    More of it, which the list does not show.

    Args:
        name: of the thing,
            in full.
        top: so many.

    Returns:
        what: nothing of an argument.
    """
    yield {"name": name, "others": others, "top": top, "form": form, "window": window.gap_s}


def test_arguments_are_the_parameters_with_their_types_and_what_the_docstring_says() -> None:
    found = {each.name: each for each in arguments_of(Question(answer=plenty, needs={}))}
    assert found["name"] == Argument("name", "text", (), True, False, True, None, "of the thing, in full.")
    assert found["others"] == Argument("others", "text", (), True, True, False, None, "")
    assert found["top"] == Argument("top", "integer", (), False, False, False, 10, "so many.")
    assert found["form"] == Argument("form", "choice", ("long", "short"), False, False, False, "long", "")
    assert [found[name].kind for name in ("share", "since", "is_new")] == ["number", "moment", "switch"]
    assert list(found) == ["name", "others", "top", "share", "since", "is_new", "form"]
    assert Question(answer=plenty, needs={}).summary == "Everything that can be said."


def test_the_function_is_given_what_was_said_and_what_the_engine_knows() -> None:
    given = {"window": WindowOptions(gap_s=7.0), "options": None}
    question = Question(answer=plenty, needs={})
    assert list(rows_of(question, {}, ["a", "b", "c"], {"top": 3}, given)) == [
        {"name": "a", "others": ("b", "c"), "top": 3, "form": "long", "window": 7.0}]


class Row(msgspec.Struct):
    a: int


def test_rows_may_be_mappings_structs_or_single_values() -> None:
    def mixed(store: Store) -> list[Any]:
        return [{"a": 1}, Row(2), 3]

    assert list(rows_of(Question(answer=mixed, needs={}), {})) == [{"a": 1}, {"a": 2}, {"value": 3}]


def no_store() -> list[Any]:
    return []


def of_list(store: Store, names: list[str]) -> list[Any]:
    return names


def any_type(store: Store, name: Any) -> list[Any]:
    return [name]


def switch_word(store: Store, is_new: bool = False) -> list[Any]:
    return [is_new]


def free(store: Store, **more: str) -> list[Any]:
    return [more]


def fine(store: Store) -> list[Any]:
    return []


@pytest.mark.parametrize(("questions", "says"), [
    ({"a": Question(answer=no_store, needs={})}, r"questions\['a'\]: expected a function of a store.*got no_store\(\)"),
    *[({"a": Question(answer=each, needs={})}, rf"questions\['a'\]: parameter {name}: expected a type that a command")
      for each, name in ((of_list, "names"), (any_type, "name"), (switch_word, "is_new"), (free, "more"))],
    ({"a": Question(answer=fine, needs={"out": "rows", "none": "key"})},
     r"questions\['a'\]: expected a sink of the pipeline \(out\), got 'none'"),
    ({"A b": Question(answer=fine, needs={})}, "expected names of small letters, digits, - and _, got 'A b'"),
    ({name: Question(answer=fine, needs={}, default=True) for name in "ab"}, "expected one default, got a, b"),
])
def test_what_nobody_could_ask_is_refused_with_the_pipeline(questions: dict[str, Question], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        require_questions(questions, ["out"])


def test_a_question_is_answered_from_the_first_of_its_sinks_that_can() -> None:
    question = Question(answer=fine, needs={"a": "range"}, or_needs={"b": "rows"})
    sinks: dict[str, SinkOptions] = {"a": Lmdb(), "b": Jsonl()}
    assert needs_of(question, sinks) == {"a": "range"}
    assert needs_of(question, sinks | {"a": Discard()}) == {"b": "rows"}
    assert needs_of(Question(answer=fine, needs={}), {}) == {}
    with pytest.raises(ConfigError, match=r"sink a \(nowhere\) answers nothing. It needs keys of a in their order "
                                          r"\(lmdb, redis with index\), or rows of b \(sql, jsonl, csv, parquet\)"):
        needs_of(question, {"a": Discard(), "b": Discard()})


class Counted(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sink whose readers say when they are opened and closed."""

    def pack(self, items: Any) -> bytes:
        return b""

    def describe(self) -> str:
        return "nowhere"

    def open(self, name: str, state: Path) -> Sink:
        raise AssertionError("nobody opens it to write")

    def answers(self) -> tuple[Need, ...]:
        return ("rows",)

    def reader(self, name: str, state: Path) -> Reader:
        return Noted(name)


NOTED: list[str] = []


class Noted(Reader):
    """Says what becomes of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        NOTED.append(f"open {name}")

    def close(self) -> None:
        NOTED.append(f"close {self.name}")


def failing(reader: Reader) -> None:
    raise ZeroDivisionError(reader)


def test_a_store_is_opened_when_it_is_looked_at_and_closed_whatever_happens(tmp_path: Path) -> None:
    NOTED.clear()
    sinks: Mapping[str, SinkOptions] = {"a": Counted(), "b": Counted(), "c": Counted()}
    question = Question(answer=fine, needs={"a": "rows", "b": "rows"})
    with open_store(question, sinks, tmp_path) as store:
        assert (sorted(store), len(store), "c" in store, NOTED) == (["a", "b"], 2, False, [])
        assert store["b"] is store["b"]
        with pytest.raises(KeyError):
            store["c"]
        for method in ("get", "range", "rows"):
            with pytest.raises(NotImplementedError, match=rf"Noted\.{method}"):
                getattr(store["b"], method)(*[b""] * (method == "get"))
    with pytest.raises(ZeroDivisionError), open_store(question, sinks, tmp_path) as store:
        failing(store["a"])
    assert NOTED == ["open b", "close b", "open a", "close a"]


def test_what_a_store_answers_is_a_sentence() -> None:
    assert sentence(Lmdb().answers()) == "answers a key, and keys from one to another, in order"
    assert sentence(()) == ""
    assert sentence(("key", "rows")) == "answers key, rows"


ASKED = [row for row in ROWS if row.options.answers()]


@pytest.mark.parametrize("options", [row.options for row in ASKED], ids=[row.type for row in ASKED])
def test_a_sink_that_says_what_it_answers_has_a_reader_that_can(options: SinkOptions, tmp_path: Path) -> None:
    with closing(options.reader("out", tmp_path)) as reader:
        for need in options.answers():
            method = {"key": "get", "range": "range", "rows": "rows"}[need]
            assert getattr(type(reader), method) is not getattr(Reader, method)


def test_those_of_the_sinks_that_ship_can_be_asked_that_the_page_names() -> None:
    assert {row.type.partition(" ")[0] for row in ASKED} == {
        f"`{name}`" for name in ("lmdb", "redis", "memcached", "sql", "jsonl", "csv", "lines", "parquet")}
