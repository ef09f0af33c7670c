"""Questions: what an application can be asked about what it has stored, with ``thresher ask``.

    question ──needs──▶ {"events": "range"} ──the sinks that are configured──▶ Store {"events": Reader}
        └──answer(store, words, flags)──▶ rows

A question is a pure function of the store and its arguments: it gets no clock, no socket, no file. What its sinks are
is up to the configuration; a question whose sinks cannot answer it is refused in a sentence, before one is opened.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from actors.runtime.errors import ConfigError
from actors.runtime.ports import SinkOptions
from actors.runtime.stored import Need, Reader, Store

#: What a function is given by the engine, if it has such a parameter, and not by who asks.
GIVEN = ("options", "window")
_ENTRY = re.compile(r"^(\w+): (.*(?:\n {4,}.*)*)", re.MULTILINE)


class Moment(int):
    """A time, in ms since 1970: an int. On a command line it is said as seconds or ms since 1970, or as ISO 8601 with a
    zone.

    Example::

        def since(store: Store, *, first: Moment | None = None):
            return (row for row in store["reports"].rows() if first is None or row["start"] >= first)
    """


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question about what a pipeline has stored, for ``thresher ask``.

    Attributes:
        answer: ``(store, …) -> rows``: a pure function. ``store`` has a ``Reader`` of each sink by its name; rows are
            mappings (their keys are the columns), and may be a generator's. Further parameters are arguments of who
            asks: those that may be given by position are words, those behind a ``*`` are flags; each has a type
            (``str``, ``int``, ``float``, ``bool``, ``Moment``, ``Literal``; ``| None``), and ``*names: str`` takes
            several words. Its docstring is the help: the first line, and a line of ``Args`` for each argument. With a
            parameter ``options`` it is given the application's, with ``window`` those of its windows.
        needs: by sink, what that has to answer: ``key``, ``range`` (keys in order), ``rows``.
        or_needs: what will do instead, where the sinks of the configuration do not answer ``needs``.
        default: a word that is no question is asked of this one: ``thresher ask APP WORD``.

    Example::

        def most(store: Store, *, top: int = 10):
            \"\"\"The words that are there most often.

            Args:
                top: so many.
            \"\"\"
            return sorted(store["words"].rows(), key=lambda row: -row["total"])[:top]

        PIPELINE = Pipeline(
            source=Directory(paths=["in"]), parse=lambda line: {"word": line.decode(), "total": 1},
            sinks={"words": Jsonl()}, questions={"most": Question(answer=most, needs={"words": "rows"})})
    """

    answer: Callable[..., Iterable[Any]]
    needs: dict[str, Need]
    or_needs: dict[str, Need] = {}
    default: bool = False

    @property
    def summary(self) -> str:
        """What it is for: the first line of its docstring."""
        return (inspect.getdoc(self.answer) or "").partition("\n")[0]


_PLAIN: dict[Any, str] = {str: "text", int: "integer", float: "number", bool: "switch", Moment: "moment"}


class Argument(msgspec.Struct, frozen=True):
    """An argument of a question.

    Attributes:
        name: of the parameter.
        kind: ``text``, ``integer``, ``number``, ``switch``, ``moment``, ``choice``.
        choices: of a ``choice``.
        word: it is given by its position, not as a flag.
        several: it takes all words that are left.
        required: it has no default.
        default: what it is when nobody says anything.
        text: its line of the docstring.
    """

    name: str
    kind: str
    choices: tuple[str, ...]
    word: bool
    several: bool
    required: bool
    default: Any
    text: str


