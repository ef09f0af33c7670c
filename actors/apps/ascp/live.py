"""ascp-live: the same as ``ascp``, of lines that hosts send over TCP (rsyslog, ``nc``), as they come.

For standard input or a topic: ``--set source.type=stdin``, or a configuration (``config/ascp-live.toml``).
"""

from __future__ import annotations

import msgspec

from actors.apps.ascp import PIPELINE as BATCH
from thresher.sources import Tcp

PIPELINE = msgspec.structs.replace(BATCH, name="ascp-live", source=Tcp(port=5140, max_clients=64))
