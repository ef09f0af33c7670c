"""``ranked`` with Redis in the place of its file of JSON lines, a key for each minute."""

from __future__ import annotations

import msgspec

from tests.pipelines import ranked, ranked_topic
from thresher.sinks import Redis

PIPELINE = msgspec.structs.replace(
    ranked.PIPELINE, name="ranked-kept", windows=ranked_topic.PIPELINE.windows,
    sinks={"top": Redis(url="redis://127.0.0.1:1")}, panel=None, feeds={})
