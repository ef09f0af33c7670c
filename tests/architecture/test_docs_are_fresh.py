"""What is generated from the options is as the options are, and every option says what it is."""

from __future__ import annotations

import pytest

from actors.console import catalogue
from actors.runtime.sections import CheckerOptions, RecycleOptions
from scripts.make_docs import pages
from scripts.make_sinks import ROWS, cells_of
from tests.loads import ROOT


@pytest.mark.parametrize("name", [
    "docs/configuration.md", "docs/reference.md", "docs/sinks.md", "docs/thresher.schema.json"])
def test_generated_documents_are_fresh(name: str) -> None:
    path = ROOT / name
    assert path.read_text(encoding="utf-8") == pages()[path], f"{name} is not fresh: run scripts/make_docs.py"


def test_the_table_of_sinks_has_all_that_ship_and_what_they_are() -> None:
    shipped = {section.name for section in catalogue.sinks()}
    assert {row.type.split("`")[1] for row in ROWS} == shipped, "a sink has come or gone: scripts/make_sinks.py"
    cells = {row.type.replace("`", ""): cells_of(row)[2:] for row in ROWS}
    assert cells["sql with key"] == ["yes", "source order", "exactly once", "`Deleted(a)` deletes the row", "nothing",
                                     "stays"]
    assert cells["parquet"] == ["-", "source order", "exactly once", "-", "nothing", "emptied"]
    assert cells["kafka"][1:3] == ["source order for each key", "at least once"]
    assert cells["memcached"][2:5] == ["effectively once", "`(key, None)` deletes the key",
                                       "what the server forgets (a restart, eviction) is gone"]
    assert cells["stdout"] == ["-", "source order", "at least once", "-", "-", "-"]


def test_every_option_has_a_description() -> None:
    assert catalogue.undescribed() == [], "say what they are, in the Attributes of the docstring of their struct"


def test_every_section_of_the_page_has_all_its_options() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for section in [*catalogue.sections(), *catalogue.sources(), *catalogue.sinks(), *catalogue.letters()]:
        for option in section.options:
            assert f"| `{option.name}` | {option.form} | " in page


def test_a_description_is_inherited_until_a_subclass_says_it_anew() -> None:
    class Young(RecycleOptions, frozen=True, kw_only=True):
        """Young ones.

        Attributes:
            max_age_s: how old, at
                most, in ``s``.
            more: a list.

        What comes behind is no attribute: at all.
        """

        more: list[str] = []

    said = catalogue.descriptions(Young)
    assert said == {"max_rss_bytes": catalogue.descriptions(CheckerOptions)["max_rss_bytes"],
                    "max_age_s": "how old, at most, in `s`.", "more": "a list."}
    assert [option.name for option in catalogue.section_of("young", Young).options] == [
        "more", "max_rss_bytes", "max_age_s"]


def test_forms_say_type_unit_and_bounds() -> None:
    forms = {f"{section.name}.{option.name}": option.form for section in catalogue.sections()
             for option in section.options}
    assert forms["parser.workers"] == "integer, 1 to 64"
    assert forms["flow.batch_bytes"] == "bytes, 1 or more"
    assert forms["watch.suspect_s"] == "seconds, more than 0"
    assert forms["budget.max_error_rate"] == "number, 0 to 1"
    assert forms["window.start"] == '`"clock"`, `"first"` or integer'
    assert forms["run.resume"] == "`true` or `false`"
