"""What a terminal would obey is shown as what stands for it, in whatever form it is printed."""

from __future__ import annotations

import json
import tomllib

from hypothesis import example, given
from hypothesis import strategies as st

from actors.console.echo import render
from actors.runtime.printable import in_lines, one_line


@given(st.text())
@example("a\x1b]0;mine\x07\x9b2J\x7f\n\t\r\u202e\u2028\udcff\U000e0001")
def test_nothing_that_cannot_be_printed_is_left(text: str) -> None:
    assert one_line(text).isprintable()
    assert in_lines(text).replace("\n", "").replace("\t", "").isprintable()
    assert in_lines(text).count("\n") == text.count("\n")


def test_it_can_be_told_what_it_was() -> None:
    assert one_line("ä€ 名\x1b[2J\n\x9b\udcff\u202e") == r"ä€ 名\x1b[2J\x0a\u009b\udcff\u202e".replace(r"\x0a", r"\n")
    assert one_line("as it is") == "as it is"


@given(st.text())
def test_json_stays_what_it_is(text: str) -> None:
    assert json.loads(in_lines(json.dumps(text, ensure_ascii=False))) == text


@given(st.text(st.characters(max_codepoint=0xffff, exclude_categories=["Cs"])))
def test_so_does_a_configuration(text: str) -> None:
    assert tomllib.loads(in_lines(render({"name": text}))) == {"name": text}
