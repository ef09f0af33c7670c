#!/usr/bin/env python3
"""Print the first record of an embedded store, decoded: ``show_record.py DIR``."""

from __future__ import annotations

import sys
from pathlib import Path

from actors.apps.appsinstalled.appsinstalled_pb2 import UserApps
from actors.sinks.lmdb import read_lmdb


def main() -> int:
    """Print one record; return the exit code."""
    if len(sys.argv) != 2:
        print("usage: show_record.py STORE.lmdb", file=sys.stderr)
        return 2
    for key, value in read_lmdb(Path(sys.argv[1])):
        record = UserApps.FromString(value)
        print(f"  {key.decode(errors='replace')}: lat {record.lat}, lon {record.lon}, {len(record.apps)} apps: "
              f"{', '.join(map(str, record.apps[:8]))}{' ...' if len(record.apps) > 8 else ''}")
        return 0
    print("  (the store is empty)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
