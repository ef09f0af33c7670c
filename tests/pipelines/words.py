"""A pipeline whose lines hold several words, for a log, or for a log and rows; what it takes is up to its options."""

from __future__ import annotations

from typing import Any

import msgspec

from thresher import BudgetOptions, Fold, Many, Pipeline, Reject
from thresher.sinks import Jsonl, Lines
from thresher.sources import Files


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a word may be.

    Attributes:
        longest: so many letters.
        text: each is text; else those that begin with ``d`` are something that no line can hold.
        first: only the first word of a line counts.
    """

    longest: int = 5
    text: bool = False
    first: bool = False


def parse(line: bytes, options: Options) -> Many[str]:
    """All its words."""
    words = line.decode().split()
    return Many(words[:1] if options.first else words)


def check(word: str, options: Options) -> str:
    """A word that is not too long."""
    if len(word) > options.longest:
        raise Reject("long", word)
    return word


def route(word: str) -> str | tuple[str, ...]:
    """To both, what begins with b or d."""
    return ("rows", "log") if word[0] in "bd" else "log"


def encode(word: str, options: Options) -> Any:
    """The word, or something else."""
    return {"word": word} if word[0] == "d" and not options.text else word


def partials(words: list[str]) -> dict[tuple[str], list[int]]:
    """How many words there are."""
    return {("words",): [len(words)]}


PIPELINE = Pipeline(
    name="words", source=Files(rename="none"), parse=parse, check=check, route=route, encode=encode,
    sinks={"log": Lines(), "rows": Jsonl()}, fold=Fold(partials=partials, keys=("what",), fields=("number",)),
    options=Options(), budget=BudgetOptions(max_error_rate=1.0))
