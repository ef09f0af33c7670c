"""What the documents link to, and the files that they name, are there; and each document can be reached."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.loads import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
#: Of the past: what it names may be gone.
HISTORY = ROOT / "CHANGELOG.md"
_TREES = "actors|benchmarks|config|docs|protos|scripts|tests|thresher"
_TOP = r"(?:supervisor\.py|setup\.cfg|ruff\.toml|pyproject\.toml|\.ci/run|[A-Z]+\.md|LICENSE)"


def prose_of(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def links_of(text: str) -> list[str]:
    """The targets of links and pictures that lead to something of ours."""
    prose = re.sub(r"`[^`\n]*`", "", prose_of(text))
    found = [*re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", prose),
             *re.findall(r"^\s*\[[^\]]+\]:\s*<?(\S+?)>?\s*$", prose, re.MULTILINE)]
    return [target for target in found if not re.match(r"[a-z][a-z+.-]*:", target)]


def names_of(text: str) -> list[str]:
    """The files and folders of ours that are named in code type, from the root of the repository."""
    spans = re.findall(r"`([^`\n]+)`", prose_of(text))
    words = [word.split("::")[0].split("#")[0] for span in spans for word in span.split()]
    return [word for word in words if re.fullmatch(rf"(?:(?:{_TREES})/[\w./@-]*|{_TOP})", word)]


def anchors_of(text: str) -> set[str]:
    """The anchors of the headings, as they are made where Markdown is shown; the second of two equal ones has a -1."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*?)\s*$", prose_of(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        numbered = (name for name in (anchor, *(f"{anchor}-{number}" for number in range(1, 100))) if name not in found)
        found.add(next(numbered))
    return found


def problem_of(document: Path, target: str) -> str:
    """Why a link leads nowhere; empty when it does lead somewhere."""
    path, _, anchor = target.partition("#")
    aim = Path(os.path.normpath(document.parent / path)) if path else document
    if not aim.is_relative_to(ROOT) or not aim.exists():
        return f"{document.relative_to(ROOT)}: {target}: there is no such file"
    if anchor and aim.suffix == ".md" and anchor not in anchors_of(aim.read_text(encoding="utf-8")):
        return f"{document.relative_to(ROOT)}: {target}: there is no such heading"
    return ""


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_id)
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    targets = links_of(document.read_text(encoding="utf-8"))
    assert [problem for target in targets if (problem := problem_of(document, target))] == []


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path != HISTORY], ids=_id)
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    names = names_of(document.read_text(encoding="utf-8"))
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_every_document_is_named_by_another() -> None:
    for document in DOCUMENTS:
        others = [other for other in DOCUMENTS if other != document]
        named = {(ROOT / name).resolve() for other in others for name in names_of(other.read_text(encoding="utf-8"))}
        linked = {(other.parent / target.partition("#")[0]).resolve()
                  for other in others for target in links_of(other.read_text(encoding="utf-8"))}
        reached = {document, document.parent} & (named | linked)
        assert reached or document == ROOT / "README.md", f"nothing leads to {document.relative_to(ROOT)}"


def test_links_are_found_and_what_is_shown_as_code_is_none() -> None:
    text = "[a](b.md) ![c](d/e.png \"f\") [g](https://h/i) [j](#k) `[l](m.md)`\n```\n[n](o.md)\n```\n[p]: q.md\n"
    assert links_of(text) == ["b.md", "d/e.png", "#k", "q.md"]


def test_files_are_found_among_what_is_shown_as_code() -> None:
    text = ("`docs/a.md` `python scripts/b.py --x` `tests/c.py::test_d` `setup.cfg` `var/e` `x.py` docs/f.md "
            "`docs/*.md` `CHANGELOG.md`\n```\n`docs/g.md`\n```\n")
    assert names_of(text) == ["docs/a.md", "scripts/b.py", "tests/c.py", "setup.cfg", "CHANGELOG.md"]


def test_a_link_that_leads_nowhere_is_found() -> None:
    readme = ROOT / "README.md"
    assert problem_of(readme, "docs/tutorial.md") == problem_of(readme, "#the-tree") == ""
    assert problem_of(readme, "docs/tutorials.md").endswith("there is no such file")
    assert problem_of(readme, "../elsewhere.md").endswith("there is no such file")
    assert problem_of(ROOT / "docs/tutorial.md", "../README.md#the-trees").endswith("there is no such heading")


def test_headings_become_anchors() -> None:
    assert anchors_of("# One `two`, three\n## A-b\n```\n# no\n```\n## A-b\n") == {"one-two-three", "a-b", "a-b-1"}
