"""Run ONE actor: ``python -m actors NAME --generation N --run DIR --parent PID``, the argv the supervisor uses.

Exit codes: 0 told to stop; 78 wrong configuration, or something that cannot be imported; anything else is a crash.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_BAD_CONFIG = 78


def _die_with(parent: int) -> None:
    """Make the kernel kill this process when its supervisor dies, however it dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def main(argv: list[str]) -> int:
    """Run the actor; return its exit code."""
    name, generation, run_dir, parent = argv[0], int(argv[2]), Path(argv[4]), int(argv[6])
    _die_with(parent)
    # Ctrl-C goes to everyone at the terminal; the supervisor decides what it means. SIGTERM keeps its meaning: an
    # operator who kills one actor sees it restarted.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        from actors.runtime.actor import Actor
        from actors.runtime.errors import ConfigError
        from actors.runtime.manifest import load_manifest
        from actors.runtime.rundir import MANIFEST
        from actors.runtime.topology import downstream, process_title, stage_of
    except ImportError:
        traceback.print_exc()
        return _BAD_CONFIG
    try:
        manifest = load_manifest(run_dir / MANIFEST)
        _set_title(process_title(name, manifest.name))
        from actors import roles

        make_role = roles.prepare(name, manifest)
        actor = Actor(name, generation, run_dir, downstream(manifest, stage_of(name)), manifest.run)
        return actor.run(os.getpid(), make_role)
    except ConfigError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return _BAD_CONFIG
    except ImportError:
        traceback.print_exc()
        return _BAD_CONFIG


def _set_title(title: str) -> None:
    from setproctitle import setproctitle

    setproctitle(title)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to tidy, and interpreter shutdown takes longer than a batch
