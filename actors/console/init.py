"""``thresher init``: a new pipeline that runs at once, made from the files in ``templates``."""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import re
import shlex
import sys
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from actors.runtime.errors import plain_reason
from actors.targets import applications

_FAILURE, _USAGE = 1, 2
#: Each file that is made, the template that it is made from, and what is said of it. NAME stands for the name.
_FILES = (
    ("NAME.py", "pipeline.py.template", "the functions and PIPELINE: yours to change"),
    ("NAME.toml", "pipeline.toml.template", "the configuration: values only"),
    ("data/NAME.log", "sample.log", "200 lines to try it with, five of them bad"),
    ("test_NAME.py", "test_pipeline.py.template", "what it should do with a few lines"),
    ("README.md", "README.md.template", "the next commands"),
)
_NEXT = ("thresher run NAME.toml", "python -m pytest")
_SAMPLE = ("data/NAME.log", "sample.log", "200 lines to try it with")
#: The same for a sink and a source of one's own.
_PARTS = {
    "sink": (("NAME.py", "sink.py.template", "the sink: yours to change"),
             ("test_NAME.py", "test_sink.py.template", "the contract of sinks, as tests"),
             ("try_NAME.py", "try_sink.py.template", "a pipeline that writes to it"), _SAMPLE),
    "source": (("NAME.py", "source.py.template", "the source: yours to change"),
               ("test_NAME.py", "test_source.py.template", "the contract of sources, as tests"),
               ("try_NAME.py", "try_source.py.template", "a pipeline that reads from it")),
}
_NEXT_OF_PARTS = ("thresher run try_NAME.py", "python -m pytest")
_Files = tuple[tuple[str, str, str], ...]
#: What pytest would take for something else, and our own.
_TAKEN = ("conftest", "setup", "actors")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what can be said."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("name", metavar="NAME", nargs="?", help="of the pipeline, its folder and its module")
    what.add_argument("--sink", metavar="NAME", help="a sink of one's own instead, with its tests and a pipeline")
    what.add_argument("--source", metavar="NAME", help="a source of one's own instead, with its tests and a pipeline")
    parser.add_argument("--dir", metavar="DIR", default=".", help="make the folder NAME in this one; default: here")
    parser.add_argument("--force", action="store_true", help="replace files that are there already; others stay")


def main(options: argparse.Namespace) -> int:
    """Make the pipeline, say what was made and what comes next, and return the exit code."""
    kind = "sink" if options.sink is not None else "source" if options.source is not None else ""
    name: str = {"sink": options.sink, "source": options.source}.get(kind, options.name)
    files = _PARTS.get(kind, _FILES)
    problem = why_not(name)
    if problem:
        print(f"init {name}: {problem}\n  did you mean '{suggestion(name)}'?", file=sys.stderr)
        return _USAGE
    folder = Path(options.dir) / name
    names = _names(name, files)
    try:
        problem = _in_the_way(folder, names, options.force)
        replaced = [path for path in names if (folder / path).exists()]
        if not problem:
            _make(folder, name, files)
    except OSError as error:
        problem = f"{error.filename or folder}: {plain_reason(error)}: expected a folder to write to, see --dir"
    if problem:
        print(f"init {name}: {problem}", file=sys.stderr)
        return _FAILURE
    print(told(folder, name, replaced, files))
    return 0


def why_not(name: str) -> str:
    """Why this cannot be the name of a new pipeline, or nothing."""
    if not (name.isascii() and name.isidentifier()):
        return "expected a name that Python can import: letters, digits and _, no digit in front"
    if keyword.iskeyword(name):
        return "expected a name that Python can import, got one of its keywords"
    if name in sys.stdlib_module_names or name in _TAKEN:
        return "expected a new name, got that of a module of Python, its tools, or Thresher"
    if name in applications():
        return "expected a new name, got that of an application that ships with Thresher"
    if _is_installed(name):
        return "expected a new name, got that of a module that is installed here"
    return ""


def suggestion(name: str) -> str:
    """A name like this one that can be taken."""
    close = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    if close and not why_not(close):
        return close
    close = f"my_{close}" if close else "my_pipeline"
    while why_not(close):
        close += "_"
    return close


def told(folder: Path, name: str, replaced: Iterable[str], files: _Files = _FILES) -> str:
    """What is said at the end: what was made, and the next commands."""
    lines = [f"made {folder}/"]
    for path, (_, _, text) in zip(_names(name, files), files, strict=True):
        lines.append(f"  {path:<{len(name) + 12}} {text}{' (replaced)' if path in replaced else ''}")
    lines += ["next:", f"  cd {shlex.quote(str(folder))}"]
    commands = _NEXT if files is _FILES else _NEXT_OF_PARTS
    return "\n".join([*lines, *(f"  {command.replace('NAME', name)}" for command in commands)])


def _is_installed(name: str) -> bool:
    """Whether Python finds a module of this name anywhere but beside the new folder or in it."""
    here = Path.cwd()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return True
    return (spec is not None and spec.origin is not None
            and Path(spec.origin).absolute().parent not in (here, here / name))


def _names(name: str, files: _Files) -> list[str]:
    return [path.replace("NAME", name) for path, _, _ in files]


def _in_the_way(folder: Path, names: Iterable[str], force: bool) -> str:
    """Why nothing can be made here, or nothing."""
    if folder.exists() and not folder.is_dir():
        return f"{folder} is a file: expected a name that is free"
    if force or not folder.exists() or not any(folder.iterdir()):
        return ""
    lost = [path for path in names if (folder / path).exists()]
    if lost:
        return (f"{folder} exists already: give another name, or --dir DIR, "
                f"or --force, which replaces {', '.join(lost)}")
    return f"{folder} exists already: give another name, or --dir DIR, or --force, which leaves what is in it"


def _make(folder: Path, name: str, files: _Files) -> None:
    templates = resources.files("actors.console") / "templates"
    try:
        for (_, template, _), path in zip(files, _names(name, files), strict=True):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            text = (templates / template).read_text(encoding="utf-8")
            (folder / path).write_text(text.replace("{{name}}", name), encoding="utf-8")
    except OSError as error:
        if error.filename is None:  # the disk is full, say
            error.filename = str(folder)
        raise
