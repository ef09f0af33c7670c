"""What the FILE arguments, ``--follow`` and ``--once`` mean for the source that is configured."""

from __future__ import annotations

import argparse
import difflib
import functools
import glob
import json
import os
import stat
from collections.abc import Sequence

from actors.runtime import inherited
from actors.runtime.errors import ConfigError
from actors.runtime.ports import SourceOptions
from actors.settings import Settings, load, pipeline_of
from actors.sources.files import Files
from actors.sources.framings.options import FramedOptions
from actors.sources.matching import dotted

#: The FILE that means standard input.
STDIN = "-"


def settings_of(
    target: str, sets: Sequence[str], state: str | None = None, *, files: Sequence[str] = (), follow: bool = False,
    once: bool = False, dry: bool = False, query: bool = False, flags: Sequence[tuple[str, str]] = ()
) -> Settings:
    """Return the settings of TARGET, with these inputs in the place of the configured ones.

    Raises:
        ConfigError: the settings are wrong, or the source that is configured cannot read such inputs.
    """
    loaded = functools.partial(load, target, state=state, dry=dry, query=query, flags=flags)
    if not (files or follow or once):
        return loaded(sets=sets)
    # What --set says of the source is for the one that will read, which may be of another type: all but what decides
    # which one is configured.
    deciding = tuple(f"source.{name}=" for name in ("type", pipeline_of(target, query).source.addressed_by) if name)
    others = [word for word in sets if not word.startswith("source.") or word.startswith(deciding)]
    if STDIN in files:
        if len(files) > 1 or follow or once:
            raise ConfigError("FILE - is standard input, which is read alone and to its end: expected no other FILE, "
                              "no --follow and no --once")
        return loaded(sets=sets, source=["source.type=stdin", *_framing(loaded(sets=others).manifest.source.load())])
    source = _source(loaded(sets=others), list(files), follow, once)
    if "source.type=directory" in source:
        return loaded(sets=sets, source=source)
    return loaded(sets=[*sets, *source])


def require_streams(settings: Settings) -> None:
    """Raise ConfigError when the source reads standard input and there is none, or a sink's output is closed."""
    manifest = settings.manifest
    if inherited.is_closed(1):
        for name, component in manifest.sinks.items():
            if component.kind().console:
                raise ConfigError(f"sinks.{name}: standard output is closed: expected a pipe, a file or a terminal")
    if not manifest.source.kind().wants_stdin:
        return
    if inherited.is_closed(0):
        raise ConfigError("standard input is closed: expected a pipe or a file, e.g. zcat x.gz | thresher run APP -")
    status = os.fstat(0)
    if stat.S_ISCHR(status.st_mode) and os.isatty(0):
        raise ConfigError("standard input is a terminal: expected a pipe or a file, "
                          "e.g. zcat x.gz | thresher run APP -")


def _source(settings: Settings, files: list[str], follow: bool, once: bool) -> list[str]:
    """What is to be said of the source, as texts for ``--set``."""
    kind = settings.shown["source"]["type"]
    now = settings.manifest.source.load()
    word = f"{settings.pipeline.name} reads from a source of the type {kind}"
    if (follow or once) and not (now.follows or isinstance(now, Files)):
        raise ConfigError(f"--{'follow' if follow else 'once'}: {word}: expected files or directory "
                          "(e.g. --set source.type=directory)")
    if files and not now.takes_files:
        raise ConfigError(f"FILE {files[0]}: {word}, which reads no files: expected no FILE "
                          "(or --set source.type=files, if this is what is meant)")
    if follow and isinstance(now, Files):
        paths = files or [path for path in (now.pattern, *now.paths) if path]
        return ["source.type=directory", f"source.paths={json.dumps(paths)}", *_framing(now)]
    source = [f"source.paths={json.dumps(files)}"] if files else []
    if now.follows:
        return source + (["source.follow=true"] if follow else ["source.follow=false"] if once else [])
    return (['source.pattern=""'] if files and isinstance(now, Files) else []) + source


def is_input(word: str) -> bool:
    """Whether a word of a command line that may be TARGET is a FILE to read."""
    return os.path.isfile(word) and not word.endswith((".toml", ".py"))


def require_matches(settings: Settings, files: Sequence[str]) -> None:
    """Make sure that each FILE, or pattern of files, is there, be it loaded and put away already.

    Raises:
        ConfigError: one is not there, or nothing matches it, and what may come later is not waited for.
    """
    source = settings.manifest.source.load()
    if not source.takes_files or (source.follows and settings.manifest.source.values.get("follow")):
        return
    for pattern in files:
        if pattern == STDIN or os.path.lexists(pattern):
            continue
        if not glob.has_magic(pattern):
            if not os.path.lexists(dotted(pattern)):
                raise ConfigError(f"FILE {pattern}: there is no such file{_file_like(pattern)}")
            continue
        if not any(glob.glob(each, recursive=True) for each in (pattern, dotted(pattern))):
            raise ConfigError(f"FILE {pattern}: nothing matches it, and nothing that is loaded and put away: "
                              f"looked for it from {os.getcwd()}")


def _file_like(path: str) -> str:
    """The file beside it that may be meant, as a further line of an error; or nothing."""
    folder, name = os.path.split(path)
    try:
        close = difflib.get_close_matches(name, os.listdir(folder or "."), 1)
    except OSError:
        return f": there is no folder {folder}" if folder else ""
    return f"\n  did you mean '{os.path.join(folder, close[0])}'?" if close else ""


def _framing(now: SourceOptions) -> list[str]:
    """How the source that is configured is framed: what is read in its place is framed so, too."""
    said = now.framing_set() if isinstance(now, FramedOptions) else {}
    return [f"source.{name}={json.dumps(value)}" for name, value in said.items()]


def settings_from(options: argparse.Namespace, dry: bool = False) -> Settings:
    """Return the settings that a command line means.

    Raises:
        ConfigError: see ``settings_of``.
    """
    query = getattr(options, "query", None)
    sets = list(options.set)
    if getattr(options, "workers", None) is not None:
        sets.append(f"parser.workers={options.workers}")
    if getattr(options, "monitor", False):
        sets.append("monitor.enabled=true")
    elif dry or query is not None:  # beside the service that the configuration is of, whose port is taken
        sets.insert(0, "monitor.enabled=false")
    return settings_of(
        options.target, sets, getattr(options, "state", None), dry=dry, query=query is not None,
        files=[*getattr(options, "files", ()), *(query or ())], flags=getattr(options, "flags", ()),
        follow=getattr(options, "follow", False), once=getattr(options, "once", False) and options.command == "run")
