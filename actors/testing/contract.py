"""What the options of a source and of a sink promise alike, as tests: the part that both contract suites have.

pytest need not be installed to import this: it collects what inherits from here, in a test module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from actors.runtime.manifest import component_of
from actors.runtime.options import without_password
from actors.runtime.ports import SinkOptions, SourceOptions, not_given

Options = TypeVar("Options", bound=SinkOptions | SourceOptions)


def names_in(folder: Path) -> list[str]:
    """All files and folders below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class OptionsContract(Generic[Options]):
    """The tests of options. A subclass gives ``options``."""

    def options(self, folder: Path) -> Options:
        """Return the options that are tested; what they need may be made below ``folder``. Has to be given."""
        raise NotImplementedError(f"{type(self).__name__}.options")

    def test_all_that_has_no_default_is_given(self, tmp_path: Path) -> None:
        """``open``, ``describe``, ``guarantee``, and ``pack`` of a sink."""
        options: SinkOptions | SourceOptions = self.options(tmp_path)
        kind = type(options)
        missing = not_given(kind)
        assert not missing, f"{kind.__name__} has no {', '.join(missing)}"

    def test_options_do_not_change(self, tmp_path: Path) -> None:
        """A subclass says ``frozen=True``: options are shared by all of a process."""
        kind = type(self.options(tmp_path))
        assert kind.__struct_config__.frozen, f"{kind.__name__} is not frozen: class {kind.__name__}(…, frozen=True)"

    def test_options_survive_the_way_through_a_file(self, tmp_path: Path) -> None:
        """As plain data, as in TOML, and as JSON, in which they travel to the actors."""
        options = self.options(tmp_path)
        kind = type(options)
        assert msgspec.convert(msgspec.to_builtins(options), kind) == options, "as plain data they are others"
        assert msgspec.json.decode(msgspec.json.encode(options), type=kind) == options, "as JSON they are others"

    def test_actors_find_the_options_by_their_name(self, tmp_path: Path) -> None:
        """Their class is at the top of a module that can be imported."""
        options = self.options(tmp_path)
        component = component_of(options)
        try:
            found = component.load()
        except (ImportError, AttributeError) as error:
            raise AssertionError(f"{component.type} cannot be imported: {error}") from error
        assert found == options

    def test_what_people_are_told_is_one_line_without_secrets(self, tmp_path: Path) -> None:
        """``describe`` and ``guarantee``: no line break, no password of an address, no value of ``…_secret``."""
        options = self.options(tmp_path)
        secrets = [str(value) for name, value in msgspec.structs.asdict(options).items()
                   if name.endswith("_secret") and value]
        for text in (options.describe(), type(options).guarantee, options.promises()):
            assert text.strip() and len(text.splitlines()) == 1, f"expected one line, got {text!r}"
            assert without_password(text) == text, f"a password is shown: {text!r}"
            assert not [secret for secret in secrets if secret in text], f"a secret is shown: {text!r}"
