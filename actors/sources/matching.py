"""Which files a pattern, or a name, stands for, and what they are called when they are finished."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence


def matching_files(pattern: str, paths: Sequence[str]) -> list[str]:
    """Return the paths of all files to read, each once, by name (not by folder): in chronological order for stamps.

    Args:
        pattern: which files; may be empty.
        paths: more files or patterns; a file that is named here is returned also when there is none.
    """
    found: dict[str, str] = {}
    for each in (pattern, *paths):
        for path in _expand(each, each in paths):
            found.setdefault(os.path.abspath(path), path)
    return sorted(found.values(), key=lambda path: (os.path.basename(path), path))


def _expand(pattern: str, named: bool) -> list[str]:
    """The files of one pattern. ``named``: given by the user as a file, so to be reported when there is none."""
    if os.path.lexists(pattern):
        return [pattern] if named or not _is_dotted(pattern) else []  # also a name with brackets in it
    if not glob.has_magic(pattern):
        # Put away by the generation of this reader that died, a file is not missing.
        return [pattern] if named and not os.path.lexists(dotted(pattern)) else []
    paths = glob.glob(pattern, recursive=True)
    if "**" in pattern:  # it walks through folders, and finds them too
        paths = [path for path in paths if not os.path.isdir(path)]
    return [path for path in paths if not _is_dotted(path)]


def _is_dotted(path: str) -> bool:
    return os.path.basename(path).startswith(".")


def dotted(path: str) -> str:
    """The name of a file that is finished: a dot before it."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}")
