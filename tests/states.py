"""The states that older versions left behind, unpacked where a test may go on from them."""

from __future__ import annotations

import tarfile
from pathlib import Path

DATA = Path(__file__).resolve().parent / "data"
OLDER = sorted(path.name for path in DATA.glob("state-*"))


def unpack(version: str, name: str, folder: Path) -> Path:
    """Unpack a state with its input; return the folder to run in, whose ``state`` is the state directory."""
    with tarfile.open(DATA / version / f"{name}.tar.gz") as packed:
        packed.extractall(folder, filter="data")
    return folder / name
