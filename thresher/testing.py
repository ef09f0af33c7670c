"""For tests of pipelines: run one in the test's own process, with seeded faults. ``docs/testing.md`` has examples."""

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
        UnorderedMemorySink,
        assert_bulk_is_faithful,
        run_inline,
    )
else:
    __getattr__, __dir__ = lazy(__name__, {
        "actors.testing": (
            "FakeClock", "Faults", "InlineResult", "MemorySink", "MemorySource", "UnorderedMemorySink",
            "assert_bulk_is_faithful", "run_inline"),
    })

__all__ = [
    "FakeClock", "Faults", "InlineResult", "MemorySink", "MemorySource", "UnorderedMemorySink",
    "assert_bulk_is_faithful", "run_inline"]
