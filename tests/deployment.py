"""What lies in docs/deploy, read: units as options, manifests as maps."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from tests.loads import ROOT

DEPLOY = ROOT / "docs" / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
#: The command as the files have it, and what it is when nothing is installed.
INSTALLED = "/opt/thresher/bin/thresher"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def documents(name: str) -> list[dict[str, Any]]:
    """The objects of a manifest."""
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()))


def one(name: str, kind: str) -> dict[str, Any]:
    """The object of this kind in a manifest."""
    (found,) = [document for document in documents(name) if document["kind"] == kind]
    return found


def unit(name: str) -> dict[str, list[str]]:
    """The options of a unit, of all its sections, each with everything that is said of it."""
    options: dict[str, list[str]] = defaultdict(list)
    for line in (DEPLOY / name).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            options[key].append(value)
    return options


def merged(base: Any, patch: Any) -> Any:
    """A strategic merge patch applied: maps by key, null takes away, lists of named objects by name."""
    if isinstance(patch, dict) and isinstance(base, dict):
        together = {key: merged(base.get(key), value) for key, value in patch.items() if value is not None}
        return {key: value for key, value in (base | together).items() if key not in patch or patch[key] is not None}
    if isinstance(patch, list) and isinstance(base, list) and all("name" in part for part in [*base, *patch]):
        patches = {part["name"]: part for part in patch}
        return [merged(part, patches[part["name"]]) if part["name"] in patches else part for part in base]
    return patch


def configuration(folder: Path, text: str, paths: dict[str, str]) -> Path:
    """A TOML file as it is shipped, with these paths and addresses replaced; each has to be in it."""
    for written, here in paths.items():
        assert written in text
        text = text.replace(written, here)
    path = folder / "pipeline.toml"
    path.write_text(text)
    return path
