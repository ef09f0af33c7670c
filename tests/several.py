"""A pipeline whose records become several things, lines for it, and what has to come of them, worked out plainly.

A line is a word and tokens: ``one c7``, ``many a1 b2! -``. A token's first letter says what is meant to become of it;
``!a`` (or ``b``) at its end, that this sink refuses it for good.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from actors.runtime.errors import Reject
from actors.runtime.outputs import Many
from actors.runtime.pipeline import Fold, Pipeline
from actors.runtime.sections import BudgetOptions, FlowOptions
from actors.testing import InlineResult, MemorySink, MemorySource, UnorderedMemorySink

#: To a, to b, to both, to both where b cannot pack it, to none by None or by (); filtered; rejected by check, in the
#: list, by encode, by route for a name and for naming one twice.
KINDS = "abcknedrjpqt"
SINKS = {"a": ("a",), "b": ("b",), "c": ("a", "b"), "k": ("a", "b"), "n": (), "e": ()}


class Refusing(MemorySink, frozen=True):
    """Refuses for good what says so, and cannot pack what is not for it."""

    name: str = ""

    def pack(self, items: Sequence[Any]) -> bytes:
        if self.name == "b" and any(item.startswith("k") for item in items):
            raise ValueError("no k")
        return super().pack(items)

    def refuses(self, item: Any) -> str:
        return "refused" if self.name in item.partition("!")[2] else ""


def parse(line: bytes) -> Any:
    word, *tokens = line.decode().split() or [""]
    if not word:
        return None
    if word == "whole":
        raise Reject("whole")
    if word == "one":
        return tokens[0]
    return Many([None if token == "-" else Reject("in_list") if token[0] == "j" else token for token in tokens])


def check(token: str) -> str | None:
    if token[0] == "r":
        raise Reject("check")
    return None if token[0] == "d" else token


def route(token: str) -> Any:
    return {"a": "a", "b": "b", "n": None, "e": (), "q": "nowhere", "t": ("a", "a")}.get(token[0], ("a", "b"))


def encode(token: str) -> str:
    if token[0] == "p":
        raise ValueError(token)
    return token


def partials(tokens: list[str]) -> dict[tuple[Any, ...], list[Any]]:
    return {(letter,): [count] for letter, count in Counter(token[0] for token in tokens).items()}


PIPELINE = Pipeline(
    name="several", source=MemorySource(), parse=parse, check=check, route=route, encode=encode,
    sinks={"a": Refusing(name="a"), "b": Refusing(name="b")}, dead_letters=UnorderedMemorySink(),
    fold=Fold(partials=partials, keys=("letter",), fields=("number",)), flow=FlowOptions(window_batches=6),
    budget=BudgetOptions(max_error_rate=1.0))
WITHOUT_FOLD = msgspec.structs.replace(PIPELINE, fold=None)


def make_lines(rng: random.Random, records: int) -> list[str]:
    """Lines of all kinds; each token is there once."""
    lines = []
    number = 0
    for _ in range(records):
        word = rng.choice(("many", "many", "many", "one", "one", "whole", ""))
        tokens = []
        for _ in range({"many": rng.randint(0, 5), "one": 1}.get(word, 0)):
            number += 1
            kind = rng.choice("abcn" if rng.random() < 0.5 else KINDS.replace("j", "") if word == "one" else KINDS)
            refused = f"!{rng.choice(('a', 'b', 'ab'))}" if rng.random() < 0.15 else ""
            tokens.append("-" if word == "many" and rng.random() < 0.1 else f"{kind}{number}{refused}")
        lines.append(" ".join([word, *tokens]))
    return lines


class Expected:
    """What has to come of lines: counts, items by sink, letters as (line, output) or (item, output), what is folded."""

    def __init__(self, lines: Sequence[str], folds: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.items: dict[str, list[str]] = {"a": [], "b": []}
        self.letters: Counter[tuple[str, str]] = Counter()
        self.folded: Counter[tuple[str]] = Counter()
        self._folds = folds
        for line in lines:
            self._add(line)

    def _add(self, line: str) -> None:
        word, *tokens = line.split() or [""]
        if not word:
            return
        self.counts["read"] += 1
        if word == "whole":
            self.letters[line, ""] += 1
            self.counts["dead_lettered"] += 1
            return
        ends: set[str] = set()
        made = 0
        for number, token in enumerate(tokens):
            if token != "-":
                output = "" if word == "one" else str(number)
                ends |= self._ends(line, token, output)
                made += max(1, len(SINKS.get(token[0], ())))
        if word == "many" or made > 1:
            self.counts["many"] += 1
            self.counts["made"] += made
        order = ("dead_lettered", "written", "folded" if self._folds else "none")
        self.counts[next((end for end in order if end in ends), "filtered")] += 1

    def _ends(self, line: str, token: str, output: str) -> set[str]:
        """What becomes of one value."""
        if token[0] in "rjpqt":
            self.letters[line, output] += 1
            return {"dead_lettered"}
        if token[0] == "d":
            return {"filtered"}
        self.folded[(token[0],)] += 1
        ends = set() if SINKS[token[0]] else {"folded"}
        for sink in SINKS[token[0]]:
            which = f"{output}/{sink}" if len(SINKS[token[0]]) > 1 else output
            if token[0] == "k" and sink == "b":
                self.letters[line, which] += 1
                ends.add("dead_lettered")
            elif sink in token.partition("!")[2]:
                self.letters[repr(token), which] += 1
                ends.add("dead_lettered")
            else:
                self.items[sink].append(token)
                self.counts[f"written.{sink}"] += 1
                ends.add("written")
        return ends


def assert_comes_of(lines: Sequence[str], result: InlineResult, folds: bool, is_split: bool = False) -> None:
    """Everything is there once, each letter says which output it is, and the sum is of input records.

    ``is_split``: a sink may have refused an item of a whole batch before that was split, and again of a piece of it:
    there are two letters then, for they are known by their ranges, and one is counted.
    """
    expected = Expected(lines, folds)
    assert result.written == expected.items
    letters = Counter((letter.raw.decode(), letter.output) for letter in result.dead_letters)
    again = letters - expected.letters
    assert letters - again == expected.letters
    refused = {(letter.raw.decode(), letter.output) for letter in result.dead_letters if letter.reason == "refused"}
    assert set(again) <= (refused if is_split else set())
    assert result.folded == ({key: [number] for key, number in expected.folded.items()} if folds else {})
    counts = {name: number for name, number in result.counts.items() if number and not name.startswith("rejected.")}
    assert counts == dict(+expected.counts)
    assert sum(number for name, number in result.counts.items() if name.startswith("rejected.")) == (
        expected.letters.total())
