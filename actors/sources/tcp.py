"""The tcp source: lines that clients send to a listening socket. What was accepted is never asked for again.

    clients ──▶ Intake ──good lines of this round──▶ Journal ──one write, then one chunk──▶ reader ──▶ …
                  ▲ closed at once: a bad line,          │
                  └ one client too many, silence         └─ after a restart: what was not committed, first

A client cannot be asked to send again, and is not answered. So a line counts from the moment when it is in the journal:

* What is in the journal ends in exactly one outcome, whoever dies; what is handed out is in the journal.
* The lines of one client keep their order; a client's bad line takes nothing away from what it sent before.
* When the pipeline cannot take more, or the disk is full, nothing is received: the clients wait in their ``send``.
* A line without its newline at the end of a connection is dropped: nobody knows whether that was all of it.

What does not work: to answer for the bytes that the kernel has acknowledged (it does so before we have seen them: what
is still in its buffers when this process dies is lost, as it is for every server that does not answer); a thread for
each client (the round would be theirs to fill, with a lock for each line); receiving while nothing can be handed out
(a fast client would fill the memory, or the disk).
"""

from __future__ import annotations

import contextlib
import errno
import re
import resource
import socket
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from actors.runtime import open_files
from actors.runtime.errors import ConfigError, plain_reason
from actors.runtime.ports import Source, UnitLedger
from actors.runtime.values import Chunk, Unit
from actors.sources.framings.intake import RecordIntake
from actors.sources.framings.options import FramedOptions
from actors.sources.intake import Intake
from actors.sources.journal import LINES, RECORDS, Journal
from actors.sources.lineform import LineForm

