"""Letters sent in again, with real runs and servers: what goes through, what stays, and whoever is killed."""

from __future__ import annotations

import gzip
import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from actors.console.letters import Filters, store_of
from actors.console.progress import QuietObserver
from actors.console.retry import Retry as RetryCommand
from actors.runtime.events import FAILED, Observer, RunResult
from actors.runtime.manifest import Manifest
from actors.runtime.values import DeadLetter
from actors.settings import load as settings_load
from actors.sinks.lmdb import Lmdb
from actors.sinks.memcached import Memcached as MemcachedOptions
from scripts.make_logs import write_logs
from tests.contract.test_sinks import payload
from tests.letters import NORTH, dlq, folded, letters, line_letter, put, reject, write
from tests.loads import DEVICE_TYPES, Load, Running, encode, expected_stores, lmdb_stores, load
from tests.servers import Memcached

APPS = [123456] * 300_000  # more than 1 MiB when encoded, which is what a memcached takes by default


class Retry(Running):
    """A retry that goes on, with its board."""

    def __init__(self, state: Path, *words: str) -> None:
        super().__init__(state, "dlq", "retry", "appsinstalled", "--json", *words)


@pytest.fixture
def rejected(tmp_path: Path) -> Path:
    """The state of a run that rejected five lines of a file, two that are too long, and the rest of another file."""
    return reject(tmp_path)


def test_after_mending_letters_go_through_and_what_is_still_bad_stays_open(rejected: Path) -> None:
    before = letters(rejected)
    done = dlq("retry", rejected)
    assert done.returncode == 4, done.stderr
    text = done.stdout.decode()
    assert text.startswith("5 letters go in as new data of now: a newer value of a key of theirs is overwr")
    assert "\n3 of the reader are left out: they tell of what was lost, or are pieces of lines, which may" in text
    assert text.endswith(
        "\n2 retried, 3 rejected again: columns 2, latitude 1\nexit code 4: some letters were rejected again\n")
    after = letters(rejected)
    assert after.keys() == before.keys()
    for number, letter in after.items():
        if letter.stage == "reader":
            assert letter == before[number]
            continue
        assert letter.attempts == 1
        assert letter.tried
        assert letter.status == ("retried" if before[number].reason == "latitude_range" else "open")
        assert (letter.source, letter.offset, letter.line, letter.time) == (
            before[number].source, before[number].offset, before[number].line, before[number].time)
        assert letter.raw == before[number].raw
    assert lmdb_stores(rejected)["idfa"] == {b"idfa:north%d" % n: encode([1, 2], 95.5, 2.5) for n in (1, 2)}
    assert folded(rejected) == sum(map(len, lmdb_stores(rejected).values()))
    again = dlq("retry", rejected, "--reason", "latitude")
    assert b"0 retried, 1 rejected again: latitude 1" in again.stdout
    assert Counter(letter.attempts for letter in letters(rejected).values()) == {0: 3, 1: 4, 2: 1}


def test_with_checkers_of_their_own_a_retry_is_the_same(rejected: Path) -> None:
    done = dlq("retry", rejected, "--set", "parser.fused=false")
    assert b"\n2 retried, 3 rejected again: columns 2, latitude 1\n" in done.stdout, done.stderr


def test_a_retry_of_nothing_is_done_at_once(rejected: Path) -> None:
    done = dlq("retry", rejected, "--reason", "nothing")
    assert done.returncode == 0
    assert done.stdout.decode().endswith("0 retried, 0 rejected again\nexit code 0: all letters are done\n")
    assert done.stderr == b""


