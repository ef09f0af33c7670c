"""Copies of what a checkout has at its root, for tests that run its scripts; nothing is installed for them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.loads import ROOT


def make_checkout(root: Path) -> Path:
    """Make a folder with the scripts and an environment that is up to date: the one that the tests run in."""
    for name in ("scripts", "config"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    programs = root / ".venv" / "bin"
    programs.mkdir(parents=True)
    _program(programs / "python", "")  # no link: it would not know of the environment that it is in
    _program(programs / "thresher", "-m actors.cli")
    summed = subprocess.run("cat setup.cfg pyproject.toml | cksum", shell=True, cwd=root, capture_output=True,
                            text=True, check=True).stdout.strip()
    (root / ".venv" / ".stamp").write_text(f"{summed} {root}\n")
    return root


def make_programs(folder: Path) -> Path:
    """Make a folder for the search path: ``thresher`` and ``python``, as if they were installed."""
    folder.mkdir()
    _program(folder / "thresher", "-m actors.cli")
    _program(folder / "python", "")
    return folder


def _program(path: Path, arguments: str) -> None:
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
    path.chmod(0o755)