#: In the journal's folder: where the source listens, ``host:port``.
ADDRESS = "tcp.address"
#: Connections that the kernel keeps for us until they are accepted.
_BACKLOG = 1024
#: Descriptors that a reader needs besides those of its clients, generously.
_OWN_DESCRIPTORS = 128
#: A peer that has vanished is noticed after 30 + 3 * 10 seconds.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Tcp(FramedOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take lines, or records in another framing, from TCP clients; journalled to disk before they go on.

    Attributes:
        host: address to listen on; ``0.0.0.0`` or ``::`` for all of this machine's.
        port: port to listen on; 0 for any free one, which is said on standard error, and in the file ``tcp.address``
            in the journal's folder.
        max_clients: most clients at a time; one more is accepted and closed at once.
        read_timeout_s: a client that sends nothing for so long, within a line or between two, is closed; 0: never.
        line: a regular expression (ASCII) that each line without its newline has to match. A client is closed, at once
            and without comment, at its first line that does not; what it sent before counts, what it sent after does
            not. Empty: any line. One without negated classes and capturing groups is matched several times as fast.
        newline: ``lf``; or ``any``: CRLF, too, ends a line, and is stored as LF.
        max_line_bytes: longest line, its newline (LF) included; a client that sends a longer one, or the beginning of
            one, is closed. So much is kept for each client at most.
        max_record_bytes: the same, of records in another framing; a client that sends what is none is closed, too.
        idle_timeout_s: with ``framing = "multiline"``: when a client has sent nothing for so long, its last record is
            whole, and what follows is a record of its own.
        segment_bytes: size at which a file of the journal is full; it is deleted when all of it is durable elsewhere.
        sync: wait for the disk before anything that was received goes on; without it what was accepted survives the
            death of any process, not that of the machine.
        journal: the journal's folder, relative to the state directory.

    Example::

        Tcp(host="127.0.0.1", port=4000, max_clients=5)
    """

    listens: ClassVar[bool] = True
    guarantee: ClassVar[str] = (
        "journalled before it goes on: what was received survives the death of any process (with sync: of the machine) "
        "and is read exactly once; a client is not answered, and what it sent that was not received yet is lost")

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)]
    max_clients: Annotated[int, Meta(ge=1)] = 1024
    read_timeout_s: Annotated[float, Meta(ge=0)] = 0.0
    line: str = ""
    newline: Literal["lf", "any"] = "lf"
    max_line_bytes: Annotated[int, Meta(ge=1, le=1 << 30)] = 64 * 1024
    max_record_bytes: Annotated[int, Meta(ge=1, le=1 << 30)] = 64 * 1024
    idle_timeout_s: Annotated[float, Meta(ge=0)] = 5.0
    segment_bytes: Annotated[int, Meta(ge=1)] = 64 * 1024 * 1024
    sync: bool = True
    journal: str = "journal"

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        super().__post_init__()
        for name, value, usual in (("line", self.line, ""), ("newline", self.newline, "lf")):
            if self.framing != "lines" and value != usual:
                raise ValueError(f"{name}: it is for framing = \"lines\", expected nothing with framing = "
                                 f"\"{self.framing}\", got {value!r}")
        if not self.journal:
            raise ValueError("journal: expected the name of a folder, got ''")
        try:
            LineForm(self.line, self.newline, self.max_line_bytes)
        except UnicodeEncodeError:
            raise ValueError(f"line: expected a regular expression in ASCII, got {self.line!r}") from None
        except re.error as error:
            raise ValueError(f"line: expected a regular expression, got {self.line!r} ({error})") from None

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> TcpSource:
        """Listen, and find what the journal has left.

        Raises:
            ConfigError: it cannot listen at this address, or write to the journal.
        """
        return TcpSource(self, ledger, batch_bytes, state)

    def cut_by(self) -> dict[str, Any]:
        """Nothing: the journal has whole records, and says itself how they are kept."""
        return {}

    def journal_folder(self) -> str:
        """The journal's folder."""
        return self.journal

    def check(self, state: Path) -> list[str]:
        """Say what would keep clients out now, for ``thresher check``: the port is taken, too few files may be open."""
        problems: list[str] = []
        try:
            _listen(self, 0).close()
        except ConfigError as error:
            problems.append(str(error))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < self.max_clients + _OWN_DESCRIPTORS:
            problems.append(f"source.max_clients is {self.max_clients}, and a process may have {hard} open files: "
                            "raise the limit with `ulimit -Hn`, or set fewer clients")
        return problems

    def describe(self) -> str:
        """Say where this listens."""
        port = "" if self.port else " (any free port)"
        return f"tcp {_joined(self.host, self.port)}{port}{self.framed_as()}"


OPTIONS = Tcp


class TcpSource(Source):
    """The opened source.

    Args:
        options: where to listen, and what for.
        ledger: what is known about the journal.
        batch_bytes: size of a chunk, about.
        state: the state directory.

    Raises:
        ConfigError: it cannot listen at this address, or write to the journal.
    """

    endless = True

    def __init__(self, options: Tcp, ledger: UnitLedger, batch_bytes: int, state: Path) -> None:
        form = LINES if options.framing == "lines" else RECORDS
        self._journal = Journal(state, options.journal, ledger, batch_bytes, options.segment_bytes, options.sync, form)
        self._address = self._journal.folder / ADDRESS
        listener = _listen(options, _port_before(self._address))
        self._address_is = _joined(*listener.getsockname()[:2])
        self._intake = _intake(options, listener, batch_bytes)
        self._received = b""  # and not in the journal yet
        self._accepted = 0
        self._stopping = False
        self.exhausted = False
        self.wake = self._intake.fileno()
        self._say_where()

    def read(self) -> Chunk | None:
        """Return what was left before, then what the clients have sent by now; None when there is nothing.

        Raises:
            Retryable: the journal cannot be written; nothing is lost, call again.
        """
        chunk = self._journal.left()
        if chunk is None:
            if not self._received and not self._stopping:
                self._received = self._intake.receive()
            if self._received:
                chunk = self._journal.append(self._received)
                self._received = b""
        if chunk is not None:
            self._accepted += len(chunk.data)
        elif self._stopping:
            self._journal.end()
            self.exhausted = True
        return chunk

    def finished(self, unit: Unit) -> None:
        """Delete the segment."""
        self._journal.put_away(unit)

    def failed(self, unit: Unit) -> None:
        """Delete the segment: what is wrong in it is in the dead letters."""
        self._journal.put_away(unit)

    def settle(self) -> None:
        """What was deleted stays deleted."""
        self._journal.settle()

    def stop(self) -> None:
        """Listen no more, close all clients. The lines that were received are still handed out."""
        self._stopping = True
        self._received += self._intake.stop()

    def progress(self) -> tuple[int, int]:
        """Bytes of lines handed out by this generation; nobody knows how many there will be."""
        return self._accepted, 0

    def close(self) -> None:
        """Close everything. What is not durable elsewhere stays in the journal."""
        self._intake.close()
        with contextlib.suppress(OSError):
            self._address.unlink()
        self._journal.close()

    def _say_where(self) -> None:
        print(f"tcp: listening on {self._address_is}", file=sys.stderr, flush=True)
        unfinished = self._address.with_name(f"{ADDRESS}.new")
        try:
            unfinished.write_text(f"{self._address_is}\n")
            unfinished.replace(self._address)
        except OSError:  # the disk is full: that is no reason to take nothing when there is room again
            with contextlib.suppress(OSError):
                unfinished.unlink()


