"""``thresher keys``: new keys for ``links.transport = "tcp"``, as a section of a configuration."""

from __future__ import annotations

import argparse
import json

from actors.runtime.mailbox import make_keys


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what can be said."""
    parser.add_argument("--json", action="store_true")
    parser.epilog = ("Two pairs, made here and kept nowhere. Who has the two that end in _secret is let in: give them "
                     "as ${env:NAME} or ${file:PATH}, not in the file itself.")


def main(options: argparse.Namespace) -> int:
    """Print two pairs of keys; return the exit code."""
    keys = make_keys()
    if options.json:
        print(json.dumps(keys))
    else:
        print("\n".join(["[links]", 'transport = "tcp"', *(f'{name} = "{key}"' for name, key in keys.items())]))
    return 0
