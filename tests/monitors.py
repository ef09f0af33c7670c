"""A run with a monitor, and people who ask it. For tests."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from prometheus_client.parser import text_string_to_metric_families

from actors.runtime.rundir import MONITOR_TOKEN, MONITOR_URL, path_for
from tests.loads import WATCHDOG_S, Running

#: What has to be shown, by host and port: of the monitors that a test has found. Who asks for nothing shows it.
_tokens: dict[str, str] = {}
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Watched(Running):
    """A run of ``treacherous`` that follows the files of a folder, and is watched; it ends when it is told to.

    Args:
        folder: for its state and its files.
        sets: ``--set`` options.
        port: of the monitor; 0: any.
        pipeline: what is run; one that reads as ``treacherous`` does.
    """

    def __init__(self, folder: Path, *sets: str, port: int = 0, pipeline: str = "treacherous") -> None:
        self.logs = folder / "logs"
        self.logs.mkdir(exist_ok=True)
        self.put("first.txt", 100, bad=2)
        options = (word for item in (f"monitor.port={port}", "monitor.interval_s=0.1", "flow.batch_bytes=4000", *sets)
                   for word in ("--set", item))
        super().__init__(folder / "state", "run", f"tests.pipelines.{pipeline}", str(self.logs), "--follow",
                         "--monitor", "--format", "json", *options)

    def put(self, name: str, records: int, bad: int = 0) -> None:
        """Give it more to do."""
        lines = [b"%s-%d value\n" % (name.encode(), number) for number in range(records)]
        (self.logs / name).write_bytes(b"".join([*lines, *(b"bad%d\n" % number for number in range(bad))]))

    @property
    def url(self) -> str:
        """Where it is; waits until it says so."""
        return url_of(self.state)

    def ask(self, path: str, data: Any = None, **headers: str) -> Answer:
        """Ask; with data: POST it as JSON. A word with an underscore is a header with a dash."""
        return ask(self.url + path, data, **headers)

    def metrics(self) -> Series:
        """All series now; everything in them can be parsed."""
        return series(self.ask("metrics").text)


def url_file(state: Path) -> Path:
    """Where the monitor of a state directory's run says where it is."""
    return path_for(state) / MONITOR_URL


def url_of(state: Path) -> str:
    """Where it is; waits until it says so. From now on whoever asks it shows the token of this run."""
    url = str(eventually(url_file(state).read_text, "an address"))
    _tokens[urlsplit(url).netloc] = (path_for(state) / MONITOR_TOKEN).read_text()
    return url


def entry_of(state: Path) -> str:
    """What a terminal shows: where a browser begins."""
    url = url_of(state)
    return f"{url}?token={quote(_tokens[urlsplit(url).netloc], safe='')}"


def shown(url: str) -> dict[str, str]:
    """The header that shows the token of a monitor that was found."""
    token = _tokens.get(urlsplit(url).netloc)
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def ask(url: str, data: Any = None, method: str | None = None, **headers: str) -> Answer:
    """Ask once, with the token unless another header takes its place; redirects are not followed."""
    known = {**shown(url), **({"Content_Type": "application/json"} if data is not None else {})}
    request = urllib.request.Request(
        url, None if data is None else json.dumps(data).encode(),
        {name.replace("_", "-"): value for name, value in {**known, **headers}.items()}, method=method)
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=WATCHDOG_S) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Do not go there."""


def series(text: str) -> Series:
    """The samples of a text that Prometheus could read, by name and labels."""
    return {(sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}


def value(found: Series, name: str, **labels: str) -> float:
    """One sample."""
    return found[name, frozenset(labels.items())]


def eventually(look: Callable[[], Any], what: str) -> Any:
    """Look until there is something; return it."""
    deadline = time.monotonic() + WATCHDOG_S
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, FileNotFoundError):
            found = look()
            if found:
                return found
        time.sleep(0.01)
    raise AssertionError(f"never {what}")


class Listening:
    """An event stream that is read.

    Args:
        url: of the monitor.
        last_id: what was seen before.
        path: which stream.
        headers: more of them, each with its end.
    """

    def __init__(self, url: str, last_id: str = "", path: str = "api/events", headers: str = "") -> None:
        last = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        self._connection = connect(url, path, last + headers)
        self._file = self._connection.makefile("rb")
        self._messages = self._read()
        self.head = b"".join(iter(lambda: self._file.readline().rstrip(b"\r\n"), b"")).decode()

    def messages(self) -> Iterator[dict[str, str]]:
        """Every message from here on, as its fields; ends with the stream."""
        return self._messages

    def _read(self) -> Iterator[dict[str, str]]:
        fields: dict[str, str] = {}
        while size := self._file.readline():
            chunk = self._file.read(int(size, 16) + 2)[:-2]
            for line in chunk.decode().split("\n"):
                name, colon, text = line.partition(": ")
                if colon:
                    fields[name] = text
                elif not line and fields:
                    yield fields
                    fields = {}

    def until(self, event: str, is_it: Callable[[Any], bool] = bool) -> dict[str, str]:
        """Read on until there is such a message."""
        for message in self.messages():
            if message.get("event") == event and is_it(json.loads(message["data"])):
                return message
        raise AssertionError(f"the stream ended without {event}")

    def reset(self) -> None:
        """When it hangs up, what is still on its way is lost."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._connection.close()


def connect(url: str, path: str, headers: str = "") -> socket.socket:
    """Ask for something by hand, and let the answer come."""
    where = urlsplit(url)
    assert where.hostname and where.port
    headers = "".join(f"{name}: {value}\r\n" for name, value in shown(url).items()) + headers
    connection = socket.socket()
    connection.settimeout(WATCHDOG_S)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # one who does not read is full soon
    connection.connect((where.hostname, where.port))
    connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: {where.netloc}\r\n{headers}\r\n".encode())
    return connection


def kill(pid: int) -> None:
    """Kill a process."""
    os.kill(pid, 9)
