"""Build the wheel from what is tracked, look at what it holds, install it elsewhere, and use it as its users do.

Two environments without extras: with the newest libraries, and with the oldest that ``setup.cfg`` allows. Whatever is
found is printed, and the exit code is 1.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts import wheel_verbs as verbs
from scripts.wheel_installed import Broken, Installed

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Check everything; return the exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="thresher-wheel-") as folder:
        try:
            _check(Path(folder))
        except (Broken, subprocess.TimeoutExpired) as problem:
            print(f"scripts/wheel: {problem}", file=sys.stderr)
            return 1
    print(f"the wheel is as it should be ({time.monotonic() - began:.0f} s)")
    return 0


def _check(folder: Path) -> None:
    with _step("build it from the tracked files"):
        wheel = build(folder)
    with _step("look at what it holds"):
        look_into(wheel)
    with _step("install it without extras"):
        newest = Installed(folder / "newest", [wheel])
    needs = _use(newest)
    with _step("do what messages say, and run what was missing something"):
        newest.pip(*needs["numbers"], *needs["sql"], *needs["zstd"], *needs["monitor"])
        verbs.numbers(newest)
        verbs.page(newest)
        newest.works(newest.root / "shop", "run", "sql.toml", "--state", "sql", "--fresh", "--once")
        verbs.zstd(newest)
    with _step("install supervisor beside it, and run in a folder full of names"):
        newest.pip("supervisor")
        verbs.odd_folder(newest)
    with _step("install it with the oldest libraries that it allows"):
        oldest = Installed(folder / "oldest", [wheel, *verbs.minimal(newest)])
    _use(oldest)
    with _step("run numbers with the oldest numpy, and the oldest zstandard"):
        oldest.pip(*verbs.minimal(oldest, "numbers"), *verbs.minimal(oldest, "zstd"))
        verbs.numbers(oldest)
        verbs.zstd(oldest)


def build(folder: Path) -> Path:
    """Build the wheel from a copy of the tracked files: what an earlier build has left behind stays out."""
    source = folder / "source"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # not one that is deleted, and not committed yet
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--wheel-dir", folder / "dist", source], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Broken(f"pip wheel: exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    wheel, = (folder / "dist").iterdir()
    return wheel


def look_into(wheel: Path) -> None:
    """The packages, and what is known of them, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    known = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    found, wanted = {name.partition("/")[0] for name in names}, {"thresher", "actors", known}
    if found != wanted:
        raise Broken(f"{wheel.name}: expected {sorted(wanted)} in it, got {sorted(found)}")
    pages = {f"actors/pages/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    if missing := {"actors/py.typed", "thresher/py.typed", *pages} - set(names):
        raise Broken(f"{wheel.name}: {', '.join(sorted(missing))} is not in it")


def _use(wheel: Installed) -> dict[str, list[str]]:
    """Everything that can be done without extras; return the commands that messages say, by extra."""
    with _step("  use every verb"):
        shop = verbs.new_pipeline(wheel)
        verbs.still_verbs(wheel, shop)
        verbs.a_run(wheel, shop)
        verbs.a_topic(wheel, shop)
        verbs.a_service(wheel, shop)
    with _step("  mistype each"):
        verbs.typos(wheel, shop)
    with _step("  miss the libraries of each extra"):
        needs = verbs.what_is_missing(wheel, shop)
    with _step("  run the applications that ship"):
        verbs.applications(wheel)
    listed, mistyped = wheel.listed(), {" ".join(text.split(" TARGET")[0].split()[:2]) for text in verbs.WORDS}
    mistyped = {words if words.startswith(("dlq ", "topic ")) else words.split()[0] for words in mistyped}
    if listed != wheel.worked or listed != mistyped:
        raise Broken("verbs without a check in scripts/wheel_verbs.py, or checked and not there: "
                     + ", ".join(sorted((listed ^ wheel.worked) | (listed ^ mistyped))))
    return needs


@contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"== {what}", end="", flush=True)
    try:
        yield
    finally:
        print(f" ({time.monotonic() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
