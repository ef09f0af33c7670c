"""A pipeline that writes numbers to a sink of each kind that keeps them on this machine's disk, and sums them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from thresher import Fold, Pipeline, Reject
from thresher.sinks import Csv, DeadLetters, Jsonl, Lines, Lmdb, Parquet, Sql
from thresher.sources import Files

STORES = ("keyed", "lined", "listed", "rowed", "tabled", "filed", "gathered")
#: So many files, each of which has the last of its numbers.
NAMES = 20


def number_for(line: bytes, stores: Sequence[str]) -> tuple[str, int]:
    """A number, and the store that it goes to: by its rest."""
    if not line.isdigit():
        raise Reject("number", f"expected a number, got {line!r}")
    return stores[int(line) % len(stores)], int(line)


def parse(line: bytes) -> tuple[str, int]:
    """A number for one of the stores."""
    return number_for(line, STORES)


def encode(value: tuple[str, int]) -> Any:
    """As each sink takes it."""
    store, number = value
    match store:
        case "keyed":
            return b"%d" % number, b"%d" % -number
        case "lined":
            return b"%d" % number
        case "listed":
            return {"number": number}
        case "tabled":
            return number, f'"{number}",\n'
        case "filed":
            return f"{number % NAMES}.csv", [(number,)]
    return (number,)


def partials(values: Iterable[tuple[str, int]]) -> dict[tuple[Any, ...], list[Any]]:
    """How many, and their sum, by store."""
    sums: dict[tuple[Any, ...], list[Any]] = {(store,): [0, 0] for store in STORES}
    for store, number in values:
        sums[store,][0] += 1
        sums[store,][1] += number
    return sums


PIPELINE = Pipeline(
    name="everywhere", source=Files(pattern="data/*.txt"), parse=parse, route=itemgetter(0), encode=encode,
    fold=Fold(partials=partials, keys=("store",), fields=("numbers", "sum")),
    sinks={"keyed": Lmdb(), "lined": Lines(), "listed": Jsonl(),
           "rowed": Sql(table="numbers", columns={"number": "integer"}), "tabled": Csv(columns=["number", "quoted"]),
           "filed": Csv(columns=["number"], folder="filed"),
           "gathered": Parquet(folder="gathered", columns={"number": "integer"}, roll_bytes=2000)},
    dead_letters=DeadLetters())