def test_the_good_records_of_a_piece_of_input_go_through_and_the_bad_ones_become_letters(tmp_path: Path) -> None:
    piece = b"\n".join([NORTH % 1, b"bad\0\xff", NORTH % 2, b"idfa\t\t1.0\t2.0\t1"])
    put(tmp_path / "state", DeadLetter("reader", "file_changed", "", "a.tsv", "p", 0, 0, 1, piece),
        DeadLetter("reader", "truncated_gzip", "nothing is left", "b.tsv", "p", 900, 0, 1, b""))
    done = dlq("retry", tmp_path / "state", "--stage", "reader")
    assert done.returncode == 4, done.stderr
    assert "\n1 hold no bytes and are left out: give the file again that could not be read\n" in done.stdout.decode()
    assert "\n1 retried, 2 rejected again: columns 1, device_id_empty 1\n" in done.stdout.decode()
    found = letters(tmp_path / "state")
    assert [(letter.status, letter.stage, letter.raw) for letter in found.values()] == [
        ("retried", "reader", piece), ("open", "parser", b"bad\0\xff"), ("open", "checker", b"idfa\t\t1.0\t2.0\t1"),
        ("open", "reader", b"")]
    assert found[3].line == 2
    assert piece[found[3].offset:].startswith(b"bad\0")
    assert lmdb_stores(tmp_path / "state")["idfa"].keys() == {b"idfa:north1", b"idfa:north2"}
    assert folded(tmp_path / "state") == 2


def test_of_two_letters_for_one_key_the_later_stands_whichever_way_they_go_in(tmp_path: Path) -> None:
    lines = [b"idfa\tsame\t9%d.5\t2.5\t%d" % (number % 10, number) for number in range(40)]
    values = {b"idfa:same": encode([39], 99.5, 2.5)}
    for name, words in (("plain", []), ("missing", ["--only-missing"])):
        put(tmp_path / name, *(line_letter(line, number * 100) for number, line in reversed(list(enumerate(lines)))))
        done = dlq("retry", tmp_path / name, *words)
        assert done.returncode == 0, done.stdout
        assert lmdb_stores(tmp_path / name)["idfa"] == values


def test_a_retry_overwrites_newer_values_unless_it_is_told_not_to(tmp_path: Path) -> None:
    for name, words, apps in (("plain", [], [1, 2]), ("missing", ["--only-missing"], [77])):
        put(tmp_path / name, line_letter(NORTH % 1, 0), line_letter(NORTH % 2, 100))
        options = Lmdb()
        with closing(options.open("idfa", tmp_path / name)) as sink:
            sink.write([payload(options, [(b"idfa:north1", encode([77], 95.5, 2.5))])])
        done = dlq("retry", tmp_path / name, *words)
        assert done.returncode == 0, done.stdout
        assert lmdb_stores(tmp_path / name)["idfa"] == {
            b"idfa:north1": encode(apps, 95.5, 2.5), b"idfa:north2": encode([1, 2], 95.5, 2.5)}


def test_only_missing_is_refused_at_once_by_a_sink_that_cannot(tmp_path: Path) -> None:
    put(tmp_path, line_letter(NORTH % 1, 0))
    done = dlq("retry", tmp_path, "--only-missing", "--set", "sinks.dvid.type=discard")
    assert done.returncode == 78
    assert done.stderr.startswith(b"--only-missing: sinks.dvid (nowhere) cannot tell whether a key is there already: ")
    assert letters(tmp_path)[1].attempts == 0


def _memcached_sets(address: str) -> list[str]:
    return [word for item in ("sinks.idfa.type=memcached", f"sinks.idfa.server={address}", "sinks.idfa.timeout_s=0.3",
                              "run.max_outage_s=0.5") for word in ("--set", item)]


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[tuple[Path, Memcached]]:
    """The state of a run whose memcached, which is down now, refused one value of three as too large."""
    small = Memcached()
    log = write(tmp_path / "logs/a.tsv.gz", *(
        b"idfa\tdevice%d\t5.5\t2.5\t%s" % (number, b",".join(b"%d" % app for app in APPS[:size]))
        for number, size in enumerate((10, len(APPS), 10))))
    with small:
        done = load(log, tmp_path / "state", "budget.max_error_rate=1", *_memcached_sets(small.address)[1::2])
        assert done.process.returncode == 0, done.output()
    (letter,) = letters(tmp_path / "state").values()
    assert (letter.stage, letter.reason) == ("writer.idfa", "too_large")
    large = Memcached(port=small.port, arguments=("-I", "4m"))
    yield tmp_path / "state", large
    large.stop()


