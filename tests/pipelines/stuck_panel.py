"""``treacherous`` with a panel whose drawing takes for ever. For tests of the monitor."""

from __future__ import annotations

import threading

import msgspec

from thresher import Aggregates, Curves, Panel
from tests.pipelines import treacherous


def draw(aggregates: Aggregates) -> Curves:
    """Never return."""
    threading.Event().wait()
    return Curves(values={})


PIPELINE = msgspec.structs.replace(treacherous.PIPELINE, panel=Panel(title="stuck", draw=draw))
