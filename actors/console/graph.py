"""``thresher graph``: the actors of a configuration and what goes between them, as text, Mermaid or DOT.

    source ──▶ reader ──▶ parser ×N ──▶ [checker ×N] ──▶ aggregator ×N ──▶ writer.NAME ──▶ server
                                                     └─▶ writer.NAME, writer.dead_letters

A pool is one node. Each edge says what a crash can do to what goes over it, and in which order it arrives; what is
drawn comes from the same values as the run itself (``topology.expand``, the options of sources and sinks).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator

import msgspec

from actors.console.commandline import target_options
from actors.console.inputs import settings_from
from actors.runtime.manifest import Manifest
from actors.runtime.ports import SinkOptions
from actors.runtime.printable import one_line
from actors.runtime.topology import DEAD_LETTERS, MONITOR, downstream, expand, stage_of, writer_name

_HELD = "held upstream until all that is made of it is durable; delivered again if it was lost"
_STATE = "state"
_IN_ORDER, _ANY_ORDER = "source order", "any order"
#: Characters of a guarantee in one line of a drawing.
_WIDTH = 44
#: Characters that mean something to Mermaid, or to the HTML that it makes, as its entities.
_MERMAID = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;", "\\": "#92;"}


class Node(msgspec.Struct, frozen=True):
    """An actor, a pool of them, or something outside.

    Attributes:
        id: its name; the pool's when there are ``count`` of them.
        kind: its stage, or ``source``, ``server`` or ``store`` for what is outside.
        label: what people are shown.
    """

    id: str
    kind: str
    label: str
    count: int = 1


class Edge(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """What goes from one node to another: ``carries``, in which order, and what a crash can do to it."""

    start: str
    end: str
    carries: str
    order: str
    guarantee: str


class Graph(msgspec.Struct, frozen=True):
    """Nodes in the order of the flow, and the edges between them."""

    name: str
    state: str
    nodes: list[Node]
    edges: list[Edge]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said to the verb."""
    target_options(parser)
    parser.add_argument("--format", choices=("text", "mermaid", "dot"), default="text",
                        help="text: for a terminal; mermaid: for Markdown; dot: for Graphviz; default: text")
    parser.add_argument("--json", action="store_true", help="nodes and edges as one JSON object")
    parser.epilog = ("A pool of processes is one node with its number (x2). Nothing is run and no server is reached. "
                     "Example: thresher graph appsinstalled --format dot | dot -Tsvg > flow.svg")


def main(options: argparse.Namespace) -> int:
    """Print the graph."""
    graph = graph_of(settings_from(options).manifest)
    print(json.dumps(msgspec.to_builtins(graph)) if options.json else DRAWINGS[options.format](graph))
    return 0


def graph_of(manifest: Manifest) -> Graph:
    """The graph of a configuration."""
    return Graph(manifest.name, manifest.state, list(_nodes(manifest)), list(_edges(manifest)))


def _nodes(manifest: Manifest) -> Iterator[Node]:
    counts: dict[str, int] = {}
    for spec in reversed(expand(manifest)):
        counts[_group(spec.name)] = counts.get(_group(spec.name), 0) + 1
    yield Node("source", "source", manifest.source.load().describe())
    for name, count in counts.items():
        label = f"{name} ×{count}" if count > 1 else name
        if name == "parser" and manifest.parser.fused:
            label += " (parse and check)"
        yield Node(name, stage_of(name), label, count)
    if manifest.folds:
        yield Node(_STATE, "store", "aggregates, in the state directory")
    for sink, options in _sinks(manifest):
        yield Node(_outside(sink), "store" if sink == DEAD_LETTERS else "server", options.describe())


def _edges(manifest: Manifest) -> Iterator[Edge]:
    source = manifest.source.load()
    yield Edge("source", "reader", "raw bytes", _IN_ORDER, source.promises())
    yield Edge("reader", "parser", "batches of records", _ANY_ORDER, _HELD)
    if not manifest.parser.fused:
        yield Edge("parser", "checker", "batches of values", _ANY_ORDER, _HELD)
    worker = "parser" if manifest.parser.fused else "checker"
    if manifest.folds:
        yield Edge(worker, "aggregator", "partial aggregates", _IN_ORDER, _HELD)
        yield Edge("aggregator", _STATE, "aggregates", _IN_ORDER,
                   "exactly once: state and positions in one transaction")
    for sink, options in _sinks(manifest):
        giver = "aggregator" if sink in manifest.emit_sinks else worker
        carries = "rejects" if sink == DEAD_LETTERS else "emitted rows" if giver == "aggregator" else "items"
        order = _IN_ORDER if options.ordered else _ANY_ORDER
        yield Edge(giver, writer_name(sink), carries, order, _HELD)
        yield Edge(writer_name(sink), _outside(sink), carries, order, options.promises())
    for sink in manifest.sinks:
        if DEAD_LETTERS in downstream(manifest, stage_of(writer_name(sink))):
            yield Edge(writer_name(sink), writer_name(DEAD_LETTERS), "refusals", _ANY_ORDER, _HELD)
    if manifest.folds and manifest.emit_sinks:
        yield Edge("aggregator", writer_name(DEAD_LETTERS), "rejects", _ANY_ORDER, _HELD)


