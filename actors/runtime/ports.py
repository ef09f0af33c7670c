"""The ports: what a source and a sink must offer, and the values that cross them.

Options are frozen ``msgspec`` structs declared beside the code that reads them. An options struct is cheap to
import and to build; its ``open`` makes the thing that holds a resource, in the one process that uses it. Modules of
sources and sinks import their heavy client libraries inside ``open``, for pool workers import them only to ``pack``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from actors.runtime.following import Follower
from actors.runtime.given_again_port import GivenAgain
from actors.runtime.ledger_port import UnitLedger as UnitLedger
from actors.runtime.opened import GatheringSink as GatheringSink
from actors.runtime.opened import Sink as Sink
from actors.runtime.opened import Source as Source
from actors.runtime.stored import Need, Reader, sentence
from actors.runtime.values import LettersOf

#: Seconds that a source or sink may be down, where neither the run nor one of them says anything else.
MAX_OUTAGE_S = 30.0
#: What a sink loses that writes to this machine's disk and does not wait for it (see ``SinkOptions.loses``).
UNFLUSHED = "a power cut of this machine takes what was written last, though it was acknowledged (sync = false)"
#: See ``SinkOptions.repeated``.
Repeated = Literal["skipped", "replaced", "added", ""]
#: When a record is read again of a source whose units move between runs.
MOVED = "what was open when a unit went to another run is done again there"


class SinkOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sink's options: how to pack items in the pool, how to open the sink in its writer. Inherit from this.

    ``guarantee``, ``pack``, ``open`` and ``describe`` have to be given; all else has a default. A subclass says
    ``frozen=True, kw_only=True`` again, and declares its options as fields.

    Example::

        class Upper(SinkOptions, frozen=True, kw_only=True):
            ordered: ClassVar[bool] = True
            guarantee: ClassVar[str] = "at least once"

            def pack(self, items):
                return b";".join(items)

            def open(self, name, state):
                return UpperSink(state / name)

            def describe(self):
                return "a file in upper case"
    """

    #: True: the parts of all batches arrive in source order. False: in any order, empty parts are not sent.
    ordered: ClassVar[bool] = True
    #: True, of an ordered sink: ``write`` is given every range, also those of which nothing is for this sink (``count``
    #: is 0 and ``data`` empty), so that the ranges of a partition follow one another, and the position that it keeps
    #: with what it writes is never behind what the run has committed. Else it is given those with items alone.
    contiguous: ClassVar[bool] = False
    #: One line for ``explain``: what a crash can do to what is written here. Has to be given.
    guarantee: ClassVar[str]
    #: What may be sent here: ``items`` (a sink of an application), ``letters`` (as its dead-letter store), or both.
    takes: ClassVar[tuple[str, ...]] = ("items", "letters")
    #: True: each payload says of which record each item is made (``Payload.places``), for a sink that names them.
    names_records: ClassVar[bool] = False
    #: Modules that ``open`` imports: they are imported once, before actors are forked, and ``check`` looks for them.
    imports: ClassVar[tuple[str, ...]] = ()
    #: Like that of ``SourceOptions``.
    max_outage_s: ClassVar[float] = MAX_OUTAGE_S
    #: True for a sink that writes to the run's standard output; events, progress and the closing report go to
    #: standard error then.
    console: ClassVar[bool] = False
    #: True for a sink that keeps what is written until it makes something else of it, by time or when the input ends:
    #: it opens a ``GatheringSink``.
    gathers: ClassVar[bool] = False
    #: The option that is its address, and the schemes of that (``kafka`` of ``kafka://host/name``). Where nobody says a
    #: ``type``, an address in the same option chooses, of the sinks that ship, the one with its scheme.
    addressed_by: ClassVar[str] = ""
    schemes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def pack(self, items: Sequence[Any]) -> bytes:
        """Encode the items of one batch, in order, into one payload. Runs in the worker pool. Has to be given.

        Raises:
            Reject: an item is impossible for this sink; the items are then packed one by one to find out which. Any
                other exception does the same.
        """
        raise NotImplementedError(f"{type(self).__name__}.pack")

    def unpack(self, data: bytes) -> list[Any] | None:
        """Return the items that ``pack`` made this of, so that what was refused can be sent again with other options.
        None: it cannot be taken apart, and is sent as it was."""
        return None

    @abstractmethod
    def open(self, name: str, state: Path) -> Sink:
        """Open the sink called ``name``; relative paths are below ``state``. Does not wait for a server. Has to be
        given."""
        raise NotImplementedError(f"{type(self).__name__}.open")

    @abstractmethod
    def describe(self) -> str:
        """Say where this writes, for people: ``memcached 127.0.0.1:33013``. No secrets. Has to be given."""
        raise NotImplementedError(f"{type(self).__name__}.describe")

    def promises(self) -> str:
        """What ``guarantee`` comes to with these options, where they change it. By default, that."""
        return self.guarantee

    def libraries(self) -> tuple[str, ...]:
        """The modules of ``runtime.extras`` that it cannot work without: they are looked for before a run, and by
        ``thresher lint``."""
        return ()

    def place(self, name: str, state: Path) -> Path | None:
        """The file or folder that the sink called ``name`` writes to, for the closing report; None: ``describe`` says
        it."""
        return None

    def check(self, name: str, state: Path) -> list[str]:
        """For ``thresher check``: what would keep this sink from working now (its server does not answer), each with
        how to mend it. Nothing is changed, and it ends after the sink's own time-outs. Not given: there is nothing to
        look at.

        Raises:
            ConfigError: only another configuration can help.
        """
        return []

    def assures(self, name: str, state: Path) -> str:
        """For ``thresher check``, where ``check`` has found nothing: what the outside system, as it is set up now, does
        to what is written here, in a sentence. Empty: ``guarantee`` says it.

        Raises:
            Retryable: it cannot be asked now.
        """
        return ""

    def keeping(self) -> SinkOptions | None:
        """The same, but storing nothing under a key that is there already, for ``dlq retry --only-missing``; None: it
        cannot tell whether a key is there."""
        return None

    def adds(self) -> bool:
        """Whether content that is loaded twice is there twice, for what comes is only added. False: the same takes its
        own place, by a key, or nothing is kept; then it may be given again without being asked for."""
        return True

    def repeated(self) -> Repeated:
        """What becomes of a range that is written again after a crash, for ``explain``: ``skipped`` (it is known by its
        position), ``replaced`` (it takes its own place, by a key), ``added`` (it is there twice). Empty: ``guarantee``
        says it."""
        return ""

    def loses(self) -> str:
        """When something that was acknowledged may be lost, for ``explain``: by a power cut, or by the system itself.
        Empty: never, as far as its disk keeps what it says it keeps."""
        return ""

    def tombstones(self) -> str:
        """What an item looks like that says that there is none any more for its key, and what it does, for ``explain``:
        ``(key, None) deletes the key``. Empty: no item says that."""
        return ""

    def answers(self) -> tuple[Need, ...]:
        """What can be asked of what is stored here: ``("key",)``, ``("key", "range")`` (keys in order) or
        ``("rows",)``. By default nothing."""
        return ()

    def answers_in_words(self) -> str:
        """The same for people, for ``explain``: a store of keys may know more than a question can ask."""
        return sentence(self.answers())

    def reader(self, name: str, state: Path) -> Reader:
        """Open what the sink called ``name`` has stored, to look at: see ``Reader``. It is not waited for, and nothing
        is made. Has to be given where ``answers`` says something.

        Raises:
            ConfigError: it cannot be read as it is configured.
        """
        raise NotImplementedError(f"{type(self).__name__}.reader")

    def let_go(self, state: Path, loads: Sequence[LettersOf]) -> None:
        """As a store of dead letters: these were loaded again. Called again with the same after a crash. By default
        nothing is done."""
        return

    def has_open(self, state: Path, loads: Sequence[LettersOf]) -> list[bool] | None:
        """As a store of dead letters: whether there are letters of each of these that were neither retried nor purged;
        None: it cannot tell."""
        return None

    def positions(self, name: str, state: Path) -> dict[str, int]:
        """By partition, up to where the sink called ``name`` has it: looked at before a run, to see that sink and state
        are of one moment. Not given: it does not say.

        Raises:
            Retryable: it cannot be asked now; it is then before the first write.
        """
        return {}

    def follow(self, name: str, state: Path, most: int) -> Follower | None:
        """What reads back what is written here, for a panel (``Panel.sink``), at first the last ``most`` items; None:
        nothing does."""
        return None

    def clear(self, name: str, state: Path) -> bool:
        """Empty what the sink called ``name`` owns, and nothing else, for a run that begins anew; return whether it
        can be emptied at all. Called while no run has the state directory.

        Raises:
            ConfigError: what is there is not certainly its own.
        """
        return False


class SourceOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source's options. Inherit from this.

    ``guarantee``, ``open`` and ``describe`` have to be given; all else has a default. A subclass says ``frozen=True,
    kw_only=True`` again, and declares its options as fields.

    Example::

        class Counting(SourceOptions, frozen=True, kw_only=True):
            guarantee: ClassVar[str] = "made of nothing: made again from the last committed position"
            until: int = 1000

            def open(self, ledger, batch_bytes, state):
                return CountingSource(ledger, self.until)

            def describe(self):
                return f"numbers up to {self.until}"
    """

    #: One line for ``explain``: what a crash can do to what is read here. Has to be given.
    guarantee: ClassVar[str]
    #: Modules that ``open`` imports: they are imported once, before actors are forked, and ``check`` looks for them.
    imports: ClassVar[tuple[str, ...]] = ()
    #: True for a source that reads standard input: its reader is left the descriptor 0.
    wants_stdin: ClassVar[bool] = False
    #: True when the same input is there however often it is read, as ``verify`` does.
    unchanging: ClassVar[bool] = False
    #: True for a source that takes an address, which only one run can have.
    listens: ClassVar[bool] = False
    #: True for a source that has a field ``paths`` (a list of text), which FILE of the command line is laid over.
    takes_files: ClassVar[bool] = False
    #: True for a source that has a field ``follow`` (true or false), which ``--follow`` and ``--once`` set.
    follows: ClassVar[bool] = False
    #: The option with its addresses (text, or a list of them), and their schemes: like those of ``SinkOptions``.
    addressed_by: ClassVar[str] = ""
    schemes: ClassVar[tuple[str, ...]] = ()
    #: True for a source that takes what it reads away from where it was: a dry run, which keeps nothing, is refused.
    takes_away: ClassVar[bool] = False
    #: What ``run.max_outage_s`` is when nobody sets it: the longest that the source or a sink says; 0 is for ever. That
    #: is for a broker, which comes back, and where a run that stops sets others to work.
    max_outage_s: ClassVar[float] = MAX_OUTAGE_S

    @abstractmethod
    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> Source:
        """Open the source; chunks are about ``batch_bytes`` long, cut at newlines. What it keeps is below ``state``.
        Has to be given."""
        raise NotImplementedError(f"{type(self).__name__}.open")

    @abstractmethod
    def describe(self) -> str:
        """Say where this reads, for people. No secrets. Has to be given."""
        raise NotImplementedError(f"{type(self).__name__}.describe")

    def promises(self) -> str:
        """Like that of ``SinkOptions``."""
        return self.guarantee

    def libraries(self) -> tuple[str, ...]:
        """Like that of ``SinkOptions``."""
        return ()

    def moves(self) -> bool:
        """Whether units may be taken away from a run while it goes on (the partitions of a consumer group). What is
        folded does not go with them, so a pipeline that folds is refused, exit code 78."""
        return False

    def cut_by(self) -> dict[str, Any]:
        """The options, by name, that say where records begin and end. What is half read is not gone on with under
        others, exit code 78. Empty: there are no such."""
        return {}

    def comes_again(self) -> str:
        """When a record may be read a second time as another one, at another position, for ``explain``. Empty: never;
        what is read again has its old position, and is known by it."""
        return MOVED if self.moves() else ""

    def loses(self) -> str:
        """When a record that was accepted may be lost, for ``explain``; empty: never."""
        return ""

    def sample(self) -> SourceOptions | None:
        """Of input that may grow, a source of what is there now, for ``verify``; None: there is no such."""
        return None

    def all_given_again(self, given: GivenAgain) -> str:
        """Before a run: why all of the input would be refused, as it was loaded before and would count twice; empty:
        some of it is not refused, or it is not known yet."""
        return ""

    def journal_folder(self) -> str:
        """The folder, below the state directory, in which this keeps what it accepted; empty: it keeps nothing."""
        return ""

    def require_addresses(self, state: Path) -> None:
        """Before a run, and for ``thresher lint``: look at the addresses as they are written, and at nothing else.

        Raises:
            ConfigError: there is none, or one is wrong.
        """

    def check(self, state: Path) -> list[str]:
        """Like that of ``SinkOptions``: there is nothing to read, a port is taken."""
        return []

    def clear(self, name: str, state: Path) -> bool:
        """Like that of ``SinkOptions``; the journal is removed anyway."""
        return False


#: What has no default, by base.
REQUIRED: dict[type, tuple[str, ...]] = {
    SinkOptions: ("open", "describe", "pack", "guarantee"), SourceOptions: ("open", "describe", "guarantee")}


def not_given(kind: type[SinkOptions] | type[SourceOptions]) -> list[str]:
    """What an options class has to give and does not: names in the order of ``REQUIRED``."""
    base = SinkOptions if issubclass(kind, SinkOptions) else SourceOptions
    given = {name for cls in kind.__mro__[:kind.__mro__.index(base)] for name in vars(cls)}
    return [name for name in REQUIRED[base] if name not in given]


def unfit(opened: object, wanted: type, options: SinkOptions | SourceOptions) -> str:
    """Why what ``open`` of these options has returned is no ``Sink`` or no ``Source``, or nothing."""
    if isinstance(opened, wanted):
        return ""
    return (f"open of {type(options).__name__} has returned {type(opened).__name__}, which is no {wanted.__name__}: "
            f"let it inherit from thresher.{wanted.__name__.lower()}s.{wanted.__name__}")


def unpacks(options: SinkOptions) -> bool:
    """Whether what this sink packs can be taken apart again."""
    return type(options).unpack is not SinkOptions.unpack


def looks(options: SinkOptions | SourceOptions) -> bool:
    """Whether there is anything to look at for ``thresher check``."""
    return type(options).check not in (SinkOptions.check, SourceOptions.check)
