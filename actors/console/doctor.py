"""``thresher doctor``: what this machine has of what runs need; a report to put into a bug report.

Nothing of a configuration is in it, and no value of the environment: no path of a user's data but the state directories
of runs that are going on.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

import actors
from actors.console import selftest, surroundings
from actors.console.command import state_of
from actors.runtime import extras, loading, open_files, rundir
from actors.runtime.mailbox import library

FAILURE = 1
_PR_GET_CHILD_SUBREAPER = 37
#: The self test takes about a second; this is for a machine that has much else to do.
_SELFTEST_S = 60.0
#: A run of an application that ships has about ten actors, of three or four threads each.
_ACTORS, _THREADS = 16, 200
#: Run directories that are named before they are only counted.
_NAMED = 3
_MEMORY_BYTES = 256 * 1024 * 1024
#: What is installed with Thresher, and with each of its extras.
_PACKAGES = ("pyzmq", "msgspec", "protobuf", "pymemcache", "lmdb", "isal", "rich", "setproctitle")
_EXTRAS = {extra: tuple(re.split(r"[\[>=]", wanted)[0] for wanted in modules.values())
           for extra, modules in extras.EXTRAS.items()}


class Report(msgspec.Struct):
    """What was found: names and values by section, and what would keep runs from working, each with how to mend it."""

    sections: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    problems: list[str] = msgspec.field(default_factory=list)

    def need(self, fine: bool, problem: str) -> None:
        """Take note of a problem, unless all is fine."""
        if not fine:
            self.problems.append(problem)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said to the verb."""
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.epilog = ("Also runs a tiny pipeline in a directory of its own, to see it work. Exit code: 0 runs can work "
                     "here, 1 something would keep them from it. No configuration and no value of the environment is "
                     "in the report. Example: thresher doctor --json > report.json")


def main(options: argparse.Namespace) -> int:
    """Print the report."""
    report = examine()
    if options.json:
        print(json.dumps({**report.sections, "problems": report.problems}))
    else:
        print(render(report))
    return FAILURE if report.problems else 0


def examine() -> Report:
    """Look at everything."""
    report = Report()
    for look in (_versions, _machine, _kernel, _limits, _packages, _runs, _selftest):
        look(report)
    return report


def render(report: Report) -> str:
    """The report as text."""
    width = max(len(name) for facts in report.sections.values() for name in facts)
    lines: list[str] = []
    for section, facts in report.sections.items():
        lines += [section, *(f"  {name:{width}}  {value}" for name, value in facts.items()), ""]
    lines += [f"problem: {problem}" for problem in report.problems] or ["no problems"]
    return "\n".join(lines)


def _versions(report: Report) -> None:
    report.sections["versions"] = {
        "thresher": actors.__version__, "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}", "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip() or "unknown"}
    report.need(sys.platform == "linux", f"this is {sys.platform}: expected Linux, for its pidfds and /proc")


def _machine(report: Report) -> None:
    memory = _memory()
    limit = surroundings.cgroup_memory()
    facts: dict[str, Any] = {
        "cores": os.cpu_count(), "cores this process may use": len(os.sched_getaffinity(0)),
        "cores by cgroup": surroundings.cgroup_cores() or "no limit",
        "memory": surroundings.size(memory.get("MemTotal", 0)),
        "memory available": surroundings.size(memory.get("MemAvailable", 0)),
        "memory by cgroup": surroundings.size(limit) if limit else "no limit"}
    report.sections["machine"] = facts
    available = min(memory.get("MemAvailable", _MEMORY_BYTES), limit or _MEMORY_BYTES)
    report.need(available >= _MEMORY_BYTES, f"{surroundings.size(available)} of memory are available: a run takes "
                f"{surroundings.size(_MEMORY_BYTES)} or more: end something, or raise the limit")


def _kernel(report: Report) -> None:
    try:
        os.close(os.pidfd_open(os.getpid()))
        has_pidfd = True
    except (OSError, AttributeError):
        has_pidfd = False
    flag = ctypes.c_int()
    has_prctl = ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(flag), 0, 0, 0) == 0
    zmq = library()
    report.sections["kernel and sockets"] = {
        "pidfd": _yes(has_pidfd), "prctl": _yes(has_prctl), "proc": _yes(Path("/proc/self/stat").exists()), **zmq}
    report.need(has_pidfd, "no pidfd: expected Linux 5.3 or newer, or a container whose filter lets pidfd_open pass")
    report.need(has_prctl, "no prctl: expected a container whose filter lets it pass: actors die with their run by it")
    report.need(zmq["libzmq ipc"] == "yes", "libzmq without ipc: install pyzmq from its wheel: `pip install pyzmq`")