def _sinks(manifest: Manifest) -> Iterator[tuple[str, SinkOptions]]:
    for name, component in (*manifest.sinks.items(), (DEAD_LETTERS, manifest.dead_letters)):
        yield name, component.load()


def _group(actor: str) -> str:
    """What an actor is drawn as: writers each alone, others with the rest of their stage."""
    return actor if actor.startswith("writer.") else actor.partition(".")[0]


def _outside(sink: str) -> str:
    return f"to.{sink}"


# Drawings -----------------------------------------------------------------------------------------------------------


def text(graph: Graph) -> str:
    """For a terminal: each node, and below it where it sends."""
    labels = {node.id: node.label for node in graph.nodes}
    ends = {edge.start: edge for edge in graph.edges if edge.end.startswith("to.")}
    lines = [f"{graph.name}, state in {graph.state}", ""]
    for node in graph.nodes:
        edges = [edge for edge in graph.edges if edge.start == node.id and edge.carries != "refusals"]
        if node.kind in ("server", "store") or node.id in ends:
            continue
        lines.append(f"{node.label}, which only looks" if node.id == MONITOR else node.label)
        for number, edge in enumerate(edges, 1):
            is_last = number == len(edges)
            end = ends.get(edge.end)
            to = labels[edge.end] if end is None else f"{labels[edge.end]} ──▶ {labels[end.end]}"
            lines.append(f" {'└' if is_last else '├'}─▶ {to}")
            guarantee = edge.guarantee if end is None else end.guarantee
            lines.append(f" {' ' if is_last else '│'}     {edge.carries}, {edge.order}; {guarantee}")
        lines.append("")
    if any(edge.carries == "refusals" for edge in graph.edges):
        lines += [f"What a sink refuses for good goes from its writer to {writer_name(DEAD_LETTERS)} too.", ""]
    return "\n".join(map(one_line, lines)).rstrip()


def mermaid(graph: Graph) -> str:
    """A flowchart for Markdown."""
    ids = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        left, right = {"source": ("([", "])"), "server": ("[(", ")]"), "store": ("[(", ")]")}.get(node.kind, ("[", "]"))
        lines.append(f'    {ids[node.id]}{left}"{_for_mermaid(node.label)}"{right}')
    for edge in graph.edges:
        label = "<br/>".join(map(_for_mermaid, _label(edge)))
        arrow = "-.->" if _is_aside(edge) else "-->"
        lines.append(f'    {ids[edge.start]} {arrow}|"{label}"| {ids[edge.end]}')
    return "\n".join(lines)


def dot(graph: Graph) -> str:
    """For Graphviz."""
    shapes = {"source": "oval", "server": "cylinder", "store": "cylinder"}
    lines = [f"digraph {_for_dot(graph.name)} {{", "    rankdir=LR;", '    node [fontname="sans-serif", shape=box];',
             '    edge [fontname="sans-serif", fontsize=9];']
    for node in graph.nodes:
        more = f", shape={shapes[node.kind]}" if node.kind in shapes else ", peripheries=2" if node.count > 1 else ""
        lines.append(f"    {_for_dot(node.id)} [label={_for_dot(node.label)}{more}];")
    for edge in graph.edges:
        style = ", style=dashed" if _is_aside(edge) else ""
        lines.append(f"    {_for_dot(edge.start)} -> {_for_dot(edge.end)} "
                     f"[label={_for_dot(*_label(edge))}{style}];")
    return "\n".join([*lines, "}"])


#: What ``--format`` can say.
DRAWINGS: dict[str, Callable[[Graph], str]] = {"text": text, "mermaid": mermaid, "dot": dot}


def _is_aside(edge: Edge) -> bool:
    return edge.carries in ("refusals", "rejects")


def _label(edge: Edge) -> list[str]:
    """The lines on an arrow: within the run what goes there, at its ends also what is promised."""
    lines = [f"{edge.carries}, {edge.order}"]
    if edge.guarantee == _HELD:
        return lines
    line = ""
    for word in edge.guarantee.split():
        if line and len(line) + len(word) >= _WIDTH:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]


def _for_mermaid(label: str) -> str:
    return "".join(_MERMAID.get(each, each if each.isprintable() else " ") for each in label)


def _for_dot(*lines: str) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join("".join(each if each.isprintable() else " " for each in line) for line in escaped) + '"'
