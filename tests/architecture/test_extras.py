"""What messages say to install is what ``setup.cfg`` declares."""

from __future__ import annotations

import configparser
import importlib

import pytest

from actors.runtime.extras import EXTRAS, how_to_install, is_installed, missing
from tests.loads import ROOT


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_commands_name_what_the_package_declares(extra: str) -> None:
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg", encoding="utf-8")
    wanted = [line.replace(" ", "") for line in declared["options.extras_require"][extra].split("\n") if line]
    assert list(EXTRAS[extra].values()) == wanted
    assert how_to_install(extra) == "pip install " + " ".join(f"'{one}'" for one in wanted)


@pytest.mark.parametrize("module", [module for modules in EXTRAS.values() for module in modules])
def test_the_modules_are_what_the_extras_bring(module: str) -> None:
    importlib.import_module(module)
    assert is_installed(module)


def test_what_is_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "made up", {"no_such_package.part": "no-such-package>=1", "json": "json"})
    assert missing("made up") == ["no_such_package.part"]
