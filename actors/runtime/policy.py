"""What the supervision tree goes by."""

from __future__ import annotations

import msgspec

from actors.runtime.manifest import Manifest
from actors.runtime.sections import RecycleOptions, RestartOptions, RunOptions, WatchOptions


class Policy(msgspec.Struct, frozen=True):
    """What the tree goes by.

    Attributes:
        restart: intensities and delays.
        limits: how long outages, drain and stop may take.
        watch: when an actor is taken for hung.
        recycle: when a worker is replaced, by pool.
    """

    restart: RestartOptions = RestartOptions()
    limits: RunOptions = RunOptions()
    watch: WatchOptions = WatchOptions()
    recycle: dict[str, RecycleOptions] = {}


def policy_of(manifest: Manifest) -> Policy:
    """The policy of a run."""
    return Policy(manifest.restart, manifest.limits, manifest.watch,
                  {"parser": manifest.parser, "checker": manifest.checker})