def test_what_a_server_refused_goes_straight_to_it_once_it_takes_more(refused: tuple[Path, Memcached]) -> None:
    state, server = refused
    value = encode(APPS, 5.5, 2.5)
    count = folded(state)
    down = dlq("retry", state, *_memcached_sets(server.address))
    assert down.returncode == 3, down.stdout
    assert f"memcached {server.address}: connection refused, for more than 0.5 s" in down.stdout.decode()
    assert letters(state)[1].status == "open"
    with server:
        done = dlq("retry", state, *_memcached_sets(server.address))
        assert done.returncode == 0, done.stdout
        assert b"\n1 retried, 0 rejected again\n" in done.stdout
        assert server.get_many([b"idfa:device1"]) == {b"idfa:device1": value}
    assert (letters(state)[1].status, letters(state)[1].attempts) == ("retried", 1)
    assert folded(state) == count == 3


def test_what_a_server_refuses_again_stays_open_with_one_row(refused: tuple[Path, Memcached]) -> None:
    state, server = refused
    before = letters(state)[1]
    with Memcached(port=server.port):
        for attempt in (1, 2):
            done = dlq("retry", state, *_memcached_sets(server.address))
            assert done.returncode == 4, done.stdout
            assert b"\n0 retried, 1 rejected again: too_large 1\n" in done.stdout
            assert (letters(state)[1].attempts, letters(state)[1].raw) == (attempt, before.raw)
    assert len(letters(state)) == 1


def test_only_missing_leaves_what_a_server_has(refused: tuple[Path, Memcached]) -> None:
    state, server = refused
    with server:
        options = MemcachedOptions(server=server.address)
        with closing(options.open("idfa", state)) as sink:
            sink.write([payload(options, [(b"idfa:device1", b"newer")])])
        done = dlq("retry", state, "--only-missing", *_memcached_sets(server.address))
        assert done.returncode == 0, done.stdout
        assert server.get_many([b"idfa:device1"]) == {b"idfa:device1": b"newer"}
    assert letters(state)[1].status == "retried"


def test_an_item_of_another_kind_of_sink_is_never_sent(refused: tuple[Path, Memcached]) -> None:
    state, server = refused
    done = dlq("retry", state)  # lmdb by now
    assert done.returncode == 4
    assert b"1 rejected again: format 1\n" in done.stdout
    put(state, DeadLetter("writer.idfa", "key", "", "a.tsv", "p", 0, -1, -1, b"x\r\nflush_all\r\n"))
    with server:
        options = MemcachedOptions(server=server.address)
        with closing(options.open("idfa", state)) as sink:
            sink.write([payload(options, [(b"idfa:kept", b"1")])])
        done = dlq("retry", state, *_memcached_sets(server.address))
        assert b"1 retried, 1 rejected again: format 1\n" in done.stdout, done.stdout
        assert server.items() == 2


def test_letters_of_a_sink_that_is_gone_are_named_before_anything_starts(tmp_path: Path) -> None:
    put(tmp_path, line_letter(NORTH % 1, 0), DeadLetter("writer.old", "key", "", "a.tsv", "p", 0, -1, -1, b"x"))
    done = dlq("retry", tmp_path)
    assert done.returncode == 78
    assert done.stderr.decode() == (
        "letter 2: refused by the sink 'old' (1 such), and appsinstalled has none of that name: expected one of idfa, "
        "gaid, adid, dvid: choose others with --stage, or export and purge these\n")
    assert {letter.status for letter in letters(tmp_path).values()} == {"open"}
    assert dlq("retry", tmp_path, "--stage", "checker").returncode == 0


def test_a_sink_that_is_down_in_the_pipeline_leaves_letters_open_and_the_next_retry_completes(tmp_path: Path) -> None:
    state = tmp_path / "state"
    put(state, *(line_letter(NORTH % number, number * 100) for number in range(5)))
    server = Memcached()
    down = dlq("retry", state, *_memcached_sets(server.address))
    assert down.returncode == 3, down.stdout
    assert f"exit code 3: writer.idfa: memcached {server.address}: connection refused" in down.stdout.decode()
    assert {(letter.status, letter.attempts) for letter in letters(state).values()} == {("open", 0)}
    with server:
        done = dlq("retry", state, *_memcached_sets(server.address))
        assert done.returncode == 0, done.stdout
        assert done.stdout.decode().startswith(
            "a retry was interrupted: 5 letters of it go in first\n5 retried, 0 rejected again\n")
        assert server.items() == 5
    assert folded(state) == 5


