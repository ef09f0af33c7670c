"""Fixtures for faults in the middle of a load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.troubled_loads import Gate


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Loads of this test wait in their middle until it is opened."""
    gate = Gate(tmp_path / "gate")
    monkeypatch.setenv("TROUBLE", gate.trouble)
    return gate