def arguments_of(question: Question) -> list[Argument]:
    """The arguments of a question, in the order of its parameters.

    Raises:
        ConfigError: it takes no store, or one has no type that a command line can give.
    """
    function = question.answer
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (
            inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        raise ConfigError("expected a function of a store, as in def most(store, *, top: int = 10), got "
                          f"{_named(function)}{inspect.signature(function)}")
    try:
        hints = get_type_hints(function)
    except Exception as error:
        raise ConfigError(f"{_named(function)}: its types cannot be read: {error}") from error
    texts = _texts(function)
    return [_argument(one, hints, texts) for one in parameters[1:] if one.name not in GIVEN]


def _argument(one: inspect.Parameter, hints: Mapping[str, Any], texts: Mapping[str, str]) -> Argument:
    hint = hints.get(one.name)
    if get_origin(hint) in (typing.Union, types.UnionType) and type(None) in get_args(hint):
        left = [each for each in get_args(hint) if each is not type(None)]
        hint = left[0] if len(left) == 1 else None
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    kind = "choice" if choices and all(isinstance(each, str) for each in choices) else _PLAIN.get(hint)
    several, word = one.kind is one.VAR_POSITIONAL, one.kind is not one.KEYWORD_ONLY
    if kind is None or one.kind is one.VAR_KEYWORD or (kind == "switch" and (word or one.default is not False)):
        raise ConfigError(
            f"parameter {one.name}: expected a type that a command line can give (str, int, float, Moment, Literal of "
            f"texts, each also | None; bool = False behind a *), got {one}")
    default = None if one.default is one.empty else one.default
    return Argument(one.name, kind, choices, word, several, one.default is one.empty and not several, default,
                    texts.get(one.name, ""))


def _texts(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring says of each argument."""
    body = re.split(r"^Args:\s*$", inspect.getdoc(function) or "", maxsplit=1, flags=re.MULTILINE)
    entries = inspect.cleandoc(body[1].split("\n\n", 1)[0]) if len(body) > 1 else ""
    return {name: re.sub(r"\s+", " ", text) for name, text in _ENTRY.findall(entries)}


def _named(function: Callable[..., Any]) -> str:
    return function.__qualname__ if isinstance(function, types.FunctionType) else repr(function)


def require_questions(questions: Mapping[str, Question], sinks: Iterable[str]) -> None:
    """Make sure that questions can be asked at all, whatever the configuration.

    Raises:
        ConfigError: one has a name that cannot be said, needs a sink that there is not, or takes what nobody can give.
    """
    sinks = list(sinks)
    for name, question in questions.items():
        where = f"questions[{name!r}]"
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise ConfigError(f"questions: expected names of small letters, digits, - and _, got {name!r}")
        for sink in (*question.needs, *question.or_needs):
            if sink not in sinks:
                raise ConfigError(f"{where}: expected a sink of the pipeline ({', '.join(sinks)}), got {sink!r}")
        try:
            arguments_of(question)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    defaults = [name for name, question in questions.items() if question.default]
    if len(defaults) > 1:
        raise ConfigError(f"questions: expected one default, got {', '.join(defaults)}")


def needs_of(question: Question, sinks: Mapping[str, SinkOptions]) -> dict[str, Need]:
    """What a question is answered from, of the sinks that are configured.

    Raises:
        ConfigError: they cannot answer it; says which can.
    """
    for needs in (question.needs, question.or_needs):
        if needs and all(need in sinks[sink].answers() for sink, need in needs.items()):
            return needs
    if not question.needs:
        return {}
    lacking = [f"sink {sink} ({sinks[sink].describe()}) {sinks[sink].answers_in_words() or 'answers nothing'}"
               for sink, need in question.needs.items() if need not in sinks[sink].answers()]
    raise ConfigError("; ".join(lacking) + f". It needs {_wanted(question)}")


def why_not(questions: Mapping[str, Question], sinks: Mapping[str, SinkOptions]) -> dict[str, str]:
    """By name, why questions cannot be answered with the sinks that are configured; those that can are left out."""
    found: dict[str, str] = {}
    for name, question in questions.items():
        try:
            needs_of(question, sinks)
        except ConfigError as error:
            found[name] = str(error)
    return found


#: Which stores can do what, for who has chosen another.
_WHO = {"key": "keys of {} (lmdb, redis, memcached)", "rows": "rows of {} (sql, jsonl, csv, parquet)",
        "range": "keys of {} in their order (lmdb, redis with index)"}


def _wanted(question: Question) -> str:
    ways = [" and ".join(_WHO[need].format(sink) for sink, need in needs.items())
            for needs in (question.needs, question.or_needs) if needs]
    return ", or ".join(ways)


class Opened(Mapping[str, Reader]):
    """The stores that a question needs, each opened when it is first looked at.

    Args:
        needs: by sink, what is asked of it.
        sinks: options of the sinks that are configured.
        state: the state directory.
    """

    def __init__(self, needs: Mapping[str, Need], sinks: Mapping[str, SinkOptions], state: Path) -> None:
        self._needs = needs
        self._sinks = sinks
        self._state = state
        self._readers: dict[str, Reader] = {}

    def __getitem__(self, sink: str) -> Reader:
        if sink not in self._needs:
            raise KeyError(sink)
        if sink not in self._readers:
            self._readers[sink] = self._sinks[sink].reader(sink, self._state)
        return self._readers[sink]

    def __iter__(self) -> Iterator[str]:
        return iter(self._needs)

    def __len__(self) -> int:
        return len(self._needs)

    def __contains__(self, sink: object) -> bool:
        return sink in self._needs

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *raised: object) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()


def open_store(question: Question, sinks: Mapping[str, SinkOptions], state: Path) -> Opened:
    """Open, to look at, what a question is answered from; nothing is opened before it is looked at.

    Raises:
        ConfigError: these sinks cannot answer it.
    """
    return Opened(needs_of(question, sinks), sinks, state)


def fitting(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``given`` a function has a parameter for."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in given.items() if name in parameters}


def rows_of(
    question: Question, store: Store, words: Sequence[Any] = (), flags: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Ask, and yield the rows of the answer, each a dict.

    Args:
        question: what is asked.
        store: what it is answered from.
        words: arguments by position.
        flags: arguments by name.
        given: of ``GIVEN`` what there is; only what the function has a parameter for is handed over.
    """
    for row in question.answer(store, *words, **(flags or {}), **fitting(question.answer, given or {})):
        if isinstance(row, msgspec.Struct):
            yield msgspec.structs.asdict(row)
        else:
            yield dict(row) if isinstance(row, Mapping) else {"value": row}
