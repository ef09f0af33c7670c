"""The public contract of sinks, kept by all that ship, over the real thing."""

from __future__ import annotations

import ast
import csv
import datetime
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.runtime.ports import SinkOptions
from actors.runtime.values import DeadLetter, Refusal
from actors.sinks.csv import Csv
from actors.sinks.dead_letters import DeadLetters, read_letters
from actors.sinks.discard import Discard
from actors.sinks.jsonl import Jsonl
from actors.sinks.lines import Lines
from actors.sinks.lmdb import Lmdb
from actors.sinks.memcached import Memcached
from actors.sinks.parquet import Parquet
from actors.sinks.sql import Sql
from actors.sinks.stdout import Stdout
from actors.sinks.topic import Message, Topic
from actors.testing import SinkContract
from actors.topics.reading import read_topic
from tests.loads import ROOT
from tests.postgres import Postgres
from tests.servers import Memcached as Server

LINES = [b"one", b"two", b"three", b"four"]


@contextmanager
def in_the_way(path: Path) -> Iterator[None]:
    """A folder (with something in it) lies where a file is to be, or a file where a folder is."""
    path.mkdir()
    (path / "x").touch()
    yield
    (path / "x").unlink()
    path.rmdir()


class TestLines(SinkContract):
    in_order: ClassVar[bool] = True

    def options(self, folder: Path) -> SinkOptions:
        return Lines(sync=False)

    def items(self) -> list[Any]:
        return LINES

    def contents(self, folder: Path) -> list[Any]:
        path = folder / "contract.log"
        return path.read_bytes().splitlines() if path.exists() else []

    def down(self, folder: Path) -> AbstractContextManager[object]:
        return in_the_way(folder / "contract.log")


class TestJsonl(SinkContract):
    in_order: ClassVar[bool] = True

    def options(self, folder: Path) -> SinkOptions:
        return Jsonl(path="out.jsonl")

    def items(self) -> list[Any]:
        return [{"a": 1}, {"a": [None, "\n"]}, "text", 4]

    def contents(self, folder: Path) -> list[Any]:
        path = folder / "out.jsonl"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


class TestCsv(SinkContract):
    """A table that grows."""

    in_order: ClassVar[bool] = True

    def options(self, folder: Path) -> SinkOptions:
        return Csv(columns=["word", "what, of it"], sync=False)

    def items(self) -> list[Any]:
        return [("one", "1"), ("a, b", 'said "c"'), ("", "\r"), ("d\ne", "ä\r\n")]

    def contents(self, folder: Path) -> list[Any]:
        return rows_of(folder / "contract.csv")[1:]

    def down(self, folder: Path) -> AbstractContextManager[object]:
        return in_the_way(folder / "contract.csv")


class TestCsvFiles(SinkContract):
    """Files by name."""

    def options(self, folder: Path) -> SinkOptions:
        return Csv(columns=["asin", "count"], folder="minutes", delimiter=";")

    def items(self) -> list[Any]:
        return [("1.csv", [("a", "1"), ("b;c", "2")]), ("2.csv", []), ("3 ä", [("\n", "")]), ("4.csv", [("d", "4")])]

    def versions(self) -> tuple[Any, Any]:
        return ("1.csv", [("a", "1"), ("b", "2")]), ("1.csv", [("a", "3")])

    def contents(self, folder: Path) -> list[Any]:
        found = sorted(path for path in (folder / "minutes").glob("*") if not path.name.startswith("."))
        return [(path.name, rows_of(path, ";")[1:]) for path in found]

    @contextmanager
    def down(self, folder: Path) -> Iterator[None]:
        (folder / "minutes").write_text("in the way")
        yield
        (folder / "minutes").unlink()


