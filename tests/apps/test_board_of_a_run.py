"""What the actors of a real run show of themselves: what waits where, since when, and how long batches take."""

from __future__ import annotations

import socket
from pathlib import Path

from actors.runtime.rundir import path_for
from actors.telemetry.watcher import Watcher
from tests.loads import Running
from tests.tcp import address_of

LINES = b"x" * 99 + b"\n"
BATCH_LINES = 656  # of 64 KiB


def test_a_slow_sink_shows_as_a_writer_where_parts_wait_ever_longer(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Running(state, "run", "tests.pipelines.dripping", "--format", "json",
                 "--set", "sinks.slow.seconds=0.7") as running:
        running.until(lambda views: views["reader.1"].phase == "IDLE" and (state / "journal" / "tcp.address").exists(),
                      "an open port")
        watcher = Watcher(path_for(state), 0.0)
        with socket.create_connection(address_of(state)) as client:
            client.sendall(LINES * (6 * BATCH_LINES))
            views = running.until(
                lambda views: views["writer.slow"].queued > 1 and views["writer.slow"].waiting_s > 0.3, "parts wait")
            first = views["writer.slow"].waiting_s
            watcher.status()
            assert 0 < views["writer.slow"].queued <= 16
            assert views["reader.1"].waiting_s >= first - 0.1, "a batch is open at least as long as its part waits"
            views = running.until(lambda views: views["writer.slow"].waiting_s > first + 0.5, "more patience")
            assert views["writer.slow"].phase == "WRITE"
            assert views["parser.1"].queued == 0
            limit = watcher.status().flow.bottleneck
            assert (limit.stage, limit.text.split(" busy ")[0]) == ("writer.slow", "writer.slow is")
            running.until(lambda views: views["reader.1"].batches > 0, "a batch to its end")
            views = running.until(lambda views: views["reader.1"].open == 0, "all written")
            assert (views["writer.slow"].queued, views["writer.slow"].waiting_s) == (0, 0.0)
        watcher.status()
        running.until(lambda views: watcher.status().flow.bottleneck.text == "everybody waits for input", "idleness")
        for name in ("parser.1", "reader.1"):
            assert sum(views[name].batch_times) == views[name].batches > 0
        writer = views["writer.slow"]
        assert 0 < sum(writer.batch_times) <= writer.batches
        assert writer.batch_times_s >= 0.7 * sum(writer.batch_times)
        assert views["reader.1"].batch_times_s >= writer.batch_times_s / 2
        assert views["parser.1"].batch_times_s < views["reader.1"].batch_times_s
        assert views["reader.1"].credit > 0
        watcher.close()
        running.process.terminate()
        assert running.wait() == 0
