#!/usr/bin/env python3
"""Who comes through: one function over many lines in two processes, one worker killed, one record that segfaults.

    python benchmarks/survival.py [--lines 400000] [--rounds 3] [--only pool,ray,…] [--quiet-s 20] [--json]

Each library does what ``survival_peers.py`` has for it, in a program of its own: first without faults (seconds from
its start to its end, the median of so many rounds), then with both. All lines but the one that fails are expected, each
once. A program that writes nothing for so many seconds hangs; it and all that it has started are killed. What counts is
what is in its output then: lines that are expected, each once; those that are there twice; and any others.

Those that are not installed are left out: ``pip install -r benchmarks/survival_peers.txt``. Dramatiq needs
redis-server.
Exit code 1: Thresher is not the one that has all.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from contextlib import ExitStack  # noqa: E402
from typing import NamedTuple  # noqa: E402

from actors.runtime.orphans import Orphans  # noqa: E402
from benchmarks.survival_peers import WORKERS, row  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402
from tests.redis import Redis  # noqa: E402

_PEERS = str(ROOT / "benchmarks" / "survival_peers.py")
_PIPELINE = '''
from benchmarks.survival_peers import row
from thresher import Pipeline
from thresher.sinks import Lines
from thresher.sources import Files

PIPELINE = Pipeline(name="survival", source=Files(pattern="in.txt", rename="none"), parse=row, sinks={"out": Lines()})
'''
_FLOW = "from benchmarks.survival_peers import bytewax_flow; from pathlib import Path\n" \
        "flow = bytewax_flow(Path('in.txt'), Path('out'))\n"
_ACTOR = "from benchmarks.survival_peers import dramatiq_actor\nload = dramatiq_actor()\n"
#: The name in the table, what has to be installed, and how it is run.
_PEER = {name: (title, library, [sys.executable, "-P", _PEERS, name, "in.txt", "out"]) for name, title, library in (
    ("loop", "a loop, one process", ""), ("pool", "multiprocessing.Pool", ""),
    ("executor", "ProcessPoolExecutor", ""), ("joblib", "joblib", "joblib"), ("mpire", "mpire", "mpire"),
    ("pypeln", "pypeln", "pypeln"), ("dramatiq", "Dramatiq (Redis)", "dramatiq"), ("ray", "Ray", "ray"))} | {
    "bytewax": ("Bytewax", "bytewax", [sys.executable, "-m", "bytewax.testing", "flow", "-p", str(WORKERS)]),
    "thresher": ("Thresher", "", [sys.executable, "-m", "thresher", "run", "survival.py", "--format", "none",
                                  "--workers", str(WORKERS)])}


class Ran(NamedTuple):
    """What one program came to.

    Attributes:
        seconds: from its start to its end, or until it was killed.
        end: ``done``, ``exit code N``, ``hangs``.
        rows: lines of the output that are expected, each counted once.
        twice: rows that are there more than once.
        wrong: lines of the output that nobody expects.
    """

    seconds: float
    end: str
    rows: int
    twice: int
    wrong: int


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _options()
    names = [name for name, (_, library, _) in _PEER.items()
             if (not options.only or name in options.only.split(","))
             and (not library or importlib.util.find_spec(library))]
    found: dict[str, tuple[float, Ran]] = {}
    with tempfile.TemporaryDirectory(prefix="thresher-survival-") as folder, ExitStack() as stack:
        bench = _Bench(Path(folder), options.lines, options.quiet_s)
        if "dramatiq" in names:
            bench.environ["SURVIVAL_REDIS"] = f"redis://127.0.0.1:{stack.enter_context(Redis()).port}"
        for name in names:
            clean = [bench.run(name, faults=False) for _ in range(options.rounds)]
            bad = [ran for ran in clean if (ran.end, ran.rows, ran.twice, ran.wrong) != ("done", options.lines, 0, 0)]
            if bad:
                print(f"{name}: without faults: {bad[0]}", file=sys.stderr)
            found[name] = statistics.median(ran.seconds for ran in clean), bench.run(name, faults=True)
            if not options.json:
                _print(name, options.lines, *found[name])
    if options.json:
        print(json.dumps({name: {"seconds": seconds, **ran._asdict()} for name, (seconds, ran) in found.items()}))
    whole = ("done", options.lines - 1, 0, 0)
    return 0 if all(ran[1:] == whole for name, (_, ran) in found.items() if name == "thresher") else 1


def _print(name: str, lines: int, seconds: float, ran: Ran) -> None:
    twice = f", {ran.twice:,} twice" if ran.twice else ""
    wrong = f", {ran.wrong:,} cut" if ran.wrong else ""
    what = f"{ran.rows:,} of {lines - 1:,}{twice}{wrong}"
    print(f"| {_PEER[name][0]} | {seconds:.1f} s | {what} | {ran.end} |", flush=True)


class _Bench:
    """The input, and a new folder for each program.

    Args:
        folder: for everything.
        lines: how many.
        quiet_s: who writes nothing for so long hangs.
    """

    def __init__(self, folder: Path, lines: int, quiet_s: float) -> None:
        self._folder = folder
        self._quiet_s = quiet_s
        rng = random.Random(17)
        self._lines = [b"%d %s" % (number, rng.randbytes(40).hex().encode()) for number in range(lines)]
        (folder / "in.txt").write_bytes(b"".join(line + b"\n" for line in self._lines))
        self._expected = {row(line) for line in self._lines}
        self.environ = {**os.environ, "PYTHONPATH": str(ROOT), "SURVIVAL_KILL": "", "SURVIVAL_CRASH": ""}

    def run(self, name: str, faults: bool) -> Ran:
        """Run a program to its end, or until it hangs; see what is in its output."""
        here = Path(tempfile.mkdtemp(dir=self._folder))
        os.link(self._folder / "in.txt", here / "in.txt")
        for file, text in (("survival.py", _PIPELINE), ("flow.py", _FLOW), ("load.py", _ACTOR)):
            (here / file).write_text(text)
        environ = {**self.environ, "SURVIVAL_MARK": str(here / "killed")}
        if faults:
            environ |= {"SURVIVAL_KILL": str(len(self._lines) // 4), "SURVIVAL_CRASH": str(len(self._lines) // 2)}
        orphans = Orphans()
        with (here / "said").open("wb") as said, ExitStack() as stack:
            def start(*words: str) -> subprocess.Popen[bytes]:
                return stack.enter_context(subprocess.Popen(
                    words, cwd=here, env=environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said))
            began = time.monotonic()
            running = [start(*_PEER[name][2])]
            if name == "dramatiq":
                running.append(start(sys.executable, "-m", "dramatiq", "load", "-p", str(WORKERS), "-t", "1",
                                     "-Q", "survival"))
            end = self._end_of(running, here)
            seconds = time.monotonic() - began
            for process in running:
                process.kill()
        orphans.end()
        return self._seen(here, seconds, end)

    def _end_of(self, running: list[subprocess.Popen[bytes]], here: Path) -> str:
        size, since = 0, time.monotonic()
        while True:
            now = sum(path.stat().st_size for path in _outputs(here))
            if now != size:
                size, since = now, time.monotonic()
            codes = [process.poll() for process in running]
            if codes[0] is not None:
                return "done" if codes[0] == 0 else f"exit code {codes[0]}" if codes[0] > 0 else f"signal {-codes[0]}"
            if time.monotonic() - since > (self._quiet_s if size else 3 * self._quiet_s):  # Ray takes long to begin
                dead = next((code for code in codes[1:] if code is not None), None)
                return "hangs" if dead is None else f"workers ended with {dead}"
            time.sleep(0.02)

    def _seen(self, here: Path, seconds: float, end: str) -> Ran:
        found: Counter[bytes] = Counter()
        for path in _outputs(here):
            found.update(path.read_bytes().splitlines())
        rows = [line for line in found if line in self._expected]
        twice = sum(found[line] > 1 for line in rows)
        shutil.rmtree(here)
        return Ran(round(seconds, 2), end, len(rows), twice, len(found) - len(rows))


def _outputs(here: Path) -> list[Path]:
    return [path for path in (*here.glob("out*"), here / "var/survival/out.log")
            if path.is_file() and not path.name.endswith(".part")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=400_000, help="how many")
    parser.add_argument("--rounds", type=int, default=3, help="runs without faults, of which the median counts")
    parser.add_argument("--only", default="", metavar="PEER,…", help=f"of {', '.join(_PEER)}")
    parser.add_argument("--quiet-s", type=float, default=20.0, help="who writes nothing for so long hangs")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
