"""``treacherous`` with a panel whose drawing takes for ever. For tests of the monitor."""

from __future__ import annotations

import threading

import msgspec

from tests.pipelines import treacherous
from thresher import Aggregates, Curves, Panel


def draw(aggregates: Aggregates) -> Curves:
    """Never return."""
    threading.Event().wait()
    return Curves(values={})


PIPELINE = msgspec.structs.replace(treacherous.PIPELINE, panel=Panel(title="stuck", draw=draw))
