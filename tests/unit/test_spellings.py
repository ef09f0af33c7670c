"""The names that one file may have in a ledger."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from actors.sources.again import spellings

PARTS = st.lists(st.sampled_from(["a", "b.log", ".", "..", "...", "", os.path.basename(os.getcwd())]), min_size=1)


@given(parts=PARTS, is_absolute=st.booleans())
def test_a_file_is_known_by_its_path_as_given_plain_absolute_and_relative(parts: list[str], is_absolute: bool) -> None:
    path = ("/" if is_absolute else "") + "/".join(parts)
    if path:
        found = spellings(path)
        assert found[0] == path
        assert set(found) == {path, os.path.normpath(path), os.path.abspath(path), os.path.relpath(path)}
        assert len(found) == len(set(found))


def test_a_name_that_is_no_text_is_spelt_out() -> None:
    assert spellings(os.fsdecode(b"caf\xe9.log"))[0] == "caf\\xe9.log"
