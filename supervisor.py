#!/usr/bin/env python3
"""Run a pipeline from a checkout: ``python supervisor.py run TARGET``; any other verb of ``thresher`` as well.

This is how a run is put together:

    actors.settings.load      TARGET, a file, the environment and --set become a checked Manifest
    actors.launcher.run       supervises the actors of that manifest to their end
    actors.console.report     says what became of every record, from what is durable

``actors.cli`` does that for every verb. It is in no package: what is installed is the command ``thresher``.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main() -> int:
    """Run the command line of this process; return its exit code."""
    sys.path[:] = [str(ROOT), *(path for path in sys.path if path != str(ROOT))]
    from actors.runtime import inherited

    inherited.take_over()
    from actors import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
