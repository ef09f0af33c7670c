"""Builds and preloads ``record.c``, for a command whose files a power cut is to be told of."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("record.c")


def require_recorder(folder: Path) -> Path:
    """The library to preload, made in this folder; without a compiler a test is skipped on a laptop and fails in CI."""
    library = build(folder)
    if library is not None:
        return library
    message = "no C compiler is installed (apt-get install gcc libc6-dev)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def build(folder: Path) -> Path | None:
    """Make the library in this folder; None: there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "record.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


def slowed(library: Path, root: Path, flush_ms: int) -> dict[str, str]:
    """The environment in which each flush below ``root`` takes so long besides; nothing is recorded."""
    return {**os.environ, "LD_PRELOAD": str(library), "POWERCUT_ROOT": str(root.resolve()),
            "POWERCUT_MS": str(flush_ms)}


def may_be_read_only(library: Path, root: Path, mark: Path, flush_ms: int = 0) -> dict[str, str]:
    """The variables with which nothing below ``root`` can be changed as long as ``mark`` is there."""
    return {"LD_PRELOAD": str(library), "POWERCUT_ROOT": str(root.resolve()), "POWERCUT_FULL": str(mark),
            "POWERCUT_MS": str(flush_ms)}


def recorded(library: Path, root: Path, log: Path, flush_ms: int = 0) -> dict[str, str]:
    """The environment that a command needs so that what it does below ``root`` is recorded in ``log``.

    Args:
        library: the library to preload.
        root: the folder.
        log: the record.
        flush_ms: how long each flush takes besides.
    """
    told = {"LD_PRELOAD": str(library), "POWERCUT_ROOT": str(root.resolve()), "POWERCUT_LOG": str(log)}
    if flush_ms:
        told["POWERCUT_MS"] = str(flush_ms)
    return {**os.environ, **told}