# Beside runs, and through deaths ----------------------------------------------------------------------------------


def test_while_a_run_is_going_on_a_retry_is_refused_and_all_else_works(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_logs(logs, files=1, records=60_000, bad_rate=0.01)
    state = tmp_path / "state"
    with Load(f"{logs}/*", state, "flow.batch_bytes=32768", "budget.max_error_rate=1") as running:
        running.until(lambda views: views["writer.dead_letters"].batches >= 5, "letters")
        running.process.send_signal(signal.SIGSTOP)  # however long the commands take, this run is not over
        done = dlq("retry", state)
        assert done.returncode == 78
        assert f"state directory {state}: another run uses it (process {running.process.pid}): wait for it" in (
            done.stderr.decode())
        found = json.loads(dlq("ls", state, "--json", "--limit", "5").stdout)["letters"]
        assert len(found) == 5
        assert len(dlq("export", state, "--limit", "7").stdout.splitlines()) == 7
        assert json.loads(dlq("purge", state, "--id", str(found[0]["id"]), "--yes", "--json").stdout)["purged"] == 1
        running.process.send_signal(signal.SIGCONT)
        assert running.wait() == 0, running.output()
    assert len(letters(state)) == running.of("report")[0]["outcomes"]["dead_lettered"] - 1


def test_a_retry_between_two_halves_of_a_run_disturbs_neither(tmp_path: Path) -> None:
    logs, state = tmp_path / "logs", tmp_path / "state"
    paths = write_logs(logs, files=2, records=16_000, bad_rate=0.005)
    lines = [line for path in paths for line in gzip.decompress(path.read_bytes()).split(b"\n")[:-1]]
    sets = ("flow.batch_bytes=8192", "options.geo_check=true", "budget.max_error_rate=1")
    with Load(f"{logs}/*.gz", state, *sets) as running:
        running.until(lambda views: views["reader.1"].batches >= 40, "40 batches")
        running.process.terminate()
        assert running.wait() == 3, running.output()
    first = dlq("retry", state, "--json")
    assert first.returncode == 4, first.stderr
    result = json.loads(first.stdout.splitlines()[-1])
    assert result["retried"] > 100
    again = load(f"{logs}/*.gz", state, *sets)
    assert again.process.returncode == 0, again.output()
    report = again.of("report")[0]
    assert report["units"][0]["balanced"]
    done = json.loads(dlq("retry", state, "--json").stdout.splitlines()[-1])
    assert lmdb_stores(state) == expected_stores(lines)
    places = Counter((letter.source, letter.line) for letter in letters(state).values())
    assert max(places.values()) == 1
    assert result["retried"] + done["retried"] == sum(
        letter.status == "retried" for letter in letters(state).values())
    assert folded(state) == sum(map(len, lmdb_stores(state).values()))


MANY = 8000


def _many(state: Path) -> list[bytes]:
    """Letters of which each fifth is rejected again."""
    lines = [b"%s\tdevice%d\t95.5\t%s\t1,2" % (
        DEVICE_TYPES[number % 4].encode(), number, b"east" if number % 5 == 0 else b"2.5") for number in range(MANY)]
    put(state, *(line_letter(line, 100 * number) for number, line in enumerate(lines)))
    return lines


def _retry_and_kill(state: Path, batches: int) -> None:
    """Kill a retry, and with it all its actors, when so many letters are closed."""
    with Retry(state) as running:
        running.until(lambda views: views["reader.1"].batches >= batches, f"{batches} letters")
        running.process.kill()
        running.process.wait()


def _assert_all_done_once(state: Path, lines: list[bytes]) -> None:
    found = letters(state)
    assert [letter.raw for letter in found.values()] == lines
    assert Counter((letter.status, letter.reason, letter.attempts) for letter in found.values()) == {
        ("open", "longitude", 1): MANY // 5, ("retried", "latitude_range", 1): MANY * 4 // 5}
    assert lmdb_stores(state) == expected_stores(lines)
    assert folded(state) == MANY * 4 // 5


@pytest.mark.parametrize("name", ["reader.1", "parser.1", "writer.idfa", "writer.dead_letters", "aggregator.1"])
def test_an_actor_killed_in_a_retry_changes_nothing(tmp_path: Path, name: str) -> None:
    lines = _many(tmp_path / "state")
    with Retry(tmp_path / "state") as running:
        running.kill(name, after_batches=30)
        assert running.wait() == 4, running.output()
    assert [death["actor"] for death in running.of("died")] == [name]
    assert running.of("retry")[0]["rejected"] == {"longitude": MANY // 5}
    _assert_all_done_once(tmp_path / "state", lines)


def test_a_retry_that_is_killed_again_and_again_ends_with_every_letter_done_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    lines = _many(state)
    for batches in (100, 1500, 2500, 800):
        _retry_and_kill(state, batches)
        assert [letter.raw for letter in letters(state).values()] == lines
    done = dlq("retry", state)
    assert done.returncode == 4, done.stdout
    assert f"{MANY * 4 // 5:,} retried, {MANY // 5:,} rejected again: longitude {MANY // 5:,}\n" in done.stdout.decode()
    _assert_all_done_once(state, lines)


def test_what_a_killed_retry_had_done_is_known_to_whoever_looks_next(tmp_path: Path) -> None:
    state = tmp_path / "state"
    _many(state)
    _retry_and_kill(state, 4000)
    found = json.loads(dlq("ls", state, "--status", "retried", "--json").stdout)
    assert 0 < found["counts"][0]["letters"] < MANY * 4 // 5
    text = f"\na retry has not ended: {found['unfinished_retry']:,} letters of it are to come (`thresher dlq"
    assert text in dlq("ls", state).stdout.decode()


def test_sigterm_ends_a_retry_resumable_and_other_letters_follow_in_the_next(tmp_path: Path) -> None:
    state = tmp_path / "state"
    lines = _many(state)
    with Retry(state, "--limit", "6000") as running:
        running.until(lambda views: views["reader.1"].batches >= 300, "some letters")
        running.process.terminate()
        assert running.wait() == 3, running.output()
    assert running.of("retry")[0]["reason"] == "stopped by SIGTERM"
    done = dlq("retry", state)  # two runs in one command: what was interrupted, then the others
    assert done.returncode == 4, done.stdout
    text = done.stdout.decode()
    assert text.startswith("a retry was interrupted: ")
    assert f"\n{MANY * 4 // 5:,} retried, {MANY // 5:,} rejected again: longitude {MANY // 5:,}\n" in text
    _assert_all_done_once(state, lines)


def test_a_purge_in_the_middle_of_a_retry_takes_letters_away_and_the_rest_completes(tmp_path: Path) -> None:
    state = tmp_path / "state"
    lines = _many(state)
    with Retry(state) as running:
        running.until(lambda views: views["reader.1"].batches >= 300, "some letters")
        purged = json.loads(dlq("purge", state, "--yes", "--json").stdout)["purged"]
        assert running.wait() in (0, 4), running.output()
    found = letters(state)
    assert purged > 0
    assert len(found) == MANY - purged
    expected = expected_stores(lines)
    for name, items in lmdb_stores(state).items():
        assert items.items() <= expected[name].items()


def test_a_retry_takes_the_port_of_the_monitor_from_nobody(tmp_path: Path) -> None:
    put(tmp_path, line_letter(b"gaid\tgood\t1.5\t-2.5\t1,2", 0))
    settings = settings_load("appsinstalled", sets=["monitor.enabled=true"], state=str(tmp_path))
    made: list[Manifest] = []

    def run(manifest: Manifest, observer: Observer) -> RunResult:
        made.append(manifest)
        return RunResult(FAILED, "not now", 0.0, 0.0, {})

    again = RetryCommand(settings.manifest, store_of(settings), run, QuietObserver(), False)
    again.carry_out(again.prepare(Filters()))
    assert [manifest.monitor.enabled for manifest in made] == [False]
