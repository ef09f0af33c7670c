"""The shell scripts find their checkout however they are called, and make no environment where one is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.checkouts import make_checkout
from tests.loads import ROOT

WATCHDOG_S = 60.0
SHELLS = [shell for shell in ("sh", "dash", "bash", "zsh") if shutil.which(shell)]
SCRIPTS = [path for path in sorted((ROOT / "scripts").iterdir())
           if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh")]
SAY = 'echo "root=$root python=$python"'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with an environment, in a folder whose name has a blank; its script ``say`` sources bootstrap."""
    root = make_checkout(tmp_path / "a folder" / "of mine")
    (root / "scripts" / "say").write_text(
        f'#!/bin/sh\n. "$(dirname -- "$(readlink -f -- "$0")")/bootstrap"\n{SAY}\n')
    (root / "scripts" / "say").chmod(0o755)
    return root


def _said(*words: str, cwd: Path, **environ: str) -> str:
    done = subprocess.run(words, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True,
                          timeout=WATCHDOG_S, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout.strip()


def _of(root: Path) -> str:
    return f"root={root} python={root}/.venv/bin/python"


@pytest.mark.parametrize("shell", SHELLS)
def test_bootstrap_finds_its_root_when_it_is_sourced_by_hand(checkout: Path, shell: str) -> None:
    assert _said(shell, "-c", f". scripts/bootstrap; {SAY}", cwd=checkout) == _of(checkout)
    assert _said(shell, "-c", f". ./bootstrap; {SAY}", cwd=checkout / "scripts") == _of(checkout)
    assert _said(shell, "-c", f'. "$0"; {SAY}', str(checkout / "scripts/bootstrap"), cwd=Path("/")) == _of(checkout)
    assert _said(shell, "-c", f". 'of mine/scripts/bootstrap'; ({SAY})", cwd=checkout.parent) == _of(checkout)


@pytest.mark.parametrize("shell", SHELLS)
def test_bootstrap_finds_its_root_whatever_the_name_of_who_sources_it(checkout: Path, shell: str) -> None:
    sourced = f'. "{checkout}/scripts/bootstrap"; {SAY}'
    assert _said(shell, "-c", sourced, cwd=Path("/")) == _of(checkout)
    assert _said(shell, "-c", sourced, "scripts/test", cwd=Path("/")) == _of(checkout)
    assert _said(shell, "-c", f"({sourced})", str(ROOT / "scripts/test"), cwd=ROOT) == _of(checkout)


def test_a_script_finds_its_root_from_any_folder(checkout: Path) -> None:
    assert _said(str(checkout / "scripts/say"), cwd=Path("/")) == _of(checkout)
    assert _said("./say", cwd=checkout / "scripts") == _of(checkout)
    assert _said("sh", "scripts/say", cwd=checkout) == _of(checkout)
    assert _said("../of mine/scripts/say", cwd=checkout) == _of(checkout)


def test_a_script_finds_its_root_through_symbolic_links(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(checkout / "scripts/say")
    (tmp_path / "again").symlink_to("linked")
    (tmp_path / "tree").symlink_to(checkout)
    for name in ("./linked", "./again", "tree/scripts/say"):
        assert _said(name, cwd=tmp_path) == _of(checkout)


def test_a_search_path_for_cd_leads_no_script_astray(checkout: Path, tmp_path: Path) -> None:
    for folder in ("scripts", "of mine/scripts"):
        (tmp_path / "astray" / folder).mkdir(parents=True)
    astray = f"{tmp_path}/astray:.."
    assert _said("scripts/say", cwd=checkout, CDPATH=astray) == _of(checkout)
    assert _said("of mine/scripts/say", cwd=checkout.parent, CDPATH=astray) == _of(checkout)
    assert _said("sh", "-c", f". scripts/bootstrap; {SAY}", cwd=checkout, CDPATH=astray) == _of(checkout)


def test_an_environment_that_has_moved_with_its_checkout_is_made_anew(checkout: Path, tmp_path: Path) -> None:
    moved = checkout.rename(tmp_path / "moved")
    done = subprocess.run([moved / "scripts/say"], env={**os.environ, "PYTHON": "/bin/false", "PATH": _few(tmp_path)},
                          capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 1
    assert "thresher needs Python 3.11 or newer" in done.stderr


def _few(folder: Path) -> str:
    """A search path with what the scripts need, and no Python."""
    (folder / "few").mkdir()
    for name in ("sh", "cat", "cksum", "dirname", "readlink"):
        found = shutil.which(name)
        assert found is not None
        (folder / "few" / name).symlink_to(found)
    return str(folder / "few")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_what_every_shell_can_read(path: Path, shell: str) -> None:
    _said(shell, "-n", str(path), cwd=ROOT)


def test_every_script_shares_the_one_environment() -> None:
    assert len(SCRIPTS) >= 5
    for path in SCRIPTS:
        if path.name != "bootstrap":
            assert "/bootstrap\"\n" in path.read_text(), path
            assert "extras" not in path.read_text(), path
