"""One version: that of the package, of the changelog's newest entry, and of the images that the documents name."""

from __future__ import annotations

import re

import actors
from tests.loads import ROOT

SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_newest_version_of_the_changelog_is_that_of_the_package() -> None:
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (?:unreleased|\d{4}-\d\d-\d\d)$", CHANGELOG, re.MULTILINE)
    assert len(versions) == CHANGELOG.count("\n## ")
    assert versions[0] == actors.__version__
    assert versions == sorted(versions, key=lambda version: [int(part) for part in version.split(".")], reverse=True)


def test_each_version_has_its_changes_in_sections_in_this_order() -> None:
    for version in CHANGELOG.split("\n## ")[1:]:
        named = re.findall(r"^### (.*)$", version, re.MULTILINE)
        assert named
        assert named == [name for name in SECTIONS if name in named], version[:20]
        assert not re.search(r"^### .*\n+(?=#|\Z)", version, re.MULTILINE), f"an empty section in {version[:20]}"


def test_images_are_named_by_the_version() -> None:
    paths = [path for path in (ROOT / "docs" / "deploy").rglob("*") if path.is_file()]
    named = [tag for path in paths for tag in re.findall(r"\bthresher:(\d[\w.]*)", path.read_text(encoding="utf-8"))]
    assert len(named) >= 5
    assert set(named) == {actors.__version__}
