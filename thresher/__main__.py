"""The command ``thresher``, also as ``python -m thresher``."""

import contextlib
import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    with contextlib.suppress(FileNotFoundError):  # the current folder has been removed: the command says so
        if sys.path[:1] == [os.getcwd()]:  # by -m: a module of the user's is to be found last
            sys.path.append(sys.path.pop(0))

from actors.runtime import inherited

inherited.take_over()  # before anything is imported that takes time


def main() -> int:
    """Run the command line of this process; return its exit code."""
    from actors import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
