"""What a source and a sink are when they are opened, each in the one process that uses it (options: ``ports``)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from actors.runtime.values import Chunk, Payload, Refusal, Revoked, Unit


@runtime_checkable
class Sink(Protocol):
    """An opened sink, in its writer's process. Inherit from this: ``write`` has to be given.

    Example::

        class UpperSink(Sink):
            def __init__(self, path):
                self.path = path

            def write(self, payloads):
                with self.path.open("ab") as file:
                    file.writelines(bytes(payload.data).upper() for payload in payloads)
                return []  # no item was refused
    """

    @abstractmethod
    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Write all payloads, in order; on return they are durable as far as this sink can promise.

        Called again with the same payloads after a ``Retryable``: writing twice must be harmless. A call that may
        block for longer than ``watch.hard_block_s`` says so (``thresher.extend``), or its process is
        taken for hung.

        Raises:
            Retryable: the outside system is down, full or slow; the text names it.
            Finish: nobody takes what is written any more, for good (the reader of a pipe has gone). It counts as
                written, and the run takes no more input.
        """
        ...

    def close(self) -> None:
        """Give the resource back. Never raises for a system that is gone; may be called again."""
        return


@runtime_checkable
class GatheringSink(Sink, Protocol):
    """One that keeps what is written until it makes something else of it: what options that ``gathers`` open.

    Inherit from this: ``write``, ``tick`` and ``end`` have to be given.

    Example::

        class Parcels(GatheringSink):
            def __init__(self, folder):
                self.folder, self.held = folder, []

            def write(self, payloads):
                self.held += [bytes(payload.data) for payload in payloads]  # and on the disk, if a kill is to keep it
                return []

            def tick(self):
                if len(self.held) >= 1000:
                    self.end()
                return None  # nothing waits for a time

            def end(self):
                (self.folder / f"{time.time_ns()}").write_bytes(b"".join(self.held))
                self.held = []
    """

    @abstractmethod
    def tick(self) -> float | None:
        """Do what is due by now; return seconds until something is, None: nothing waits for a time. Called when there
        is nothing to write.

        Raises:
            Retryable: as ``write`` does.
        """
        ...

    @abstractmethod
    def end(self) -> None:
        """The input has ended, and all of it is written: bring what was gathered to its end. May be called again.

        Raises:
            Retryable: as ``write`` does; the run is not over before it works.
        """
        ...


@runtime_checkable
class Source(Protocol):
    """An opened source, in its reader's process. Inherit from this: ``read`` has to be given, all else has a default.

    Example::

        class CountingSource(Source):
            def __init__(self, ledger, until):
                self.unit = ledger.begin("numbers", f"numbers {until}")
                self.at, self.until, self.exhausted = self.unit.low, until, False
    """

    #: True once all input was read; for a source without end: when it was told to ``stop`` and has handed out the rest.
    exhausted: bool = False
    #: True for a source that goes on for ever: to stop it is no failure, and leaves no work behind.
    endless: bool = False
    #: True when all that there is was looked at, so that ``active`` without a unit means that none may go on.
    has_looked: bool = False
    #: A descriptor that becomes readable when ``read`` may have something; None: the reader looks every so often.
    wake: int | None = None

    @abstractmethod
    def read(self) -> Chunk | None:
        """Return the next chunk, or None when there is none now."""
        raise NotImplementedError

    def judged(self, unit: Unit) -> None:
        """All of ``unit`` is durable, and its verdict, which is its status now, is about to be: what is kept of it in
        the ledger is durable with that. By default nothing is."""
        return

    def finished(self, unit: Unit) -> None:
        """All of ``unit`` is durable and within its budget: put it away (rename). Called in input order, and again
        after a crash. By default nothing is put away."""
        return

    def settle(self) -> None:
        """What was put away stays so, also after a power cut: called behind ``finished``, once for many, before the
        ledger says that they are done.

        Raises:
            Retryable: the disk has failed; what was put away is put away once more, and this is called again.
        """
        return

    def failed(self, unit: Unit) -> None:
        """All of ``unit`` is durable, with more errors than its budget allows. By default it is left where it is."""
        return

    def stop(self) -> None:
        """Take no more from outside. What was accepted is still handed out; then ``exhausted`` is True."""
        return

    def active(self) -> tuple[int, ...]:
        """The ids of those units that are partitions of their own and may go on at any moment: the watermark waits for
        them. A unit that has ended, or has been silent for as long as the source allows, is not among them."""
        return ()

    def first_look(self) -> Sequence[int]:
        """The ids of the units that are there when the source looks first, with something to read; each can be glanced
        at. Windows that are counted from the first record are counted from the oldest of theirs. By default none: from
        what is read first."""
        return ()

    def glance(self, unit: int, most_bytes: int) -> tuple[Chunk | None, bool]:
        """The first records of a unit of the ``first_look``, about so many bytes of them, without reading on: ``read``
        gives them all the same. And whether that is all that there is of it. None: it has none now."""
        return None, True

    def tick(self, now: float) -> float | None:
        """Do what keeps the source alive (a poll, a heartbeat): called in every turn of the reader, also while it is
        blocked (its window is full, a sink is down, it drains). Nothing is read here. ``now`` and what is returned are
        monotonic seconds: when it has to be called again at the latest; None: when ``wake`` says so. What it takes is
        work of the reader's, for ``watch``.

        Raises:
            Retryable: the outside system cannot be reached. Nothing is read, what is open goes on, and it is called
                again.
        """
        return None

    def revoked(self) -> Sequence[Revoked]:
        """Units that are taken away from this run, each said once; asked behind each ``tick``. From here on ``read``
        gives nothing of them. Units that ``known`` says are not finished, and that are somebody else's by now, are said
        to be lost."""
        return ()

    def released(self, units: Sequence[Unit]) -> None:
        """Units that were revoked are let go, drained or not: what lies below ``low`` of each is durable and committed,
        and nothing else of it ever will be by this run. Say so to whoever gives them out. One that comes back is begun
        behind what its next owner has done (``begin`` with ``after``). It is said once."""
        return

    def committed(self, units: Sequence[Unit]) -> None:
        """The ledger has committed up to ``low`` of each unit that is being read, and not more: a keeper of positions
        outside may be told. By default nobody is.

        Raises:
            Retryable: the keeper cannot be reached. Nothing comes of that: it is told with the next commit.
        """
        return

    def lag(self) -> dict[int, int]:
        """How many records each unit is ahead of what is durable here (``low``), by its id, as far as is known without
        asking anybody outside. Units of which nothing is known are left out. Asked about once a second while the
        source can be read. By default nothing is known.

        Raises:
            Retryable: it is not known now; what was said last is shown, with its age.
        """
        return {}

    def progress(self) -> tuple[int, int]:
        """Bytes of input read so far, and in all (0 when not known), both as they lie on disk."""
        return 0, 0

    def close(self) -> None:
        """Give the resource back; may be called again."""
        return
