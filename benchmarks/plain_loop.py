#!/usr/bin/env python3
"""What Thresher is measured against: the plain loop in one process that a competent engineer writes first.

gzip line by line, split, protobuf, pymemcache ``set_many`` in batches of 50 for each device type. It checks what such
scripts check, renames nothing, and has none of the guarantees.
"""

from __future__ import annotations

import gzip
import sys

from pymemcache.client.base import Client

from actors.apps.appsinstalled.appsinstalled_pb2 import UserApps

BATCH = 50


def load(paths: list[str], servers: dict[str, str]) -> tuple[int, int]:
    """Load the files into the servers; return how many lines were stored and how many were bad."""
    clients = {name: Client(address, connect_timeout=1, timeout=3) for name, address in servers.items()}
    batches: dict[str, dict[str, bytes]] = {name: {} for name in servers}
    processed = errors = 0
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                parts = line.strip().split("\t")
                if len(parts) != 5 or parts[0] not in batches:
                    errors += 1
                    continue
                kind, device, lat, lon, raw_apps = parts
                try:
                    apps = [int(app) for app in raw_apps.split(",")]
                    message = UserApps(apps=apps, lat=float(lat), lon=float(lon))
                except ValueError:
                    errors += 1
                    continue
                batch = batches[kind]
                batch[f"{kind}:{device}"] = message.SerializeToString()
                processed += 1
                if len(batch) >= BATCH:
                    errors += len(clients[kind].set_many(batch, noreply=False))
                    batch.clear()
    for kind, batch in batches.items():
        errors += len(clients[kind].set_many(batch, noreply=False))
        clients[kind].close()
    return processed, errors


if __name__ == "__main__":
    print(*load(sys.argv[5:], dict(zip(("idfa", "gaid", "adid", "dvid"), sys.argv[1:5], strict=True))))