def _intake(options: Tcp, listener: socket.socket, batch_bytes: int) -> Intake:
    most, timeout_s = _possible(options.max_clients), options.read_timeout_s
    if options.framing == "lines":
        form = LineForm(options.line, options.newline, options.max_line_bytes)
        return Intake(listener, form, most, timeout_s, batch_bytes)
    return RecordIntake(listener, options.scanner, most, timeout_s, batch_bytes, options.idle_timeout_s)


def _listen(options: Tcp, port_before: int) -> socket.socket:
    """Return a listening socket. When any port will do, the one of a reader that was killed is tried first."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            options.host or None, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        why = plain_reason(error) if isinstance(error, OSError) else str(error)
        raise ConfigError(f"source.host: {why}: expected an address of this machine, got {options.host!r}") from error
    for port in (*([port_before] if port_before and not options.port else []), options.port):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # those who are accepted inherit it
            for name, value in _KEEPALIVE:
                listener.setsockopt(socket.IPPROTO_TCP, name, value)
            listener.bind((address[0], port, *address[2:]))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            if port != options.port:
                continue
            raise ConfigError(_why_not(options, error)) from error
        return listener
    raise AssertionError("the loop ends with a return or an error")


def _why_not(options: Tcp, error: OSError) -> str:
    where = f"tcp {_joined(options.host, options.port)}: cannot listen: {plain_reason(error)}"
    if error.errno == errno.EADDRINUSE:
        return (f"{where}: another process listens there (`ss -ltnp 'sport = :{options.port}'` shows which): "
                "stop it, or set source.port to a free one (0: any)")
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: expected source.host to be an address of this machine"
    if error.errno == errno.EACCES:
        return f"{where}: ports below 1024 are the system's: set source.port to a higher one"
    return f"{where}: set source.host and source.port to where it can"


def _port_before(path: Path) -> int:
    """The port of a reader that had no time to remove its address."""
    try:
        port = path.read_text().strip().rpartition(":")[2]
    except (OSError, UnicodeDecodeError):
        return 0
    return int(port) if re.fullmatch(r"[0-9]{1,5}", port) and int(port) < 1 << 16 else 0


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _possible(clients: int) -> int:
    """Return how many of these clients can be had, with the soft limit of open files raised as far as the hard one."""
    wanted = clients + _OWN_DESCRIPTORS
    limit = open_files.raised_to(wanted)
    if limit < wanted:
        possible = max(1, limit - _OWN_DESCRIPTORS)
        print(f"tcp: {possible} clients at most, not {clients} (source.max_clients): this process may have {limit} "
              "open files (raise the limit with `ulimit -Hn`)", file=sys.stderr, flush=True)
        return possible
    return clients
