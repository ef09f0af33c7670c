#!/usr/bin/env python3
"""What a monitor costs the run that it shows, with nobody asking and with far too many.

    python benchmarks/monitor.py [--records 1500000] [--rounds 5] [--json]

In turn, in each round, the same logs are loaded into embedded stores, as fast as it goes:

    alone      without a monitor
    monitor    with one that nobody asks
    asked      with one that 200 connections ask for /metrics in closed loops; 50 event streams hang on it, 20 more
               that never read, and a probe once a second
    clients    without a monitor, while the same clients, as often as they had asked it, ask a server that does nothing:
               what the clients cost by themselves, on the same processors

Rates are those between all actors' being ready and the end. What other programs take at the same time changes them; it
changes less the processor time that all processes of a run, the monitor's with them, take for a million records.

Everything runs on one machine and in one session; the clients and the server that does nothing run when a processor is
idle, as the monitor does. Exit code 1 when a record is missing, an answer was no good, or an actor was suspected or
died.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import contextlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from typing import Any  # noqa: E402

from actors.runtime.rundir import MONITOR_URL, path_for  # noqa: E402
from scripts.make_logs import write_logs  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402

#: What nobody may see in a run that is only watched.
_TROUBLE = ("suspect", "hung", "died")
#: Records that are made; more are copies of them in other files.
_MADE = 300_000


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder  # nobody's `thresher stop` finds these runs
        bench = _Bench(Path(folder), options)
        rounds = [bench.round() for _ in range(options.rounds)]
    return _print(rounds, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_500_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scrapes", type=int, default=200, help="connections that ask for /metrics")
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--stalled", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return parser.parse_args()


class _Bench:
    """The logs, and ways to load them.

    Args:
        folder: for everything.
        options: of the command line.
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder = folder
        self._options = options
        self._logs = folder / "logs"
        made = write_logs(folder / "made", files=3, records=min(options.records, _MADE), seed=1)
        self._logs.mkdir()
        self._copies = max(1, options.records // _MADE)
        for copy in range(self._copies):
            for path in made:
                shutil.copy(path, self._logs / f"{copy}-{path.name}")
        self.records = min(options.records, _MADE) * self._copies

    def round(self) -> dict[str, Any]:
        """Load four times; return rates and what else was seen."""
        many = self._options
        load = ["--scrapes", str(many.scrapes), "--streams", str(many.streams), "--stalled", str(many.stalled)]
        alone, monitor = self._load(), self._load("--monitor")
        with self._clients(self._url_file, *load) as asking:
            asked = self._load("--monitor")
        rate, size = asking["scrapes"] / asking["seconds"], int(asking["scrape_bytes"])
        with self._clients(self._folder / "trivial.url", "--serve", str(max(size, 1))) as serving, \
                self._clients(self._folder / "trivial.url", *load, "--rate", f"{rate:.3f}") as trivial:
            clients = self._load()
        (self._folder / "trivial.url").unlink()
        return {"alone": alone["rate"], "monitor": monitor["rate"], "asked": asked["rate"], "clients": clients["rate"],
                "cpu": {name: one["cpu"] for name, one in (
                    ("alone", alone), ("monitor", monitor), ("asked", asked), ("clients", clients))},
                "asking": asking, "trivial": {**trivial, "server_cpu_s": serving["cpu_s"]},
                "trouble": [text for one in (alone, monitor, asked, clients) for text in one["trouble"]]}

    @property
    def _state(self) -> Path:
        return self._folder / "state"

    @property
    def _url_file(self) -> Path:
        return path_for(self._state) / MONITOR_URL

    def _load(self, *words: str) -> dict[str, Any]:
        shutil.rmtree(self._state, ignore_errors=True)
        command = [
            sys.executable, "-m", "actors.cli", "run", "appsinstalled", "--format", "json", "--state", str(self._state),
            "--set", f"source.pattern={self._logs}/*.tsv.gz", "--set", "monitor.port=0", *words]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        for path in self._logs.glob(".*.gz"):
            path.rename(path.with_name(path.name[1:]))
        events = [json.loads(line) for line in done.stdout.splitlines()]
        of = {event["event"]: event for event in events}
        written = sum(sum(unit["written"].values()) for unit in of["report"]["units"])
        trouble = [str(event) for event in events if event["event"] in _TROUBLE]
        if written != self.records:
            trouble.append(f"{written:,} of {self.records:,} records are written")
        return {"rate": self.records / (of["ended"]["seconds"] - of["ready"]["seconds"]), "trouble": trouble,
                "cpu": cpu_s / self.records * 1e6}

    @contextlib.contextmanager
    def _clients(self, url_file: Path, *words: str) -> Iterator[dict[str, Any]]:
        """Run clients, or the server that does nothing; what is yielded is filled in with what they saw, at the end."""
        seen: dict[str, Any] = {}
        process = subprocess.Popen(
            [sys.executable, "-P", str(ROOT / "benchmarks/scrapers.py"), str(url_file), *words],
            env=_environment(), stdout=subprocess.PIPE, text=True)
        try:
            yield seen
            process.send_signal(signal.SIGTERM)
            seen |= json.loads(process.communicate(timeout=60)[0])
        finally:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _print(rounds: list[dict[str, Any]], options: argparse.Namespace) -> int:
    trouble = [text for one in rounds for text in one["trouble"]]
    trouble += [f"{one[who]['bad']} bad answers" for one in rounds for who in ("asking", "trivial") if one[who]["bad"]]
    ratios = {
        "monitor / alone": [one["monitor"] / one["alone"] for one in rounds],
        "asked / alone": [one["asked"] / one["alone"] for one in rounds],
        "clients / alone": [one["clients"] / one["alone"] for one in rounds],
        "asked / clients": [one["asked"] / one["clients"] for one in rounds]}
    if options.json:
        print(json.dumps({"rounds": rounds, "ratios": {name: _spread(values) for name, values in ratios.items()},
                          "trouble": trouble}))
        return 1 if trouble else 0
    print(f"{options.scrapes} scrapers, {options.streams} streams, {options.stalled} stalled; {len(rounds)} rounds on "
          f"{os.cpu_count()} cores: median (min to max)")
    for name in ("alone", "monitor", "asked", "clients"):
        _line(name, [one[name] for one in rounds], "records/s", "10,.0f")
    for name, values in ratios.items():
        _line(name, values, "", "10.3f")
    for name in ("monitor", "asked", "clients"):
        best = max(one[name] for one in rounds) / max(one["alone"] for one in rounds)
        print(f"{f'{name}, best':<18}{best:10.3f} the best of all rounds, to the best alone: others only slow down")
    for name in ("alone", "monitor", "asked", "clients"):
        _line(f"CPU, {name}", [one["cpu"][name] for one in rounds], "s a million records", "10.2f")
    _line("scrapes", [one["asking"]["scrapes"] / one["asking"]["seconds"] for one in rounds], "a second", "10.1f")
    for name, text in (("scrape_p50_s", "scrape, half"), ("scrape_p99_s", "scrape, 99 %"),
                       ("probe_p50_s", "probe, half"), ("probe_p99_s", "probe, worst")):
        _line(text, [one["asking"][name] for one in rounds], "s", "10.3f")
    _line("clients' CPU", [one["asking"]["cpu_s"] / one["asking"]["seconds"] for one in rounds], "cores", "10.3f")
    _line("to connect", [one["asking"]["connect_s"] for one in rounds], "s", "10.2f")
    _line("events", [one["asking"]["messages"] / one["asking"]["seconds"] for one in rounds], "a second", "10.1f")
    print("TROUBLE:\n  " + "\n  ".join(trouble) if trouble else
          "every record is written, every scrape was answered well, no actor was suspected or died")
    return 1 if trouble else 0


def _line(name: str, values: list[float], unit: str, form: str) -> None:
    low, middle, high = _spread(values)
    print(f"{name:<18}{middle:{form}} {unit:<10} ({low:{form.lstrip('10')}} to {high:{form.lstrip('10')}})")


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
