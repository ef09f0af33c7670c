"""``thresher schema``: the JSON Schema of configuration files, by which editors complete and check keys.

    #:schema ./thresher.schema.json       the first line of a file, for Taplo and "Even Better TOML"

A value that holds a reference (``${env:NAME}``) can come to anything, so it is taken everywhere. Nothing is required
but ``app``: what a file leaves out may come from the application, the environment or ``--set``. For an application that
is known the schema also knows its sinks, its options, and what a source or a sink without a ``type`` is.

What a schema cannot say is left to ``thresher lint``: what one option demands of another, and what a type of one's own
takes (``module:Class``).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from actors.console import catalogue
from actors.console.catalogue import Section
from actors.runtime.errors import ConfigError, plain_reason
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import SinkOptions, SourceOptions
from actors.settings import load

#: A part of a schema.
Part = dict[str, Any]

_DIALECT = "http://json-schema.org/draft-07/schema#"
_APP = "The application: one that ships, or a module of yours that has a PIPELINE, dotted or as a file."
_STATE = "Where positions, dead letters, aggregates and embedded stores are kept; var/NAME if it is not given."
_CUSTOM = "A type of your own: module:Class, the options struct of a source or a sink."
_REFERENCE: Part = {"type": "string", "pattern": r"\$\{(env|file):[^}]+\}",
                    "description": "A reference: ${env:NAME} or ${file:/path}."}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what can be said."""
    parser.add_argument("target", metavar="TARGET", nargs="?",
                        help="also know the sinks and the options of this application, e.g. of one of yours")
    parser.add_argument("--out", metavar="FILE", help="write it to this file; default: standard output")


def main(options: argparse.Namespace) -> int:
    """Print the schema, or write it to a file; return the exit code.

    Raises:
        ConfigError: the target is none, or the file cannot be written.
    """
    known = catalogue.pipelines()
    if options.target is not None:
        settings = load(options.target)
        known[str(settings.shown["app"])] = settings.pipeline
    text = render(schema(known))
    if options.out is None:
        print(text, end="")
        return 0
    try:
        Path(options.out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {options.out}: expected a file to write to: {plain_reason(error)}") from error
    print(f"{options.out}: written; editors look for it where the first line of a configuration says, e.g.\n"
          f"  #:schema ./{Path(options.out).name}", file=sys.stderr)
    return 0


def render(data: Part) -> str:
    """The schema as text, the same for the same options."""
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def schema(known: dict[str, Pipeline]) -> Part:
    """The schema of a configuration file.

    Args:
        known: applications whose sinks and options are known, by what ``app`` says.
    """
    unions = {"source": catalogue.sources(), "sink": catalogue.sinks(), "letters": catalogue.letters()}
    defs: Part = {"reference": _REFERENCE, "custom": {
        "type": "object", "description": _CUSTOM, "required": ["type"],
        "properties": {"type": {"type": "string", "pattern": ":", "description": _CUSTOM}}}}
    for union, kinds in unions.items():
        defs |= {f"{union}.{kind.name}": _struct(kind, kind.name) for kind in kinds}
        defs[union] = _union([f"{union}.{kind.name}" for kind in kinds] + ["custom"])
    defs |= {section.name: _struct(section) for section in catalogue.sections()}
    defs |= {f"options.{name}": _struct(catalogue.section_of(name, type(pipeline.options)))
             for name, pipeline in known.items() if pipeline.options is not None}
    return {
        "$schema": _DIALECT, "title": "Thresher", "description": "The configuration of a Thresher pipeline.",
        "type": "object", "required": ["app"], "additionalProperties": False,
        "properties": {
            "app": {"type": "string", "description": _APP, "examples": sorted(known)},
            "state": {"type": "string", "minLength": 1, "description": _STATE},
            "source": _ref("source"),
            "sinks": {"type": "object", "description": "The sinks, by the names that the application gives them.",
                      "additionalProperties": _ref("sink")},
            "dead_letters": _ref("letters"),
            "options": {"type": "object", "description": "The application's own options."},
            **{section.name: _ref(section.name) for section in catalogue.sections()}},
        "allOf": [_of_application(name, pipeline, unions) for name, pipeline in known.items()],
        "$defs": defs}


def _of_application(name: str, pipeline: Pipeline, unions: dict[str, list[Section]]) -> Part:
    """What is known once ``app`` says this."""
    sinks = {sink: _untyped("sink", options, unions) for sink, options in pipeline.sinks.items()}
    narrowed = {
        "source": _untyped("source", pipeline.source, unions),
        "dead_letters": _untyped("letters", pipeline.dead_letters, unions),
        "sinks": {"type": "object", "properties": sinks, "additionalProperties": False},
        "options": False if pipeline.options is None else _ref(f"options.{name}")}
    return {"if": {"properties": {"app": {"const": name}}, "required": ["app"]}, "then": {"properties": narrowed}}


def _untyped(union: str, options: Any, unions: dict[str, list[Section]]) -> Part:
    """What a source or sink of an application is when the file says no type: the application's own, or the one that an
    address chooses."""
    own = next((kind for kind in unions[union] if kind.kind is type(options)), None)
    if own is None:
        return {}
    name = _contract(own).addressed_by
    others = [kind for kind in unions[union] if kind is not own and name and _contract(kind).addressed_by == name]
    parts = [_ref(f"{union}.{own.name}")]
    if others:
        elsewhere = _address([f"{scheme}:" for kind in others for scheme in _contract(kind).schemes])
        parts = [{"allOf": parts, "not": {"required": [name], "properties": {name: elsewhere}}}]
    for kind in others:
        here = _address([*(f"{scheme}:" for scheme in _contract(kind).schemes), "${"])  # a reference may be anything
        parts.append({"required": [name], "properties": {name: here}, "allOf": [_ref(f"{union}.{kind.name}")]})
    return {"anyOf": [{"required": ["type"]}, *parts]}


def _contract(section: Section) -> type[SourceOptions | SinkOptions]:
    assert issubclass(section.kind, (SourceOptions, SinkOptions))
    return section.kind


def _address(beginnings: Iterable[str]) -> Part:
    """What an address has to be that chooses a kind; in a list each of them."""
    text: Part = {"type": "string", "pattern": f"^({'|'.join(map(re.escape, beginnings))})"}
    return {"anyOf": [text, {"type": "array", "minItems": 1, "items": text}]}


def _union(names: Iterable[str]) -> Part:
    return {"type": "object", "anyOf": [_ref(name) for name in names]}


def _ref(name: str) -> Part:
    return {"$ref": f"#/$defs/{name}"}


def _struct(section: Section, type_name: str = "") -> Part:
    """The options of a struct; with a ``type`` when it is a source or a sink."""
    said = {option.name: option for option in section.options}
    (_,), components = msgspec.json.schema_components([section.kind])
    made = components[section.kind.__name__]["properties"]
    properties: Part = {}
    if type_name:
        properties["type"] = {"const": type_name, "description": section.text}
    for name, part in made.items():
        form = {key: value for key, value in part.items() if key != "default"}
        if form != {"type": "string"}:
            form = {"anyOf": [form, _ref("reference")]}
        default = {"default": part["default"]} if "default" in part else {}
        properties[name] = {**form, "description": _plain(said[name]), **default}
    return {"type": "object", "description": section.text, "properties": properties, "additionalProperties": False}


def _plain(option: catalogue.Option) -> str:
    """What an editor shows beside the key."""
    form = option.form.replace("`", "")
    return f"{option.text} ({form}; {f'default: {option.default}' if option.default else 'has to be given'})"
