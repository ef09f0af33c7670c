"""``thresher echo``: the effective configuration as TOML, references to secrets as they were written."""

from __future__ import annotations

import json
from typing import Any


def render(shown: dict[str, Any]) -> str:
    """Return TOML: first the plain keys, then the tables."""
    lines = [f"{name} = {_value(value)}" for name, value in shown.items() if not isinstance(value, dict)]
    for name, table in shown.items():
        if isinstance(table, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value) if isinstance(value, str) else str(value)
