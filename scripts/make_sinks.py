"""The table of ``docs/sinks.md``: what each sink that ships is, by what its own options say.

A sink has a row for each way that its options make it another one. What an item is stands here; all else is asked.
``make_docs.py`` writes it into the page.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from actors.console.paths import path_of
from actors.runtime.ports import SinkOptions
from actors.sinks.csv import Csv
from actors.sinks.discard import Discard
from actors.sinks.jsonl import Jsonl
from actors.sinks.kafka import Kafka
from actors.sinks.lines import Lines
from actors.sinks.lmdb import Lmdb
from actors.sinks.memcached import Memcached
from actors.sinks.parquet import Parquet
from actors.sinks.rabbitmq import RabbitMQ
from actors.sinks.redis import Redis
from actors.sinks.sql import Sql
from actors.sinks.stdout import Stdout
from actors.sinks.topic import Topic
from actors.sources.files import Files

#: What the table stands between in the page.
BEGIN, END = "<!-- made by scripts/make_docs.py from what the sinks say of themselves -->\n\n", "\n<!-- end -->\n"
_HEADS = ("`type`", "an item is", "by key", "order", "after the death of any process", "deletes",
          "a power cut, or the system itself, takes", "`run --fresh`")
_MESSAGE = "(key, value), a `Message`, or a value"


class Row(NamedTuple):
    """A sink as these options make it.

    Attributes:
        type: as it is configured, in Markdown.
        options: such ones.
        item: what it takes.
    """

    type: str
    options: SinkOptions
    item: str


ROWS = (
    Row("`memcached`", Memcached(server="host:1"), "(key, value) bytes; the value may be None"),
    Row("`redis`", Redis(url="redis://host"), "(key, value) bytes, or an `Indexed`; the value may be None"),
    Row("`lmdb`", Lmdb(), "(key, value) bytes; the value may be None"),
    Row("`lines`", Lines(), "text or bytes without a newline"),
    Row("`jsonl`", Jsonl(), "plain data or a struct"),
    Row("`csv` with `path`", Csv(columns=["a"]), "a row"),
    Row("`csv` with `folder`", Csv(columns=["a"], folder="f"), "(file name, rows)"),
    Row("`parquet`", Parquet(columns={"a": "text"}), "a row"),
    Row("`sql`", Sql(columns={"a": "text"}), "a row"),
    Row("`sql` with `key`", Sql(columns={"a": "text"}, key=["a"]), "a row, or `Deleted(key)`"),
    Row("`topic`", Topic(), _MESSAGE),
    Row("`kafka`", Kafka(topic="kafka://host:1/topic"), _MESSAGE),
    Row("`kafka` with `transactions`", Kafka(topic="kafka://host:1/topic", transactions=True), _MESSAGE),
    Row("`rabbitmq`", RabbitMQ(topic="amqp://host:1/?queue=queue"), _MESSAGE),
    Row("`stdout`", Stdout(), "one line or several, text or bytes"),
    Row("`discard`", Discard(), "anything"),
)


def table(rows: Sequence[Row] = ROWS) -> str:
    """The table, in Markdown."""
    return "\n".join(["| " + " | ".join(cells) + " |" for cells in [
        _HEADS, ["---"] * len(_HEADS), *map(cells_of, rows)]]) + "\n"


def page(text: str) -> str:
    """The page with the table as it has to be.

    Raises:
        ValueError: it has no place for it.
    """
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return f"{text[:start]}{table()}{text[end:]}"


def cells_of(row: Row) -> list[str]:
    """What stands in a row."""
    sink = row.options
    is_kept = type(sink) not in (Discard, Stdout)
    order = ("source order" + " for each key" * ("for each key" in sink.promises())) if sink.ordered else "any"
    return [row.type, row.item, "yes" if is_keyed(sink) else "-", order if is_kept or sink.ordered else "-", once(sink),
            _quoted(sink.tombstones()) or "-", sink.loses() or ("nothing" if is_kept else "-"),
            ("emptied" if is_emptied(sink) else "stays") if is_kept else "-"]


def is_keyed(sink: SinkOptions) -> bool:
    """Whether an item takes the place of another one."""
    return sink.repeated() == "replaced" or bool(sink.tombstones() and not sink.adds())


def once(sink: SinkOptions) -> str:
    """How often something is there whose writer died, of a source that is read again at its old position."""
    promise = path_of(Files(pattern="x"), sink)
    return promise.partition(":")[0]


def is_emptied(sink: SinkOptions) -> bool:
    """Whether a run that begins anew empties it."""
    with tempfile.TemporaryDirectory() as folder:
        return sink.clear("name", Path(folder))


def _quoted(tombstones: str) -> str:
    item, _, does = tombstones.partition(") ")
    return f"`{item})` {does}" if does else tombstones
