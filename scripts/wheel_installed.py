"""An installed wheel, for ``check_wheel``: its command in a folder of its own, and what must be true of each answer."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

WATCHDOG_S = 60.0
FAILURE, USAGE, BUDGET, BAD_CONFIG = 1, 2, 4, 78
_NEVER = {
    "Traceback (most recent call last)": "a traceback",
    "/docs/": "a file of the checkout",
    "pip install '.": "a command that works in a checkout only",
    "pip install 'thresher": "a command that asks an index for thresher",
}
_PAGE = re.compile(r"\bdocs/[\w-]+\.md\b")


class Broken(Exception):
    """What the wheel should do, and does not."""


class Installed:
    """An environment with the wheel in it, a home without anything, and the verbs that have worked there."""

    def __init__(self, root: Path, extra: Sequence[str | Path] = ()) -> None:
        self.root = root
        self.python = root / "venv" / "bin" / "python"
        self.thresher = root / "venv" / "bin" / "thresher"
        self.worked: set[str] = set()
        self.home = root / "home"
        self.home.mkdir(parents=True)
        _done([sys.executable, "-m", "venv", root / "venv"], root)
        self.pip(*extra)

    def pip(self, *words: str | Path) -> None:
        """Run ``pip install``."""
        _done([self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:",
               *words], self.root)

    def works(self, folder: Path, *words: str, code: int = 0, says: str = "") -> str:
        """Run a verb that should do what it is for; return what it prints."""
        said = self.run(folder, *words, code=code, says=says)
        self.worked.add(_verb(words))
        return said

    def run(self, folder: Path, *words: str, code: int, says: str = "") -> str:
        """Run the command; return what it prints.

        Raises:
            Broken: another exit code, not what it should say, or what no message may have in it.
        """
        done = subprocess.run([self.thresher, *words], cwd=folder, env=self.environment(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WATCHDOG_S,
                              check=False)
        return judged(words, done.stdout, done.returncode, code, says)

    @contextmanager
    def running(self, folder: Path, *words: str, code: int = 0) -> Iterator[subprocess.Popen[str]]:
        """Start the command; at the end it has to end by itself."""
        with subprocess.Popen([self.thresher, *words], cwd=folder, env=self.environment(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                yield process
                said = process.communicate(timeout=WATCHDOG_S)[0]
            finally:
                process.terminate()
        judged(words, said, process.returncode, code, "")
        self.worked.add(_verb(words))

    def evaluated(self, code: str) -> str:
        """What a line of Python prints in the environment."""
        return _done([self.python, "-P", "-c", code], self.home, self.environment())

    def listed(self) -> set[str]:
        """Every verb that ``--help`` lists; of those that have verbs of their own, these."""
        verbs = _listed_in(self.run(self.home, "--help", code=0))
        inner = {verb: _listed_in(self.run(self.home, verb, "--help", code=0)) for verb in sorted(verbs)}
        return {f"{verb} {each}".strip() for verb in verbs for each in inner[verb] or {""}}

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's: what leads to the checkout would hide what the wheel lacks."""
        return {"PATH": f"{self.root / 'venv' / 'bin'}:{os.defpath}", "HOME": str(self.home), "LANG": "C.UTF-8",
                "XDG_RUNTIME_DIR": str(self.home), "PYTHONWARNINGS": "default"}


def judged(words: Sequence[str], said: str, got: int, code: int, says: str) -> str:
    """What was printed, if it is as it should be.

    Raises:
        Broken: it is not.
    """
    shown = f"$ thresher {shlex.join(words)}"
    if got != code:
        raise Broken(f"{shown}: expected exit code {code}, got {got}:\n{said}")
    if says not in said:
        raise Broken(f"{shown}: expected {says!r} in what it says:\n{said}")
    never = [what for text, what in _NEVER.items() if text in said]
    if (page := _PAGE.search(said)) and words[0] != "docs":
        never.append(f"{page[0]}, which is not there")
    if never and (words[0] != "docs" or "a traceback" in never):
        raise Broken(f"{shown}: what it says has {never[0]} in it:\n{said}")
    return said


def _verb(words: Sequence[str]) -> str:
    return " ".join(words[:2]) if words[0] in ("dlq", "topic") else words[0]


def _listed_in(text: str) -> set[str]:
    return set(re.findall(r"^    ([a-z]+)(?:  .*)?$", text, re.MULTILINE))


def _done(words: Sequence[str | Path], folder: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Broken(f"$ {shlex.join(map(str, words))}: exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
