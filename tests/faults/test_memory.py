"""Memory is bounded by the window: no actor's peak grows with the input."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

from actors.runtime.events import ActorView
from scripts.make_logs import write_logs
from tests.loads import Load

#: What may differ between two runs of any size: allocators, page sizes.
SLACK_BYTES = 12 * 1024 * 1024


def _peaks(folder: Path, records: int, times: int, *sets: str) -> dict[str, int]:
    """The peak resident memory of each actor in a run over so many records, given so many times, in bytes."""
    for path in write_logs(folder / "logs", files=2, records=records):
        for number in range(1, times):
            shutil.copy(path, path.with_name(f"{number}-{path.name}"))
    peaks: dict[str, int] = {}

    def look(views: dict[str, ActorView]) -> bool:
        for name, view in views.items():
            try:
                status = Path(f"/proc/{view.pid}/status").read_text()
            except OSError:
                continue
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            if found is not None:
                peaks[name] = max(peaks.get(name, 0), int(found[1]) * 1024)
        return running.process.poll() is not None

    with Load(f"{folder}/logs/*.gz", folder / "state", "flow.batch_bytes=262144", "flow.window_batches=16",
              *sets) as running:
        while not look(dict(running.views())):
            time.sleep(0.01)  # a peak is kept by the kernel: it is enough to see it before the end
        assert running.wait() == 0, running.output()
    return peaks


def test_ten_times_the_input_takes_no_more_memory(tmp_path: Path) -> None:
    small = _peaks(tmp_path / "small", 100_000, 1)
    large = _peaks(tmp_path / "large", 100_000, 10)
    assert small.keys() == large.keys()
    for name, peak in large.items():
        if name.startswith("writer.") and name != "writer.dead_letters":
            continue  # an LMDB file that is mapped counts as resident; the test below has the writers without it
        assert peak <= small[name] + SLACK_BYTES, f"{name}: {small[name]:,} bytes, then {peak:,}"


def test_writers_hold_no_more_for_more_input(tmp_path: Path) -> None:
    discard = [f"sinks.{name}.type=discard" for name in ("idfa", "gaid", "adid", "dvid")]
    small = _peaks(tmp_path / "small", 50_000, 1, *discard)
    large = _peaks(tmp_path / "large", 50_000, 8, *discard)
    for name, peak in large.items():
        assert peak <= small[name] + SLACK_BYTES, f"{name}: {small[name]:,} bytes, then {peak:,}"
