"""``thresher explain``: what a configuration means, before it runs: the guarantee of each path, and who runs."""

from __future__ import annotations

from typing import Any

from actors.runtime.manifest import Manifest
from actors.runtime.topology import expand


def explain(manifest: Manifest) -> dict[str, Any]:
    """What is known before the run, as a map."""
    source = manifest.source.load()
    sinks = {name: component.load() for name, component in manifest.sinks.items()}
    letters = manifest.dead_letters.load()
    return {
        "name": manifest.name,
        "state": manifest.state,
        "source": {"reads": source.describe(), "guarantee": source.guarantee},
        "sinks": {
            name: {"writes": options.describe(), "guarantee": options.guarantee,
                   "order": "source order" if options.ordered else "any order"}
            for name, options in sinks.items()
        },
        "dead_letters": {"writes": letters.describe(), "guarantee": letters.guarantee},
        "aggregates": "exactly once: state and positions in one transaction" if manifest.folds else "none",
        "actors": [spec.name for spec in expand(manifest)],
        "after_a_crash": (
            f"the window is done again: at most {manifest.flow.window_batches} batches of about "
            f"{manifest.flow.batch_bytes // 1024} KiB; every effect of it that is durable already is not repeated, "
            "or repeated without a trace"),
        "order": "of two values for one key the later in source order stands, whatever the number of workers",
    }


def render(data: dict[str, Any]) -> str:
    """The same as text."""
    lines = [f"{data['name']}, state in {data['state']}", "",
             f"reads   {data['source']['reads']}", f"        {data['source']['guarantee']}"]
    for name, sink in data["sinks"].items():
        lines += [f"writes  {name}: {sink['writes']}, in {sink['order']}", f"        {sink['guarantee']}"]
    lines += [f"rejects {data['dead_letters']['writes']}", f"        {data['dead_letters']['guarantee']}",
              f"folds   {data['aggregates']}", "",
              f"order   {data['order']}", f"crash   {data['after_a_crash']}", "",
              "actors  " + ", ".join(data["actors"])]
    return "\n".join(lines)
