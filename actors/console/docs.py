"""``thresher docs``: the pages of the documentation, which travel in the package.

A wheel has them in ``actors/pages``, where its build puts them (``setup.py``); a checkout in ``docs``.
"""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from actors.runtime.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
#: Where the pages are: in the package, or beside it in a checkout.
PLACES = (_PACKAGE / "pages", _PACKAGE.parent / "docs")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what can be said."""
    parser.add_argument("topic", metavar="TOPIC", nargs="?", help="the page to print; default: list them")


def main(options: argparse.Namespace) -> int:
    """Print a page, or the list of pages; return the exit code.

    Raises:
        ConfigError: there is no such page.
    """
    pages = topics()
    if options.topic is None:
        width = max(map(len, pages), default=0)
        for topic, path in pages.items():
            print(f"{topic:<{width}}  {_title(path)}")
        return 0
    name = options.topic.removeprefix("docs/").removesuffix(".md")
    if name not in pages:
        close = difflib.get_close_matches(name, pages, 1)
        raise ConfigError(f"thresher docs {options.topic}: no such page"
                          + (f"\n  did you mean {close[0]!r}?" if close else "") + f"\n  pages: {', '.join(pages)}")
    print(pages[name].read_text(encoding="utf-8"), end="")
    return 0


def topics() -> dict[str, Path]:
    """The pages that there are, by topic."""
    folder = next((place for place in PLACES if place.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.md"))}


def _title(page: Path) -> str:
    with page.open(encoding="utf-8") as lines:
        return next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), "")
