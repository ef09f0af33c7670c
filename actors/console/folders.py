"""Which folder a command line is about: ``--chdir DIR``, and ``run.base = "file"`` of the configuration that it names.

    thresher run access.toml                    here; relative paths of the configuration are, too
    thresher run access.toml --chdir /srv/a     as from /srv/a: TARGET and FILE, too
    thresher run /srv/a/access.toml             with run.base = "file": the configuration's relative paths from /srv/a;
                                                FILE and --state from here, where they are typed

A whole process has one current folder, which its actors inherit; so it is changed before anything is looked up.
"""

from __future__ import annotations

import argparse
import glob
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from actors.assignments import from_sets
from actors.runtime.errors import ConfigError, plain_reason

_KEY, _VARIABLE = ("run", "base"), "THRESHER_RUN__BASE"
#: What is typed as a path, by its place in the options.
_TYPED = ("state", "report", "out")


def change(words: Sequence[str]) -> None:
    """Go where ``--chdir`` says.

    Raises:
        ConfigError: there is no such folder.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--chdir")
    try:
        said, _ = parser.parse_known_args(words)
    except argparse.ArgumentError:
        return  # whoever reads the whole line complains
    if said.chdir is not None:
        _enter(said.chdir, f"--chdir {said.chdir}")


def settle(options: argparse.Namespace) -> None:
    """Go to the folder of the configuration when that is what its paths are relative to.

    What was typed stays what it is: TARGET, FILE and ``--state`` mean the same files as before.
    """
    target = getattr(options, "target", None)
    if not isinstance(target, str) or not target.endswith(".toml"):
        return
    here, file = os.getcwd(), os.path.abspath(target)
    folder = os.path.dirname(file)
    if folder == here or _base(file, getattr(options, "set", ()), os.environ) != "file":
        return
    _enter(folder, target)
    options.target = file
    for name in ("files", "query"):
        if getattr(options, name, None):
            setattr(options, name, [_seen_from(folder, here, path) for path in getattr(options, name)])
    for name in _TYPED:
        if getattr(options, name, None):
            setattr(options, name, os.path.join(here, getattr(options, name)))


def _enter(folder: str, where: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise ConfigError(f"{where}: expected a folder: {plain_reason(error)}") from error


def _base(file: str, sets: Sequence[str], environ: Mapping[str, str]) -> object:
    """What the configuration is relative to; whatever is wrong with it is told by who reads all of it."""
    try:
        section = tomllib.loads(Path(file).read_text(encoding="utf-8-sig")).get("run")
    except (OSError, ValueError, RecursionError):
        return None
    found = section.get("base") if isinstance(section, dict) else None
    found = environ.get(_VARIABLE, found)
    return next((said.value for said in reversed(list(from_sets(sets, []))) if said.key == _KEY), found)


def _seen_from(folder: str, here: str, path: str) -> str:
    """A FILE that was typed ``here``, as the configuration would name it: a unit is known by its name."""
    if path == "-":
        return path
    if not os.path.isabs(path):
        prefix = glob.escape(here) if glob.has_magic(path) and not os.path.lexists(os.path.join(here, path)) else here
        path = os.path.join(prefix, path)
    if os.pardir in path.split(os.sep):
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return os.path.relpath(path, folder) if path.startswith(os.path.join(folder, "")) else path
