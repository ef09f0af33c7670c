"""The files of the dashboard, as they lie in ``web/``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

WEB = Path(__file__).parent / "web"
_KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
          ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon",
          ".woff2": "font/woff2", ".json": "application/json", ".txt": "text/plain; charset=utf-8"}


class Page(msgspec.Struct, frozen=True):
    """A file: its bytes, its type, and what it is known by in caches."""

    data: bytes
    kind: str
    etag: str


class Pages:
    """The files of a folder, read when they are asked for and when they have changed.

    Args:
        folder: where they lie; no folder below it is looked into.
    """

    def __init__(self, folder: Path = WEB) -> None:
        self._folder = folder
        self._read: dict[str, tuple[int, Page]] = {}

    def get(self, name: str) -> Page | None:
        """Return a file by its name; None when there is none, or none that may be seen."""
        path = self._folder / name
        kind = _KINDS.get(path.suffix)
        if kind is None or Path(name).name != name or name.startswith("."):
            return None
        try:
            changed = path.stat().st_mtime_ns
            known = self._read.get(name)
            if known is None or known[0] != changed:
                data = path.read_bytes()
                known = self._read[name] = (changed, Page(data, kind, hashlib.sha256(data).hexdigest()[:16]))
        except (OSError, ValueError):  # ValueError: no name of a file at all
            return None
        return known[1]
