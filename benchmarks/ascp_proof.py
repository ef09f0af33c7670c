#!/usr/bin/env python3
"""Draw what the benchmark of ascp has measured, as one page: old against new, batch against stream, time to the store.

    python benchmarks/ascp.py --end 20MB --stream 5MB --json > ascp.json
    python benchmarks/ascp_proof.py ascp.json [--out ascp.html]

The page holds all that it needs: the figures, D3, and what draws them (``ascp_proof.js``).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
WEB = HERE.parent / "actors" / "telemetry" / "web"

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>ascp: old against new, batch against stream</title>
<link rel="icon" href="data:,">
<style>{style}
.figure {{ font-size: 12px; }} .name {{ font-weight: 600; }} .ink {{ fill: var(--ink); }}
.range {{ stroke: var(--ink); stroke-width: 2; }}
rect.c1 {{ fill: var(--c1); }} rect.c2 {{ fill: var(--c2); }} rect.c3 {{ fill: var(--c3); }}
main {{ display: grid; gap: 14px; }}
</style>
</head>
<body>
<header><div class="who"><h1>ascp</h1><span id="same"></span></div>
<p id="machine" class="unit"></p></header>
<main>
<section class="card all"><div class="top"><h2>Lines to events: old against new</h2>
<span id="parsers-said" class="unit"></span></div><div id="parsers"></div></section>
<section class="card all" id="ways-card"><div class="top"><h2>To the store: batch against stream</h2>
<span class="unit">events, sessions and series, all guarantees; the plain loop makes events alone</span></div>
<div id="ways"></div></section>
<section class="card all" id="waits-card"><div class="top"><h2>From a client's sending to the store</h2>
<span id="waits-said" class="unit"></span></div><div id="waits"></div></section>
</main>
<script type="application/json" id="measured">{measured}</script>
<script>{d3}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def page_of(measured: str) -> str:
    """The page of what was measured.

    Args:
        measured: what ``benchmarks/ascp.py --json`` prints.
    """
    # in a script element nothing but its end is markup
    return PAGE.format(style=(WEB / "style.css").read_text(encoding="utf-8"),
                       measured=json.dumps(json.loads(measured)).replace("<", "\\u003c"),
                       d3=(WEB / "d3.min.js").read_text(encoding="utf-8"),
                       script=(HERE / "ascp_proof.js").read_text(encoding="utf-8"))


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, help="what the benchmark has printed with --json")
    parser.add_argument("--out", type=Path, help="the page; default: beside it, with .html")
    options = parser.parse_args()
    out = options.out or options.measured.with_suffix(".html")
    out.write_text(page_of(options.measured.read_text(encoding="utf-8")), encoding="utf-8")
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
