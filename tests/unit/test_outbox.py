"""The shard's outbox towards writers that come and go."""

from __future__ import annotations

from pathlib import Path

from actors.runtime.messages import Part
from actors.runtime.outbox import SCHEMA, Outbox
from actors.runtime.sequencer import Sequencer
from actors.runtime.shard import APPLIED_SCHEMA, ShardFile


def test_a_new_writer_does_not_wait_for_what_its_predecessor_has_and_another_writer_has_not(tmp_path: Path) -> None:
    file = ShardFile(tmp_path / "shard.db", [APPLIED_SCHEMA + SCHEMA], 1)
    outbox = Outbox(file.connection, "aggregator.1", ["writer.a", "writer.b"])
    for _ in range(3):
        outbox.add({"writer.a": (1, b"row"), "writer.b": (1, b"row")})
    with file.transaction({}) as connection:
        outbox.write(connection)
    outbox.committed()
    outbox.acked("writer.a", (outbox.partition, 0, 1))
    sequencer = Sequencer()
    for entry in outbox.due("writer.a"):
        part = Part(outbox.partition, entry.seq, entry.seq + 1, 1, outbox.low_for("writer.a"), 1, {}, "aggregator.1")
        sequencer.offer("aggregator.1#1", part, [])
    assert [held.part.start for held in sequencer.ready()] == [1, 2]
    assert outbox.low_for("writer.b") == 0
    file.close()
