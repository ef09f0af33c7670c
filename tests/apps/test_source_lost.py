"""What a source has lost before it was read, and a source that hangs while it is kept alive: real processes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.apps.test_cli import thresher
from tests.loads import Running
from tests.pipelines.losing import END, GONE

TARGET = "tests.pipelines.losing"


def test_it_is_told_with_its_range_and_the_run_fails_until_somebody_takes_note(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Running(state, "run", TARGET, "--format", "json") as running:
        assert running.wait() == 4, running.output()
    (lost,) = running.of("source_lost")
    assert (lost["source"], lost["start"], lost["end"]) == ("topic/0", GONE.start, GONE.stop)
    (report,) = running.of("report")
    assert report["outcomes"] == {"written": END - len(GONE), "folded": 0, "filtered": 0, "dead_lettered": 1,
                                  "handed_over": 0}
    assert report["units"][0]["damage"] == f"{len(GONE)} records are gone: retention took them"
    assert "takes note of those that are gone" in report["meaning"]
    assert (state / "out.log").read_bytes().split() == [b"%d" % at for at in range(END) if at not in GONE]
    (letter,) = json.loads(thresher("dlq", "ls", TARGET, "--state", str(state), "--json").stdout)["letters"]
    assert (letter["reason"], letter["position"], letter["source"]) == ("source_lost", GONE.start, "topic/0")
    shown = thresher("dlq", "show", TARGET, str(letter["id"]), "--state", str(state)).stdout
    assert f"source    topic/0 offset {GONE.start}\n" in shown, "offsets of messages are no bytes"
    again = thresher("run", TARGET, "--state", str(state))
    assert again.returncode == 4, "it is still open"
    assert thresher("dlq", "purge", TARGET, "--state", str(state), "--yes").returncode == 0
    done = thresher("run", TARGET, "--state", str(state))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_tick_that_does_not_come_back_is_a_reader_that_hangs(tmp_path: Path) -> None:
    blocks = tmp_path / "blocks"
    blocks.touch()
    with Running(tmp_path / "state", "run", TARGET, "--format", "json", "--set", f"source.blocks={blocks}",
                 "--set", "watch.suspect_s=0.3", "--set", "watch.hard_block_s=0.6") as running:
        running.until(lambda views: views["reader.1"].generation > 1, "second reader")
        blocks.unlink()
        assert running.wait() == 4, running.output()
    assert [event["actor"] for event in running.of("hung")][:1] == ["reader.1"]
    assert (tmp_path / "state" / "out.log").read_bytes().split() == [b"%d" % at for at in range(END) if at not in GONE]
