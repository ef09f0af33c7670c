"""The process of a run that ``thresher.run`` has begun: the command ``thresher run``, bound to its caller's life."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

_PR_SET_PDEATHSIG = 1


def main(request: dict[str, Any]) -> int:
    """Run a command line; return its exit code. When the caller dies the run is drained, as by SIGTERM.

    Args:
        request: ``words`` of the command line, and ``parent``: pid of the caller.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != request["parent"]:  # he died before the line above
        return 1
    from actors import cli

    return cli.main(request["words"])
