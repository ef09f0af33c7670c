"""What `benchmarks/ratings.py` knows of the processes of a run: CPU and memory, sampled while it goes on."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from pathlib import Path

from tests.loads import Running

LOOK_S = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")


class Watch(threading.Thread):
    """What the processes of a run cost.

    Args:
        running: the run.

    Attributes:
        cpu_s: of each actor, all generations together, by name; the supervisor is one of them.
        pss: the most that each had, in bytes.
    """

    def __init__(self, running: Running) -> None:
        super().__init__(daemon=True)
        self.pss: dict[str, int] = {}
        self.over = threading.Event()
        self._running = running
        self._cpu: dict[tuple[str, int], float] = {}
        self.start()

    @property
    def cpu_s(self) -> dict[str, float]:
        """By actor."""
        found: dict[str, float] = defaultdict(float)
        for (name, _), seconds in self._cpu.items():
            found[name] += seconds
        return dict(found)

    def run(self) -> None:
        """Look until it is over."""
        while not self.over.wait(LOOK_S):
            pids = {"supervisor": self._running.process.pid}
            pids |= {name: view.pid for name, view in self._running.views().items() if view.pid}
            for name, pid in pids.items():
                try:
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    words = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
                except OSError:  # it has just ended
                    continue
                self._cpu[name, pid] = (int(fields[11]) + int(fields[12])) / _TICKS
                if "Pss:" in words:
                    self.pss[name] = max(self.pss.get(name, 0), int(words[words.index("Pss:") + 1]) * 1024)

    def end(self) -> None:
        """Look no more."""
        self.over.set()
        self.join()
