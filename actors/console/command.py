"""``thresher scale``, ``reload`` and ``stop``: ask the supervisor of a run that is going on; say what it answers."""

from __future__ import annotations

from pathlib import Path

import msgspec

from actors.runtime import rundir
from actors.runtime.errors import ConfigError
from actors.runtime.manifest import state_in
from actors.runtime.messages import Reply


def only_run() -> Path:
    """Return the state directory of the one run of this user that is going on.

    Raises:
        ConfigError: there is none, or more than one.
    """
    states = going_on()
    if len(states) == 1:
        return states[0]
    if not states:
        raise ConfigError("no run is going on: start one with `thresher run`")
    raise ConfigError("more than one run is going on, say which with --state DIR:\n"
                      + "\n".join(f"  {state}" for state in states))


def going_on() -> list[Path]:
    """Return the state directories of all runs of this user that are going on."""
    return sorted(state for folder in rundir.base().glob("*") if (state := state_of(folder)) is not None)


def state_of(run_dir: Path) -> Path | None:
    """Return the state directory of the run that is going on with this run directory, or None."""
    try:
        state = state_in(run_dir / rundir.MANIFEST)
    except (OSError, msgspec.MsgspecError):
        return None
    return state if rundir.find(state) == run_dir else None


def run_directory(state: Path) -> Path:
    """Return the run directory of a run that is going on.

    Raises:
        ConfigError: no run is going on with this state directory.
    """
    run_dir = rundir.find(state)
    if run_dir is None:
        raise ConfigError(f"no run is going on with the state directory {state}: start it with `thresher run`, "
                          "or say with --state which one is meant")
    return run_dir


def ask(state: Path, verb: str, *arguments: str) -> Reply:
    """Send a command to the run of a state directory; return the answer.

    Raises:
        ConfigError: no run is going on there.
    """
    from actors.runtime import asking  # not for those who only want to know who runs: it is slow

    return asking.ask(run_directory(state), verb, *arguments)
