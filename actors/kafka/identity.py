"""What tells the sinks of one state directory from those of all others, for ever: a file in it."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from actors.runtime.disk import make_folder, sync_folder
from actors.runtime.errors import ConfigError, Retryable, plain_reason

FILE = "kafka.id"
_DIGITS = 32


def known_id(state: Path) -> str:
    """Return the id of a state directory; empty: it has none yet.

    Raises:
        Retryable: it cannot be read now.
        ConfigError: it is none.
    """
    path = state / FILE
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise Retryable(f"{path}: {plain_reason(error)}") from error
    if len(text) != _DIGITS or set(text) - set("0123456789abcdef"):
        raise ConfigError(f"{path}: expected {_DIGITS} hexadecimal digits, got {text[:40]!r}: put back the file as it "
                          "was; without it nobody knows what this state has written")
    return text


def id_of(state: Path) -> str:
    """Return the id of a state directory, made when it has none; it is on the disk when this returns.

    Raises:
        Retryable: it cannot be read or written now.
        ConfigError: what is there is none.
    """
    if known := known_id(state):
        return known
    path, draft = state / FILE, state / f".{FILE}.{os.getpid()}"
    try:
        make_folder(state)
        with draft.open("w", encoding="ascii") as file:
            file.write(secrets.token_hex(_DIGITS // 2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another sink of this run was first
            os.link(draft, path)
        draft.unlink()
        sync_folder(state)
    except OSError as error:
        raise Retryable(f"{path}: {plain_reason(error)}") from error
    return known_id(state)
