"""Fixtures of the contracts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.databases import Place, postgres_place, sqlite_place
from tests.postgres import Postgres


@pytest.fixture
def in_postgres(tmp_path: Path, postgres: Postgres) -> Place:
    return postgres_place(tmp_path, postgres)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return sqlite_place(tmp_path)
    return postgres_place(tmp_path, request.getfixturevalue("postgres"))
