#!/usr/bin/env python3
"""Write what is made from the code: docs/configuration.md and its schema, docs/reference.md, a table of docs/sinks.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from actors.console import catalogue, reference, schema  # noqa: E402
from scripts import make_reference, make_sinks  # noqa: E402


def pages() -> dict[Path, str]:
    """What each generated file has to be."""
    return {ROOT / "docs" / "configuration.md": reference.render(),
            ROOT / "docs" / "reference.md": make_reference.render(),
            ROOT / "docs" / "sinks.md": make_sinks.page((ROOT / "docs" / "sinks.md").read_text(encoding="utf-8")),
            ROOT / "docs" / "thresher.schema.json": schema.render(schema.schema(catalogue.pipelines()))}


def main() -> None:
    """Write them."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
