"""A server that is down, slow, or comes back: the pipeline waits, nothing is marked done, nothing is lost."""

from __future__ import annotations

import gzip
from pathlib import Path

from scripts.make_logs import write_logs
from tests.loads import Load, Stores, expected_stores, load
from tests.servers import Memcached

RECORDS = 30_000
SMALL = "flow.batch_bytes=32768"
Servers = dict[str, Memcached]


def _logs(folder: Path) -> tuple[str, Stores]:
    paths = write_logs(folder, files=2, records=RECORDS)
    lines = [line for path in paths for line in gzip.decompress(path.read_bytes()).split(b"\n")[:-1]]
    return f"{folder}/*.tsv.gz", expected_stores(lines)


def _sets(servers: Servers, *more: str) -> list[str]:
    return [SMALL, *more, *(word for name, server in servers.items() for word in (
        f"sinks.{name}.type=memcached", f"sinks.{name}.server={server.address}", f"sinks.{name}.timeout_s=0.3"))]


def _assert_exactly(servers: Servers, expected: Stores) -> None:
    for name, items in expected.items():
        assert servers[name].items() == len(items)
        assert servers[name].get_many(list(items)) == items


def test_with_a_server_down_files_keep_their_names_and_the_report_names_it(tmp_path: Path, servers: Servers) -> None:
    pattern, expected = _logs(tmp_path / "logs")
    servers["gaid"].stop()
    down = load(pattern, tmp_path / "state", *_sets(servers, "run.max_outage_s=1"))
    assert down.process.returncode == 3, down.output()
    report = down.of("report")[0]
    problem = f"memcached {servers['gaid'].address}: connection refused"
    assert report["outages"] == {"writer.gaid": problem}
    assert report["reason"] == f"writer.gaid: {problem}, for more than 1 s"
    assert [unit["verdict"] for unit in report["units"]] == ["not finished: kept its name, run again to resume"] * len(
        report["units"])
    assert not any(path.name.startswith(".") for path in (tmp_path / "logs").iterdir())
    counted = sum(group["numbers"]["records"] for group in report["groups"])
    assert (counted > report["read"], any(unit["under_way"] for unit in report["units"])) == (True, True), report
    servers["gaid"].start()
    up = load(pattern, tmp_path / "state", *_sets(servers))
    assert up.process.returncode == 0, up.output()
    report = up.of("report")[0]
    assert sum(group["numbers"]["records"] for group in report["groups"]) == report["read"]
    assert not any(unit["under_way"] for unit in report["units"])
    _assert_exactly(servers, expected)
    assert all(path.name.startswith(".") for path in (tmp_path / "logs").iterdir())


def test_a_server_that_goes_down_and_comes_back_in_the_middle_only_delays_the_run(
    tmp_path: Path, servers: Servers
) -> None:
    pattern, expected = _logs(tmp_path / "logs")
    with Load(pattern, tmp_path / "state", *_sets(servers)) as running:
        running.until(lambda views: views["writer.adid"].batches >= 20, "20 batches")
        servers["adid"].stop()  # a memcached that ends forgets what it had: the test fills it up again below
        running.until(lambda views: "adid" in running.output() and '"outage"' in running.output(), "an outage")
        held = running.views()["writer.adid"].batches
        servers["adid"].start()
        assert running.wait() == 0, running.output()
    assert [event["actor"] for event in running.of("recovered")] == ["writer.adid"]
    assert held >= 20
    for name in ("idfa", "gaid", "dvid"):
        assert servers[name].get_many(list(expected[name])) == expected[name]
    after = servers["adid"].get_many(list(expected["adid"]))
    # What came after the outage is all there, in full: the last keys of the input in any case.
    assert after.items() <= expected["adid"].items()
    last = list(expected["adid"])[-len(after):]
    assert set(last) == set(after)


def test_a_server_that_stops_answering_is_waited_for_and_nothing_is_lost(tmp_path: Path, servers: Servers) -> None:
    pattern, expected = _logs(tmp_path / "logs")
    with Load(pattern, tmp_path / "state", *_sets(servers)) as running:
        running.until(lambda views: views["writer.dvid"].batches >= 20, "20 batches")
        servers["dvid"].pause()
        running.until(lambda views: "no answer for 0.3 s" in running.output(), "an outage")
        servers["dvid"].resume()
        assert running.wait() == 0, running.output()
    _assert_exactly(servers, expected)


def test_sigterm_while_a_server_is_down_ends_resumable_within_the_drain_time(tmp_path: Path, servers: Servers) -> None:
    pattern, expected = _logs(tmp_path / "logs")
    servers["idfa"].stop()
    with Load(pattern, tmp_path / "state", *_sets(servers, "run.drain_s=0.5")) as running:
        running.until(lambda views: '"outage"' in running.output(), "an outage")
        running.process.terminate()
        assert running.wait() == 3, running.output()
    assert running.of("report")[0]["reason"] == "stopped by SIGTERM; not all was finished in 0.5 s"
    servers["idfa"].start()
    assert load(pattern, tmp_path / "state", *_sets(servers)).process.returncode == 0
    _assert_exactly(servers, expected)


def test_a_writer_killed_during_an_outage_waits_on_in_its_next_generation(tmp_path: Path, servers: Servers) -> None:
    pattern, expected = _logs(tmp_path / "logs")
    servers["idfa"].stop()
    with Load(pattern, tmp_path / "state", *_sets(servers)) as running:
        running.until(lambda views: '"outage"' in running.output(), "an outage")
        running.kill("writer.idfa", after_batches=0)
        running.until(lambda views: running.output().count('"outage"') >= 2, "an outage of the next generation")
        servers["idfa"].start()
        assert running.wait() == 0, running.output()
    _assert_exactly(servers, expected)
