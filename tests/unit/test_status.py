"""What ``thresher status`` prints."""

from __future__ import annotations

from actors.console.status import render


def test_what_a_dying_actor_said_cannot_write_to_the_screen_by_itself() -> None:
    death = {"time": "now", "text": "writer.a died: \x1b[2J", "rss_bytes": 1, "uptime_s": 1.0,
             "stack": "File one\n  \x1b]0;title\x07\n"}
    text = render({"running": False, "state": "var", "exists": True, "last": None, "damage": "", "deaths": [death],
                   "units": [{"name": "a\x1b[31m.log", "status": "loaded", "counts": {"read": 1}}]})
    assert all(line.isprintable() for line in text.split("\n"))
    assert "File one" in text.split("\n")[-2]
