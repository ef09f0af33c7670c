"""For tests of pipelines: run one in the test's own process, with the real roles, and with seeded faults.

    run_inline(PIPELINE, lines)                              what it writes, rejects, folds and counts, as plain data
    run_inline(PIPELINE, lines, faults=Faults(7, kills=5))   the same, while actors die, links lag and messages repeat
    assert_bulk_is_faithful(PIPELINE, data)                  its short way for whole slices does what its functions do
    class TestMine(SinkContract), (SourceContract)           a sink or source of one's own keeps what all promise

No process, no socket, no sleep: a run of a few hundred lines takes milliseconds, and the same arguments give the same
run. ``docs/testing.md`` has examples; ``thresher verify`` does the like with real processes.
"""

from actors.testing.bulk import assert_bulk_is_faithful
from actors.testing.clock import FakeClock
from actors.testing.contract_sinks import SinkContract
from actors.testing.contract_sources import SourceContract
from actors.testing.faults import Faults
from actors.testing.inline import InlineResult, run_inline
from actors.testing.memory import MemorySink, MemorySource, UnorderedMemorySink

__all__ = [
    "FakeClock", "Faults", "InlineResult", "MemorySink", "MemorySource", "SinkContract", "SourceContract",
    "UnorderedMemorySink", "assert_bulk_is_faithful", "run_inline"]
