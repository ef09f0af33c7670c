"""The questions of the applications that ship, asked of what real runs have stored."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from tests.apps.test_ask import answer, ask
from tests.apps.test_connections_runs import expected_reports, made_lines, run_once
from tests.apps.test_ratings_runs import publish
from tests.loads import ROOT, Running, load

NOON, MINUTE_MS = 1_764_417_600_000, 60_000


def test_a_device_of_appsinstalled_is_asked_for_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"idfa\tabc\t67.5\t-22.25\t7942,8519\ngaid\tabc\t1\t2\tx\n"))
    assert load(tmp_path / "a.tsv.gz", tmp_path / "state").process.returncode == 0
    about = "appsinstalled", "--state", str(tmp_path / "state")
    expected = [{"key": "idfa:abc", "lat": 67.5, "lon": -22.25, "apps": [7942, 8519]}]
    assert answer(*about, "device", "idfa:abc") == answer(*about, "idfa:abc") == expected
    assert answer(*about, "gaid:abc") == [{"key": "gaid:abc", "lat": 1.0, "lon": 2.0, "apps": []}]
    assert ask(*about, "idfa:abc", "--table").stdout.splitlines()[-1] == "apps  7942, 8519"
    assert ask(*about, "adid:abc").stderr == "appsinstalled: device: nothing found\n"
    assert "expected TYPE:ID, a type of idfa, gaid, adid, dvid, got 'abc'" in ask(*about, "abc", code=78).stderr


def test_ratings_are_asked_for_the_products_that_are_rated_most_each_minute_as_it_was_said_last(tmp_path: Path) -> None:
    topic = tmp_path / "topics" / "live_ratings"
    targets = {tmp_path / "lines": "ratings-trends", tmp_path / "table": str(ROOT / "config/ratings-trends.toml")}
    publish(topic, 0, [(NOON, "A", 5.0), (NOON + 1, "B", 4.0), (NOON + MINUTE_MS, "A", 2.0)])
    for late in range(2):
        for state, target in targets.items():
            with Running(state, "run", target, "--format", "json", "--once") as running:
                assert running.wait() == 0, running.output()
        if not late:
            publish(topic, 3, [(NOON + 2, "B", 3.0), (NOON + 3, "B", 3.5)])
    with closing(sqlite3.connect(tmp_path / "table" / "averages.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM averages WHERE revision = 2").fetchone() == (2,)
    for state, target in targets.items():
        about = target, "top", "--state", str(state)
        assert answer(*about) == [{"asin": "B", "count": 3, "mean_overall": 3.5},
                                  {"asin": "A", "count": 2, "mean_overall": 3.5}]
        assert answer(*about, "--since", str(NOON + 1), "--top", "1") == [
            {"asin": "A", "count": 1, "mean_overall": 2.0}]
        assert ask(*about, "--until", "2019-01-01T00:00:00Z").stderr.endswith("top: nothing found\n")


def test_the_reports_of_connections_are_asked_hour_by_hour_of_the_hosts_that_they_are_about(tmp_path: Path) -> None:
    lines = made_lines(600)
    (tmp_path / "log").write_text("".join(lines))
    assert run_once(tmp_path / "state", str(tmp_path / "log")).returncode == 0
    reports = expected_reports(lines)
    for question, host, column in (("into", "Aaliayh", "into"), ("from", "Dristen", "received")):
        about = "connections", question, host, "--state", str(tmp_path / "state")
        asked = answer(*about)
        assert [row["hosts"] for row in asked] == [report[column] for report in reports]
        assert [datetime.fromisoformat(row["start"]) for row in asked] == [
            datetime.fromtimestamp(report["start"] / 1000, UTC) for report in reports]
        assert answer(*about, "--since", asked[1]["start"], "--until", asked[1]["start"]) == asked[1:2]
    said = ask("connections", "into", "Nobody", "--state", str(tmp_path / "state"), code=78).stderr
    assert "no report is about 'Nobody', but Aaliayh: thresher run connections --into-host Nobody" in said
