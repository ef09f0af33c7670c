"""The graph of a configuration: what is drawn is what would run, in a form that its readers take."""

from __future__ import annotations

import re
import shutil
import subprocess

import msgspec
import pytest

from actors.console.graph import DRAWINGS, Edge, Graph, Node, dot, graph_of, mermaid, text
from actors.settings import load

TARGETS = ["appsinstalled", "connections", "numbers"]


def graph(target: str, *sets: str) -> Graph:
    return graph_of(load(target, sets=sets).manifest)


def edges(drawn: Graph) -> set[tuple[str, str]]:
    return {(edge.start, edge.end) for edge in drawn.edges}


def test_a_pool_is_one_node_with_its_number_and_only_separate_checkers_are_drawn() -> None:
    fused = graph("appsinstalled", "parser.workers=3")
    assert Node("parser", "parser", "parser ×3 (parse and check)", 3) in fused.nodes
    assert "checker" not in {node.id for node in fused.nodes}
    separate = graph("appsinstalled", "parser.fused=false", "checker.workers=2")
    assert {("parser", "checker"), ("checker", "writer.idfa")} <= edges(separate)
    assert ("parser", "writer.idfa") not in edges(separate)


def test_what_is_emitted_comes_from_the_aggregator_and_every_writer_may_refuse() -> None:
    drawn = graph("connections")
    assert {("aggregator", "writer.report"), ("writer.report", "to.report"), ("aggregator", "state")} <= edges(drawn)
    assert ("parser", "writer.report") not in edges(drawn)
    assert {("writer.hours", "writer.dead_letters"), ("parser", "writer.dead_letters")} <= edges(drawn)


def test_the_edges_say_what_source_and_sinks_promise_and_in_which_order() -> None:
    by_ends = {(edge.start, edge.end): edge for edge in graph("appsinstalled").edges}
    assert by_ends["source", "reader"].guarantee.startswith("resumes at the last committed position")
    to_store = by_ends["writer.idfa", "to.idfa"]
    assert (to_store.order, to_store.guarantee) == ("source order", "idempotent by key: effectively once")
    assert by_ends["writer.dead_letters", "to.dead_letters"].order == "any order"


@pytest.mark.parametrize("target", TARGETS)
def test_every_edge_joins_nodes_that_are_there_and_every_drawing_has_them_all(target: str) -> None:
    drawn = graph(target, "monitor.enabled=true")
    names = {node.id for node in drawn.nodes}
    assert all({edge.start, edge.end} <= names for edge in drawn.edges)
    assert mermaid(drawn).count("n0") >= 2
    assert dot(drawn).count(" -> ") == len(drawn.edges)
    assert all(node.label.split(" (")[0] in text(drawn) for node in drawn.nodes)
    assert msgspec.to_builtins(drawn)["edges"][0]["from"] == "source"


def _odd() -> Graph:
    label = 'a "b" <c> & `d` #e; \\ {f} |g| [h]\n(i) end'
    return Graph('odd "name"', "/s", [Node("x", "source", label), Node("y", "server", "end")],
                 [Edge("x", "y", "items", "any order", label)])


def test_no_label_breaks_out_of_its_quotes_in_mermaid() -> None:
    for line in mermaid(_odd()).splitlines()[1:]:
        assert line.count('"') == 2, line
        inside = line.partition('"')[2].rpartition('"')[0].replace("<br/>", "")
        assert not re.search(r'["<>`\\]|#(?!\w+;)', inside), line


def test_no_label_breaks_out_of_its_quotes_in_dot() -> None:
    for line in dot(_odd()).splitlines():
        assert re.sub(r'"(?:[^"\\]|\\.)*"', "", line).count('"') == 0, line


@pytest.mark.parametrize("target", [*TARGETS, "odd"])
def test_graphviz_draws_it(target: str) -> None:
    program = shutil.which("dot")
    if program is None:
        pytest.skip("dot is not installed (apt-get install graphviz)")
    drawn = _odd() if target == "odd" else graph(target)
    done = subprocess.run([program, "-Tsvg"], input=DRAWINGS["dot"](drawn), capture_output=True, text=True, timeout=240,
                          check=False)
    assert done.returncode == 0, done.stderr
    assert "<svg" in done.stdout
