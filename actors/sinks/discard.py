"""Accepts everything and keeps nothing: what writers write to in a dry run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from actors.runtime.ports import Sink, SinkOptions
from actors.runtime.values import Payload, Refusal


class Discard(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing is kept.

    Example::

        Pipeline(name="dry", source=Files(pattern="*.log"), parse=bytes.upper, route=lambda record: "gone",
                 sinks={"gone": Discard()}, dead_letters=DeadLetters())
    """

    ordered: ClassVar[bool] = True
    guarantee: ClassVar[str] = "nothing is kept"
    takes: ClassVar[tuple[str, ...]] = ("items", "letters")

    def pack(self, items: Sequence[Any]) -> bytes:
        """Return nothing."""
        return b""

    def open(self, name: str, state: Path) -> Sink:
        """Open the sink."""
        return _Nothing()

    def adds(self) -> bool:
        """No: nothing is kept."""
        return False

    def describe(self) -> str:
        """Say where this writes."""
        return "nowhere"


OPTIONS = Discard


class _Nothing(Sink):
    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Accept everything."""
        return []

    def close(self) -> None:
        """Nothing is held."""
