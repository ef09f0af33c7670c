"""``python -m thresher``: the command ``thresher``."""

import sys

from actors.cli import main

sys.exit(main())
