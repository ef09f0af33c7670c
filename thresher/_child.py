"""The process of a run that ``thresher.run`` has begun: the command ``thresher run``, bound to its caller's life."""

from __future__ import annotations

import signal
import sys

from actors.__main__ import die_with
from actors.runtime import inherited


def main() -> int:
    """Run the command line of this process: the caller's pid, then the words; return the exit code.

    When the caller dies the run is drained, as by SIGTERM.
    """
    inherited.take_over()
    die_with(int(sys.argv[1]), signal.SIGTERM)
    from actors import cli

    return cli.main(sys.argv[2:])