def rows_of(path: Path, delimiter: str = ",") -> list[tuple[str, ...]]:
    """What the standard library reads in a file of CSV; nothing when there is none."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [tuple(row) for row in csv.reader(file, delimiter=delimiter)]


class OfKeys(SinkContract):
    """A store of keys and values."""

    __test__ = False
    bad: ClassVar[tuple[bytes, bytes]]

    def items(self) -> list[Any]:
        return [(b"a", b"1"), (b"b", b"\x00\r\n\xff"), (b"c", b""), (b"d", b"d" * 5000)]

    def versions(self) -> tuple[Any, Any]:
        return (b"a", b"1"), (b"a", b"2")

    def impossible(self) -> Any:
        return self.bad

    def _expect_refusal(self, options: SinkOptions, refusal: Refusal, bad: Any) -> None:
        super()._expect_refusal(options, refusal, bad)
        assert bad[0] in refusal.raw
        assert bad[1] in refusal.raw


class TestLmdb(OfKeys):
    __test__ = True
    bad: ClassVar[tuple[bytes, bytes]] = (b"k" * 600, b"x")

    def options(self, folder: Path) -> SinkOptions:
        return Lmdb(sync=False)

    def contents(self, folder: Path) -> list[Any]:
        """What another process reads in a store that is open here."""
        if not (folder / "contract.lmdb").exists():
            return []
        program = ("import sys; from pathlib import Path; from actors.sinks.lmdb import read_lmdb; "
                   "print(list(read_lmdb(Path(sys.argv[1]))))")
        done = subprocess.run([sys.executable, "-c", program, str(folder / "contract.lmdb")], cwd=ROOT,
                              capture_output=True, text=True, check=True)
        found: list[Any] = ast.literal_eval(done.stdout)
        return found

    @contextmanager
    def down(self, folder: Path) -> Iterator[None]:
        (folder / "contract.lmdb").write_text("in the way")
        yield
        (folder / "contract.lmdb").unlink()


class TestMemcached(OfKeys):
    __test__ = True
    bad: ClassVar[tuple[bytes, bytes]] = (b"big", b"x" * 2_000_000)
    server: Server

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with Server() as self.server:
            yield

    def options(self, folder: Path) -> SinkOptions:
        return Memcached(server=self.server.address)

    def contents(self, folder: Path) -> list[Any]:
        return list(self.server.get_many([key for key, _ in [*self.items(), self.bad]]).items())

    @contextmanager
    def down(self, folder: Path) -> Iterator[None]:
        self.server.stop()
        yield
        self.server.start()


class TestSql(SinkContract):
    """Rows of SQLite that are only added, in a table that refuses some."""

    in_order: ClassVar[bool] = True

    def options(self, folder: Path) -> SinkOptions:
        with closing(sqlite3.connect(folder / "rows.db")) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS words (word TEXT NOT NULL, number INTEGER NOT NULL CHECK (number < 1000))")
        return Sql(url=f"sqlite:///{folder}/rows.db", table="words", columns={"word": "text", "number": "integer"},
                   sync=False)

    def items(self) -> list[Any]:
        return [("one", 1), ("zwölf", 12), ("", -3), ("four", 4)]

    def impossible(self) -> Any:
        return ("many", 1000)

    def contents(self, folder: Path) -> list[Any]:
        with closing(sqlite3.connect(folder / "rows.db")) as connection:
            return connection.execute("SELECT word, number FROM words ORDER BY rowid").fetchall()


class TestSqlWithAKey(TestSql):
    def options(self, folder: Path) -> SinkOptions:
        return Sql(url=f"sqlite:///{folder}/rows.db", table="words", columns={"word": "text", "number": "integer"},
                   key=["word"], sync=False)

    def versions(self) -> tuple[Any, Any]:
        return ("one", 1), ("one", 11)

    def impossible(self) -> Any:
        return None

    def contents(self, folder: Path) -> list[Any]:
        with closing(sqlite3.connect(folder / "rows.db")) as connection:
            has_table = connection.execute("SELECT 1 FROM sqlite_master WHERE name='words'").fetchone()
        return super().contents(folder) if has_table else []


class TestSqlOfPostgreSQL(SinkContract):
    """The same in a real server, with a key, which is stopped and started."""

    @pytest.fixture(autouse=True)
    def _database(self, postgres: Postgres) -> None:
        self.server, self.database = postgres, postgres.make_database()

    def options(self, folder: Path) -> SinkOptions:
        with self.server.connect(self.database) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS words ("
                               "word TEXT PRIMARY KEY, number BIGINT NOT NULL CHECK (number < 1000))")
        return Sql(url=self.server.url(self.database), table="words", columns={"word": "text", "number": "integer"},
                   key=["word"])

    def items(self) -> list[Any]:
        return [("one", 1), ("zwölf", 12), ("", -3), ("four", 4)]

    def versions(self) -> tuple[Any, Any]:
        return ("one", 1), ("one", 11)

    def impossible(self) -> Any:
        return ("many", 1000)

    def contents(self, folder: Path) -> list[Any]:
        with self.server.connect(self.database) as connection:
            return connection.execute("SELECT word, number FROM words").fetchall()

    @contextmanager
    def down(self, folder: Path) -> Iterator[None]:
        self.server.stop()
        yield
        self.server.start()


class TestParquet(SinkContract):
    """Files of two rows or three, and a journal."""

    in_order: ClassVar[bool] = True

    def options(self, folder: Path) -> SinkOptions:
        return Parquet(folder="rows", columns={"word": "text?", "number": "integer", "at": "timestamp?", "all": "json"},
                       roll_bytes=1500, sync=False)

    def items(self) -> list[Any]:
        at = datetime.datetime(2018, 7, 15, 11, 4, 0, 123456, datetime.UTC)
        return [("one", 1, at, {"a": [None, "\n"]}), (None, -2**63, None, []), ("", 3, at, None), ("\r\nä", 4, None, 4)]

    def contents(self, folder: Path) -> list[Any]:
        return rows_of_parquet(folder / "rows", "contract")

    @contextmanager
    def down(self, folder: Path) -> Iterator[None]:
        (folder / "rows").write_text("in the way")
        yield
        (folder / "rows").unlink()


def rows_of_parquet(folder: Path, name: str) -> list[Any]:
    """What is in the files of a sink, read by themselves, and then in its journal."""
    rows = [row for path in sorted(folder.glob("part-*.parquet")) for row in rows_in(pq.read_table(path))]
    journal = folder / f".{name}.journal"
    return rows + rows_in(pa.ipc.open_stream(journal.read_bytes()).read_all()) if journal.exists() else rows


def rows_in(table: pa.Table) -> list[Any]:
    """The rows of such a table."""
    found = zip(*(column.cast("int64").to_pylist() if name == "at" else column.to_pylist()
                  for name, column in zip(table.column_names, table.columns, strict=True)), strict=True)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return [(word, number, None if at is None else epoch + datetime.timedelta(microseconds=at), json.loads(text))
            for word, number, at, text in found]


class TestStdout(SinkContract):
    """Standard output, which pytest captures, that of the writer in a process of its own, too."""

    in_order: ClassVar[bool] = True
    repeats: ClassVar[bool] = True

    @pytest.fixture(autouse=True)
    def _captured(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.capture = capfd
        self.said = ""

    def options(self, folder: Path) -> SinkOptions:
        return Stdout()

    def items(self) -> list[Any]:
        return LINES

    def contents(self, folder: Path) -> list[Any]:
        self.said += self.capture.readouterr().out
        return self.said.encode().splitlines()


class TestDeadLetters(SinkContract):
    def options(self, folder: Path) -> SinkOptions:
        return DeadLetters()

    def items(self) -> list[Any]:
        return [DeadLetter("parser", "columns", "why", "a.tsv", "p", number, number, 1, raw)
                for number, raw in enumerate([b"\x00\xff\r", b"", b"x" * 5_000_000, b"four"])]

    def contents(self, folder: Path) -> list[Any]:
        path = folder / "dead-letters.db"
        return [DeadLetter(row.stage, row.reason, row.detail, row.source, row.partition, row.position, row.offset,
                           row.line, row.raw, row.item) for row in read_letters(path)] if path.exists() else []

    def down(self, folder: Path) -> AbstractContextManager[object]:
        return in_the_way(folder / "dead-letters.db")


class TestDiscard(SinkContract):
    def options(self, folder: Path) -> SinkOptions:
        return Discard()

    def items(self) -> list[Any]:
        return LINES

    def contents(self, folder: Path) -> None:
        """Nothing is kept."""


class TestTopic(SinkContract):
    """A topic, with all that a message may have."""

    in_order: ClassVar[bool] = True

    def options(self, folder: Path) -> SinkOptions:
        return Topic(topic="topic:words", sync=False)

    def items(self) -> list[Any]:
        return [Message(b"one", b"a", 1, (("h", b"x"), ("h", None))), Message(None, b"b", 2), Message(b"", None, 3),
                Message(b"\n\xff", b"", 4)]

    def contents(self, folder: Path) -> list[Any]:
        if not (folder / "words").exists():
            return []
        return [Message(record.value, record.key, record.time, record.headers)
                for _, record in read_topic(folder / "words")]

    @contextmanager
    def down(self, folder: Path) -> Iterator[None]:
        (folder / "words").write_text("in the way")
        yield
        (folder / "words").unlink()


class TestTopicOfManyPartitions(TestTopic):
    in_order: ClassVar[bool] = False

    def options(self, folder: Path) -> SinkOptions:
        return Topic(topic=f"topic://{folder}/words", partitions=3, segment_bytes=100)
