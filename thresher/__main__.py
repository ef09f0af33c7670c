"""``python -m thresher``: the command ``thresher``."""

import os
import sys

if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:  # by -m: a module of the user's is to be found last
    sys.path.append(sys.path.pop(0))

from actors.cli import main

sys.exit(main())
