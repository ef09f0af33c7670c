#!/usr/bin/env python3
"""memc_load: the application appsinstalled behind the options of the well-known loaders.

Exit codes: 0 done; 1 failure; 2 usage; 3 stopped with work left (a server down), run again to resume; 4 too many bad
lines in a file; 78 invalid configuration.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence

from actors import cli
from actors.apps.appsinstalled import DEVICE_TYPES, encode_user_apps

_PORTS = {"idfa": 33013, "gaid": 33014, "adid": 33015, "dvid": 33016}
_SAMPLES = (
    "idfa\t1rfw452y52g2gq4g\t55.55\t42.42\t1423,43,567,3,7,23",
    "gaid\t7rfw452y52g2gq4g\t55.55\t42.42\t7423,424",
    "adid\t9rfw452y52g2gq4g\t-104.68583244\t-0.0\t0,127,128,16384,4294967295",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the loader; return its exit code."""
    options = _parser().parse_args(argv)
    if options.test:
        return round_trip()
    command = ["run", "appsinstalled", "--set", f"source.pattern={json.dumps(options.pattern)}"]
    for name in DEVICE_TYPES:
        command += ["--set", f"sinks.{name}.type=memcached",
                    "--set", f"sinks.{name}.server={json.dumps(getattr(options, name))}"]
    if options.workers is not None:
        command += ["--set", f"parser.workers={options.workers}"]
    if options.state:
        command += ["--state", options.state]
    if options.dry:
        command += ["--dry-run"]
    for text in options.set:
        command += ["--set", text]
    if not options.log:
        return cli.main(command)
    with open(options.log, "a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        return cli.main(command)


def round_trip() -> int:
    """Compare our encoding of samples with protobuf's, and decode it again."""
    from actors.apps.appsinstalled.appsinstalled_pb2 import UserApps

    for sample in _SAMPLES:
        _, _, lat, lon, apps = sample.split("\t")
        ids = [int(app) for app in apps.split(",")]
        message = UserApps(apps=ids, lat=float(lat), lon=float(lon))
        packed = encode_user_apps(ids, float(lat), float(lon))
        if packed != message.SerializeToString() or UserApps.FromString(packed) != message:
            print(f"protobuf round trip failed for: {sample}", file=sys.stderr)
            return 1
    print(f"protobuf round trip: {len(_SAMPLES)} samples, all equal")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memc_load", description="Load tracker logs into one memcached server per device type.",
        epilog="Finished files are renamed by a dot before the name; a file that failed, or whose server was down, "
               "keeps its name.")
    parser.add_argument("-t", "--test", action="store_true", help="compare encodings with protobuf's and exit")
    parser.add_argument("-l", "--log", metavar="FILE", help="append the output to a file, as JSON lines")
    parser.add_argument("--dry", action="store_true", help="do everything but write, rename nothing")
    parser.add_argument("--pattern", default="data/appsinstalled/*.tsv.gz", help="default: %(default)s")
    for name in DEVICE_TYPES:
        parser.add_argument(f"--{name}", default=f"127.0.0.1:{_PORTS[name]}", metavar="HOST:PORT",
                            help="default: %(default)s")
    parser.add_argument("-w", "--workers", type=int, metavar="N", help="parser processes; default: 2")
    parser.add_argument("--state", metavar="DIR", help="positions and dead letters; default: var/appsinstalled")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other option of thresher")
    return parser


if __name__ == "__main__":
    sys.exit(main())
