"""``thresher.run``: a run from a program of one's own, in a process of its own.

The caller's process (its threads, event loop, ZeroMQ contexts, signal handlers, a notebook's kernel) does not touch the
run, and the run, which forks actors, takes signals and waits for every child, does not touch the caller's process.
Nothing is pickled: the run imports the pipeline by its name, as every actor does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from actors.runtime import loading
from actors.runtime.errors import ConfigError
from actors.runtime.events import FAILED
from actors.runtime.pipeline import Pipeline

PathLike = str | os.PathLike[str]
#: Set in the process of a run, and so in its actors: to begin another one there would go on for ever.
INSIDE = "THRESHER_INSIDE_RUN"


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, and what became of its records.

    Attributes:
        code: what ``thresher run`` exits with: 0 done; 1 failure; 3 stopped with work left, the same call resumes;
            4 error budget exceeded.
        reason: why, in a sentence.
        seconds: how long it took.
        read: number of records read.
        outcomes: how many of them were ``written``, ``folded``, ``filtered``, ``dead_lettered`` and ``handed_over``.
        state: the state directory: positions, dead letters, aggregates, embedded stores.
        report: the whole report, as ``thresher report --json`` prints it.

    Example::

        def say(result: RunResult) -> None:
            print("done" if result.ok else f"{result.code}: {result.reason}", result.outcomes)
    """

    code: int
    reason: str
    seconds: float = 0.0
    read: int = 0
    outcomes: dict[str, int] = {}
    state: str = ""
    report: dict[str, Any] = {}

    @property
    def ok(self) -> bool:
        """Whether all of the input is done, within the error budget."""
        return self.code == 0


def run(
    target: PathLike | Pipeline, *files: PathLike, settings: Mapping[str, Any] | None = None,
    state: PathLike | None = None, follow: bool = False, once: bool = False, fresh: bool = False,
    dry_run: bool = False, show: bool = False,
) -> RunResult:
    """Run a pipeline to its end, in a process of its own; return how it ended.

    Ctrl-C, and the death of the caller, drain the run: it ends with code 3, and the same call goes on from there.

    Args:
        target: what ``thresher run`` takes: an application's name, a path (``.py`` or ``.toml``), a dotted module; or
            a ``Pipeline`` that is an attribute of a module, or of the script, which is imported again in the actors:
            what it does besides stands under ``if __name__ == "__main__":``.
        files: read these instead of the configured ones.
        settings: values that go before all others, by key: ``{"parser.workers": 4}``.
        state: the state directory; by default ``var/NAME``.
        follow: read the files as they are written, until the run is told to stop.
        once: read what is there, and end, also where files are followed.
        fresh: begin anew: forget positions, aggregates and dead letters.
        dry_run: do everything but write.
        show: print progress and report as ``thresher run`` does; by default nothing is printed.

    Raises:
        ConfigError: the configuration is wrong, the pipeline cannot be imported by its name, or this is the process
            of a run already.

    Example::

        from thresher import run

        if __name__ == "__main__":
            result = run("words.py", "in.txt", settings={"parser.workers": 2})
            print(result.outcomes["written"], "of", result.read)
            sys.exit(result.code)
    """
    if os.environ.get(INSIDE):
        raise ConfigError("thresher.run: called while a run imports this module: put the call under "
                          'if __name__ == "__main__":')
    words = ["run", target_of(target) if isinstance(target, Pipeline) else os.fspath(target)]
    words += [os.fspath(file) for file in files]
    for key, value in (settings or {}).items():
        words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    words += ["--state", os.fspath(state)] if state is not None else []
    chosen = {"--follow": follow, "--once": once, "--fresh": fresh, "--dry-run": dry_run}
    words += [flag for flag, is_set in chosen.items() if is_set]
    words += [] if show else ["--format", "none"]
    with tempfile.TemporaryDirectory(prefix="thresher-") as folder:
        report = Path(folder) / "report.json"
        code = _wait(_start([*words, "--report", str(report)]))
        return _result(code, report)


def target_of(pipeline: Pipeline) -> str:
    """Return by which target actors can import this value: ``module:NAME`` or ``/path/to/script.py:NAME``.

    Raises:
        ConfigError: it is an attribute of no module.
    """
    main = sys.modules["__main__"]
    for module in [module for module in list(sys.modules.values()) if module is not main] + [main]:
        for name, value in list(vars(module).items()) if isinstance(module, ModuleType) else ():
            if value is pipeline:
                return f"{_importable(module)}:{name}"
    raise ConfigError("thresher.run: this Pipeline is an attribute of no module, so the actors cannot import it: "
                      "name it at the top of a file (PIPELINE = Pipeline(…)), and run that")


def _importable(module: ModuleType) -> str:
    if module.__name__ != "__main__":
        return module.__name__
    file: str | None = getattr(module, "__file__", None)
    if file is None or not os.path.exists(file):
        raise ConfigError("thresher.run: this Pipeline was made in a notebook or at a prompt, where the actors cannot "
                          "import it: save it in a file, and run that: run('path/to/file.py')")
    return os.path.abspath(file)


def _start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*loading.fresh_interpreter("thresher._child"), str(os.getpid()), *words], env={**os.environ, INSIDE: "1"},
        process_group=0)  # Ctrl-C at the terminal comes to us alone, and goes on from here once


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the run. Ctrl-C goes on to it: the first one drains it, the second one ends it at once."""
    for _ in range(2):
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.kill()
        process.wait()
        raise


def _result(code: int, report: Path) -> RunResult:
    try:
        said: dict[str, Any] = json.loads(report.read_bytes())
    except (OSError, ValueError):
        why = f"killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with code {code}, without a report"
        return RunResult(code=code if code > 0 else FAILED, reason=f"the process of the run: {why}")
    if said["event"] == "refused":
        raise ConfigError(said["reason"])
    if said["event"] == "stopped":
        return RunResult(code=said["code"], reason=said["reason"])
    return RunResult(
        code=said["code"], reason=said["reason"], seconds=said["seconds"], read=said["read"],
        outcomes=said["outcomes"], state=said["state"], report=said)
