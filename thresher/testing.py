"""For tests: a pipeline in the test's own process, with seeded faults; what every source and sink promises.

``docs/testing.md``, ``docs/own-sink.md`` and ``docs/own-source.md`` have examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thresher._lazy import lazy

if TYPE_CHECKING:
    from actors.testing import (
        FakeClock,
        Faults,
        InlineResult,
        MemorySink,
        MemorySource,
        SinkContract,
        SourceContract,
        UnorderedMemorySink,
        assert_bulk_is_faithful,
        run_inline,
    )
else:
    __getattr__, __dir__ = lazy(__name__, {
        "actors.testing": (
            "FakeClock", "Faults", "InlineResult", "MemorySink", "MemorySource", "SinkContract",
            "SourceContract", "UnorderedMemorySink", "assert_bulk_is_faithful", "run_inline"),
    })

__all__ = [
    "FakeClock", "Faults", "InlineResult", "MemorySink", "MemorySource", "SinkContract", "SourceContract",
    "UnorderedMemorySink", "assert_bulk_is_faithful", "run_inline"]
