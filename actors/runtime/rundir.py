"""The run directory: sockets, board and manifest of one run, private to the user, with a short path.

It lies in ``$XDG_RUNTIME_DIR`` or ``/tmp/thresher-UID``, because an ipc path has 107 bytes at most and a state
directory may lie anywhere. Its name is made from the state directory's, so anyone who knows the one finds the other,
and the next run finds (and clears) what a killed one left. Two runs on one state directory are kept apart by a lock on
``STATE/lock``: ZeroMQ would let a second run steal the first one's sockets without a word.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from actors.runtime import loading
from actors.runtime.disk import make_folder
from actors.runtime.errors import ConfigError

#: Longer than anybody holds the lock who is no run.
_GLANCE_S = 0.2
MANIFEST, BOARD, CONTROL = "manifest.json", "board", "control"
#: Where Python looks for modules in the supervisor, as a list: its actors look there, in that order, too.
SEARCH_PATH = "search-path.json"
#: Where the monitor says at which address it answers; what has to be shown there, for this user's eyes.
MONITOR_URL, MONITOR_TOKEN = "monitor.url", "monitor.token"
_TMP = Path("/tmp")
#: How much of a stack is kept: its end.
_STACK_BYTES = 8192
#: Random bytes of a token that is made.
_TOKEN_BYTES = 24
#: What must be free in the state directory at the start: databases that cannot even be made are no outage.
ROOM_BYTES = 1024 * 1024


def stack_file(run_dir: Path, name: str, generation: int) -> Path:
    """Where an actor's last stack is written: by the signal for it, or by the fault that kills it."""
    return run_dir / f"{name}.{generation}.stack"


def take_stack(run_dir: Path, name: str, generation: int) -> str:
    """The end of the stack that an actor has left, whose file goes with this; empty: it has left none."""
    path = stack_file(run_dir, name, generation)
    try:
        stack = path.read_bytes()[-_STACK_BYTES:]
        path.unlink()
    except OSError:
        return ""
    return stack.decode(errors="replace")


def save_search_path(run_dir: Path) -> None:
    """Write down where modules are looked for in this process, for actors that are executed."""
    file = run_dir / SEARCH_PATH
    file.touch(mode=0o600)
    file.write_text(json.dumps(loading.search_path()), encoding="utf-8")


def save_monitor_token(run_dir: Path, given: str) -> None:
    """Write down what the monitor's clients have to show: the token that is given, or one that is made.

    It is made by the supervisor, once: a monitor that is started again knows the pages that are open.
    """
    import secrets  # few runs have a monitor

    file = os.open(run_dir / MONITOR_TOKEN, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(file, "w", encoding="utf-8") as token:
        token.write(given or secrets.token_urlsafe(_TOKEN_BYTES))


def base() -> Path:
    """Where the run directories of this user are."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and len(runtime) <= 50 and os.access(runtime, os.W_OK):
        return Path(runtime) / "thresher"
    return _TMP / f"thresher-{os.getuid()}"  # not $TMPDIR: it may be long


def path_for(state: Path) -> Path:
    """Where the run directory of this state directory is, whether it exists or not."""
    return base() / hashlib.blake2b(os.fsencode(state.resolve()), digest_size=6).hexdigest()


def find(state: Path) -> Path | None:
    """Return the run directory of a run that is going on with this state directory, or None.

    What another user has put in its place is no run: whoever looks at one believes its manifest.
    """
    path = path_for(state)
    if not _is_believed(path.parent) or not (path / BOARD).exists():
        return None
    try:
        with (state / "lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return path
    except OSError:
        pass
    return None


class RunDirectory:
    """The run directory of this process's run, with the lock that makes it ours.

    Args:
        state: the state directory; made when it is missing.

    Raises:
        ConfigError: it cannot be made, or another run holds it.
    """

    def __init__(self, state: Path) -> None:
        try:
            make_folder(state, mode=0o700)  # dead letters are whatever the input was
            self._lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"state directory {state}: {error.strerror}: give another with --state DIR") from error
        try:
            _lock(self._lock)
        except BlockingIOError as error:
            holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise ConfigError(
                f"state directory {state}: another run uses it (process {holder}): "
                "wait for it, stop it, or give another with --state DIR") from error
        try:
            os.posix_fallocate(self._lock, 0, ROOM_BYTES)
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        except OSError as error:
            os.close(self._lock)
            raise ConfigError(f"state directory {state}: {error.strerror}: expected room for {ROOM_BYTES:,} bytes or "
                              "more: make room, or give another with --state DIR") from error
        self.path = path_for(state)
        if problem := owner_problem():
            os.close(self._lock)
            raise ConfigError(problem)
        _make_private(self.path.parent)
        _remove(self.path)
        self.path.mkdir(mode=0o700)

    def close(self) -> None:
        """Remove the directory and let go of the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def _lock(file: int) -> None:
    """Take the lock; one who only looks whether it is held (``find``) holds it for a moment."""
    deadline = time.monotonic() + _GLANCE_S
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_GLANCE_S / 20)


def _is_believed(place: Path) -> bool:
    """Whether what lies there is this user's, or root looks on purpose, with ``XDG_RUNTIME_DIR``, at another's."""
    try:
        found = place.lstat()
    except OSError:
        return False
    is_ours = found.st_uid == os.getuid() or (os.getuid() == 0 and place.parent != _TMP)
    return is_ours and stat.S_ISDIR(found.st_mode)


def owner_problem() -> str:
    """Why another user could put a directory of his own in the place of ours; empty when he could not."""
    place = base().parent
    if place == _TMP or not place.exists():  # there, entries are their owners' (the sticky bit)
        return ""
    owner = place.stat().st_uid
    return "" if owner in (0, os.getuid()) else (
        f"{place}: expected a directory of user {os.getuid()} or of root, got one of user {owner}: "
        "set XDG_RUNTIME_DIR to another directory")


def _make_private(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(f"{path}: expected a directory of user {os.getuid()}: remove it, or set XDG_RUNTIME_DIR")
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)


def _remove(path: Path) -> None:
    """Remove what lies in the place of the run directory: a directory that a killed run has left, or anything."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def scratch_directory() -> Path:
    """Make an empty private directory, for the state of a dry run."""
    return Path(tempfile.mkdtemp(prefix="thresher-dry-"))