def _limits(report: Report) -> None:
    files, processes = (resource.getrlimit(which) for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    report.sections["limits"] = {"open files": _limit(files), "processes and threads": _limit(processes)}
    problem = open_files.problem(_ACTORS)
    report.need(not problem, problem)
    report.need(os.getuid() == 0 or processes[0] == resource.RLIM_INFINITY or processes[0] >= _THREADS,
                f"a user may have {processes[0]} processes and threads: `ulimit -u {_THREADS}` or more")


def _packages(report: Report) -> None:
    found = {name: _version_of(name) for name in _PACKAGES}
    report.sections["packages"] = {name: version or "missing" for name, version in found.items()}
    report.sections["extras"] = {
        extra: ", ".join(f"{name} {_version_of(name) or 'missing'}" for name in names)
        for extra, names in _EXTRAS.items()}
    for name, version in found.items():
        report.need(bool(version), f"{name} is not installed: pip install {name}")


def _runs(report: Report) -> None:
    base = rundir.base()
    folders = sorted(path for path in base.glob("*") if path.is_dir()) if base.is_dir() else []
    going_on = {path: state for path in folders if (state := state_of(path)) is not None}
    left = [path.name for path in folders if path not in going_on]
    report.sections["runs"] = {
        "run directories": str(base), "room there": surroundings.size(surroundings.free_bytes(base)),
        "going on": ", ".join(map(str, going_on.values())) or "none",
        "left by killed runs": _left(left)}
    problem = surroundings.run_directory_problem()
    report.need(not problem, problem)


def _left(names: list[str]) -> str:
    """Run directories that nobody uses. The next run with the same state directory would remove its own."""
    if not names:
        return "none"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}: they can be removed"


def _selftest(report: Report) -> None:
    began = time.monotonic()
    problem = run_selftest()
    seconds = time.monotonic() - began
    report.sections["self test"] = {"a run": problem or f"{selftest.RECORDS} records in {seconds:.1f} s"}
    report.need(not problem, f"the self test failed: {problem}: the lines above may say why")


def run_selftest() -> str:
    """Run the smallest pipeline in a scratch directory; return why it did not work, or nothing."""
    with tempfile.TemporaryDirectory(prefix="thresher-doctor-", ignore_cleanup_errors=True) as scratch:
        state, numbers = Path(scratch) / "state", Path(scratch) / "numbers.txt"
        numbers.write_text("".join(f"{number}\n" for number in range(selftest.RECORDS)))
        command = [*loading.fresh_interpreter("actors.cli"), "run", selftest.__name__, str(numbers), "--state",
                   str(state), "--format", "json"]
        # A configuration in the environment is not what is tested here.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("THRESHER_")}
        try:
            done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=_SELFTEST_S, check=False)
        except subprocess.TimeoutExpired:  # it was killed, and its actors with it
            shutil.rmtree(rundir.path_for(state), ignore_errors=True)
            return f"a run did not end within {_SELFTEST_S:g} s"
    with contextlib.suppress(ValueError, IndexError, KeyError):
        if done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["outcomes"]["written"] == selftest.RECORDS:
            return ""
    said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return f"a run ended with exit code {done.returncode}: {said[-1] if said else 'it said nothing'}"


def _memory() -> dict[str, int]:
    """Bytes by the names of /proc/meminfo."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return {}
    return {name: int(number) * 1024 for name, number in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _limit(limits: tuple[int, int]) -> str:
    soft, hard = ("unlimited" if limit == resource.RLIM_INFINITY else str(limit) for limit in limits)
    return soft if soft == hard else f"{soft} (at most {hard})"


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"
