"""Run ONE actor: ``python -P actors/__main__.py NAME --generation N --run DIR --parent PID``.

It looks for modules where its supervisor does, which the run directory says: what it runs is what that has checked.

Exit codes: 0 told to stop; 74 what was acknowledged is lost; 75 something that it needs cannot be had now, or only the
next of its name can go on; 78 wrong configuration, or something that cannot be imported; anything else is a crash.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import signal
import sys
import traceback
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_BAD_CONFIG = 78
_DEBUG = ("breakpoint() at {}: an actor has no terminal: expected `thresher run TARGET --inline`, "
          "which runs all in one process")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: Blocks up to this size are kept on the heap: the largest that glibc allows.
_KEPT_BLOCK_BYTES = 32 * 1024 * 1024


def main(argv: list[str]) -> int:
    """Run the actor of a command line; return its exit code."""
    run_dir = Path(argv[4])
    # Before anything of ours is imported: the name of the file is that of ``rundir.SEARCH_PATH``.
    with contextlib.suppress(FileNotFoundError):  # by hand, or in a test: modules are looked for as usual
        sys.path[:] = json.loads((run_dir / "search-path.json").read_text(encoding="utf-8"))
    return run(argv[0], int(argv[2]), run_dir, int(argv[6]))


def run(name: str, generation: int, run_dir: Path, parent: int) -> int:
    """Run an actor in this process, which is its own; return its exit code.

    Args:
        name: e.g. ``parser.1``.
        generation: how many times an actor of this name was started.
        run_dir: the run directory.
        parent: pid of the supervisor.
    """
    die_with(parent)
    # Ctrl-C goes to everyone at the terminal; the supervisor decides what it means. SIGTERM keeps its meaning: an
    # operator who kills one actor sees it restarted.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _be_a_good_worker()
    _write_whole_lines(name)
    sys.breakpointhook = _no_terminal
    _leave_a_stack(run_dir, name, generation)
    try:
        return _run(name, generation, run_dir)
    except ImportError as error:
        traceback.print_exc()
        _leave_a_word(run_dir, name, generation, error)
        return _BAD_CONFIG
    except Exception as error:
        traceback.print_exc()
        _leave_a_word(run_dir, name, generation, error)
        return 1


def _run(name: str, generation: int, run_dir: Path) -> int:
    from bdb import BdbQuit

    from setproctitle import setproctitle

    from actors import roles
    from actors.runtime import copies, stacks
    from actors.runtime.actor import Actor
    from actors.runtime.errors import ConfigError, Fatal, Lost, NoTerminal, Retryable
    from actors.runtime.manifest import load_manifest
    from actors.runtime.printable import in_lines
    from actors.runtime.restart import LOST
    from actors.runtime.rundir import MANIFEST
    from actors.runtime.topology import downstream, process_title, stage_of

    try:
        manifest = load_manifest(run_dir / MANIFEST)
        setproctitle(process_title(name, manifest.name))
        make_role = roles.prepare(name, manifest)
        _log_as(name, manifest.limits.log_level)
        actor = Actor(name, generation, run_dir, downstream(manifest, stage_of(name)), manifest.run, manifest.links)
        actor.tracer = roles.open_tracer(name, generation, manifest, run_dir)
        copies.watch()
        try:
            return actor.run(os.getpid(), make_role)
        except NoTerminal as error:
            raise ConfigError(_DEBUG.format(error)) from error
        except BdbQuit as error:  # a debugger that was begun by hand found no terminal
            raise ConfigError(_DEBUG.format("{0[1]}:{0[2]}".format(stacks.cause(stacks.told(error))))) from error
        finally:
            actor.tracer.close()
    except (ConfigError, Lost) as error:
        print(in_lines(f"{name}: {error}"), file=sys.stderr)
        _leave_a_word(run_dir, name, generation, error)
        return _BAD_CONFIG if isinstance(error, ConfigError) else LOST
    except (Retryable, Fatal) as error:
        print(in_lines(f"{name}: {error}"), file=sys.stderr)
        return os.EX_TEMPFAIL


def _no_terminal(*words: object, **named: object) -> object:
    """What ``breakpoint()`` does here, unless the environment says what else."""
    if "PYTHONBREAKPOINT" in os.environ:
        return sys.__breakpointhook__(*words, **named)
    from actors.runtime.errors import NoTerminal

    caller = sys._getframe(1)  # not public, and what a debugger itself asks for
    raise NoTerminal(f"{caller.f_code.co_filename}:{caller.f_lineno}")


def _write_whole_lines(name: str) -> None:
    """The other processes of the run write to the same streams."""
    from actors.runtime import whole_lines

    whole_lines.install()
    whole_lines.name_output(name)


def _log_as(name: str, level: str) -> None:
    """What the application's modules log goes to standard error with the actor's name, unless they say what else."""
    if "logging" in sys.modules:  # else nobody logs
        import logging

        logging.basicConfig(format=f"{name}: %(levelname)s %(name)s: %(message)s", level=level.upper())


def _leave_a_word(run_dir: Path, name: str, generation: int, error: Exception) -> None:
    """Say in the place of a stack why this cannot run: the supervisor gives it as the reason for the end of the run. Of
    an error that nobody has caught all is said, for it may be a record's: it goes to the letter of that one."""
    from actors.runtime.errors import ThresherError
    from actors.runtime.rundir import stack_file

    is_told = isinstance(error, ThresherError | ImportError)
    said = f"{name}: {error}" if is_told else "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError):  # it was printed
        stack_file(run_dir, name, generation).write_text(said, encoding="utf-8", errors="replace")


def _leave_a_stack(run_dir: Path, name: str, generation: int) -> None:
    """Write the stack of every thread to a file, on SIGUSR1 and at a fatal fault; works while C code holds the GIL."""
    from actors.runtime.rundir import stack_file

    file = os.open(stack_file(run_dir, name, generation), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    faulthandler.enable(file)
    faulthandler.register(signal.SIGUSR1, file, all_threads=True)


def _be_a_good_worker() -> None:
    """Two settings of the system, of up to a tenth of the time each; docs/performance.md has the figures."""
    # Actors wake each other up all the time. As batch processes they do not push one another off the processor for
    # it, so what a worker has in its cache stays there.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    # Batches come and go by the megabyte. Kept on the heap they are not mapped, zeroed and unmapped each time.
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BLOCK_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_BLOCK_BYTES)


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Make the kernel send this process a signal when its parent dies, however it dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to tidy, and interpreter shutdown takes longer than a batch
