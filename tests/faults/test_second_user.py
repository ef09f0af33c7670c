"""A second user account on the machine of a run: what it can read, connect to and command. Nothing but probes.

The stranger is a process that root starts, and that has become ``nobody`` before it tries anything. What it is to try
comes from root, who sees every file and every socket that the processes of the run have. That it can do what is allowed
is shown with a file and a socket that are open to all.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from actors.runtime import rundir
from actors.runtime.rundir import MONITOR_TOKEN, path_for
from tests.loads import ROOT, WATCHDOG_S
from tests.monitors import Watched, ask, entry_of, eventually, url_of

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="root alone can become another user")
NOBODY = 65534
SECRET = "a given token of some length"
PROBES = ("/livez", "/readyz", "/startupz")
#: Becomes another user when all that it needs is imported, and prints what came of each thing that it tried.
STRANGER = """
import encodings.idna, http.client, json, os, socket, sys
port, tries, user = int(sys.argv[1]), json.load(sys.stdin), int(sys.argv[2])
os.setgroups([]); os.setgid(user); os.setuid(user)

def read(path):
    with open(path, "rb") as file:
        return file.read(1).hex()

def connect(path):
    kinds = {"1": socket.SOCK_STREAM, "2": socket.SOCK_DGRAM, "5": socket.SOCK_SEQPACKET}
    with socket.socket(socket.AF_UNIX, kinds[path[0]]) as one:
        one.connect(path[1:])

def ask(words):
    method, path, headers, body = words
    one = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    one.request(method, path, body, headers)
    answer = one.getresponse()
    return f"{answer.status} {answer.read().decode(errors='replace')}"

can = {"read": read, "write": lambda path: os.close(os.open(path, os.O_WRONLY)), "list": os.listdir,
       "make": lambda path: os.mkdir(path + "/mine"), "remove": os.unlink, "connect": connect,
       "signal": lambda pid: os.kill(int(pid), 0), "ask": ask}
found = []
for kind, what in tries:
    try:
        found.append([kind, what, "done: " + str(can[kind](what))])
    except OSError as error:
        found.append([kind, what, type(error).__name__])
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Watched]:
    """A run that allows commands, in a folder that everybody may enter: nothing but its own modes keeps others out."""
    folder = Path(tempfile.mkdtemp(prefix="thresher-open-"))
    folder.chmod(0o755)
    before = os.umask(0)
    try:
        (folder / "secret").touch(0o600)
        (folder / "secret").write_text(SECRET)
        with Watched(folder, "monitor.allow_control=true", f"monitor.token_secret=${{file:{folder}/secret}}") as run:
            eventually(lambda: run.ask("api/status").json["snapshot"]["outcomes"].get("read") == 102, "102 records")
            yield run
            assert run.process.poll() is None, run.output()
    finally:
        os.umask(before)
        shutil.rmtree(folder)


def as_nobody(port: int, tries: list[tuple[str, Any]]) -> list[tuple[str, Any, str]]:
    """What comes of it when another user tries these things."""
    done = subprocess.run([sys.executable, "-c", STRANGER, str(port), str(NOBODY)], input=json.dumps(tries), cwd="/",
                          capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 0, done.stderr
    return [(kind, what, outcome) for kind, what, outcome in json.loads(done.stdout)]


def processes(run: Watched) -> list[int]:
    """The supervisor and its actors."""
    return [run.process.pid, *(view.pid for view in run.views().values() if view.pid)]


def links(pid: int) -> set[str]:
    """What a process has open, and what it has mapped."""
    found = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    return found | {line.split(maxsplit=5)[5].strip() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
                    if len(line.split(maxsplit=5)) > 5}


def files_of(run: Watched) -> list[Path]:
    """Every file of the run: what lies in its directories, and whatever its processes have open besides."""
    own = [run.state, path_for(run.state)]
    found = {path for folder in own for path in (folder, *folder.rglob("*"))}
    found |= {Path(name) for pid in processes(run) for name in links(pid)
              if name.startswith(("/dev/shm/", "/tmp/", "/run/", "/var/tmp/")) and os.path.exists(name)}
    given = {run.logs, *run.logs.rglob("*"), run.state.with_name(f"{run.state.name}.run.out")}  # whoever began it did
    return sorted(found - given)


def listening(run: Watched) -> tuple[list[str], set[int]]:
    """The Unix sockets of the run, each with its type before it, and the TCP ports that it listens on."""
    inodes = {name[8:-1] for pid in processes(run) for name in links(pid) if name.startswith("socket:[")}
    unix = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    paths = [f"{int(words[4])}{words[7].replace('@', chr(0), 1) if words[7][0] == '@' else words[7]}"
             for words in unix if len(words) > 7 and words[6] in inodes]
    tcp = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return paths, {int(words[1].rpartition(":")[2], 16) for words in tcp if words[3] == "0A" and words[9] in inodes}


def test_another_user_reads_and_changes_no_file_of_a_run_and_finds_no_secret_among_its_processes(
    running: Watched
) -> None:
    port = urlsplit(running.url).port or 0
    proof = running.logs.parent / "proof"
    proof.write_text("for all")
    proof.chmod(0o644)
    files = files_of(running)
    names = {path.name for path in files}
    assert {MONITOR_TOKEN, "manifest.json", "board", "commands", "control", "lock"} <= names
    pids = processes(running)
    tries = [*(("read", str(path)) for path in files if path.is_file()),
             *(("write", str(path)) for path in files if path.is_file()), *(("remove", str(path)) for path in files),
             *((kind, str(path)) for path in files if path.is_dir() for kind in ("list", "make")),
             *(("read", f"/proc/{pid}/{name}") for pid in pids for name in ("environ", "mem", "maps", "auxv")),
             *(("list", f"/proc/{pid}/{name}") for pid in pids for name in ("fd", "cwd", "map_files")),
             *(("signal", str(pid)) for pid in pids)]
    found = as_nobody(port, [("read", str(proof)), *tries])
    assert found.pop(0)[2] == f"done: {ord('f'):x}", "the stranger can read what is open"
    assert [each for each in found if each[2] != "PermissionError"] == []
    assert {stat.S_IMODE(path.lstat().st_mode) & 0o077 for path in files if path.is_dir()} == {0}
    shown = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for pid in pids for name in ("cmdline", "comm", "status"))
    assert b"monitor.token_secret=" in shown
    assert SECRET.encode() not in shown
    assert SECRET not in running.output()


def test_another_user_reaches_no_socket_of_a_run_but_the_monitors_which_answers_probes_alone(running: Watched) -> None:
    port = urlsplit(running.url).port or 0
    sockets, ports = listening(running)
    assert ports == {port}
    assert {"commands", "control"} <= {Path(each).name for each in sockets}
    proof = running.logs.parent / "open.socket"
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(proof))
        server.listen()
        proof.chmod(0o666)
        first, *found = as_nobody(port, [("connect", f"1{proof}"), *(("connect", each) for each in sockets)])
    assert first[2] == "done: None", "the stranger can connect to what is open"
    assert {outcome for _, _, outcome in found} == {"PermissionError"}, found


def test_another_user_reads_nothing_of_the_monitor_and_commands_nothing_through_it(running: Watched) -> None:
    url = url_of(running.state)
    port = urlsplit(url).port or 0
    host = {"Host": f"127.0.0.1:{port}"}
    page = {**host, "Origin": url.rstrip("/"), "Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
    guesses = [{}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {port}"}, {"Cookie": f"thresher_{port}="}]
    paths = ["/", "/?token=", "/metrics", "/api/status", "/api/history", "/api/events", "/api/letters", "/api/panel",
             "/api/letters/reasons", "/api/panels", "/api/panels/main", "/static/app.js", "/%6detrics", "//metrics",
             "/livez/../metrics", "/livez/", "/nothing"]
    asked: list[tuple[str, str, dict[str, str], str | None]]
    asked = [("GET", path, {**host, **guess}, None) for path in paths for guess in guesses]
    asked += [("POST", f"/api/{verb}", {**page, **guess}, body) for guess in guesses for verb, body in (
        ("stop", "{}"), ("reload", "{}"), ("scale", '{"pool": "parser", "workers": 3}'))]
    asked += [(method, "/metrics", host, None) for method in ("HEAD", "OPTIONS", "PUT", "DELETE", "TRACE")]
    probes = [("GET", path, host, None) for path in PROBES]
    actors = set(running.views())
    parsers = sum(name.startswith("parser.") for name in actors)
    found = as_nobody(port, [("ask", each) for each in (*probes, *asked)])
    assert [outcome for _, _, outcome in found[:3]] == ["done: 200 ok\n"] * 3
    assert [each for each in found[3:] if not each[2].startswith("done: 401 ")] == []
    assert SECRET not in json.dumps(found)
    assert set(running.views()) == actors
    assert running.ask("api/scale", {"pool": "parser", "workers": parsers}).status == 200, "its own user commands it"
    assert entry_of(running.state).startswith(url)


def test_strangers_who_ask_and_ask_keep_nobody_waiting_who_has_the_token(running: Watched) -> None:
    where = ("127.0.0.1", urlsplit(running.url).port or 0)
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(2000):  # nearly ten seconds of refusals
        with socket.create_connection(where, WATCHDOG_S) as one:
            one.sendall(request)
    with socket.create_connection(where, WATCHDOG_S) as last:
        last.sendall(request)
        assert running.metrics()
        assert ask(entry_of(running.state), Authorization="").status == 303
        assert select.select([last], [], [], 0)[0] == [], "who has come before waits still"
        assert last.recv(12) == b"HTTP/1.1 401"


#: A user who begins a run, as far as its directory; and who looks which of his runs are going on.
VICTIM = """
import os, sys
from pathlib import Path
from actors.console import command
from actors.runtime import errors, rundir
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
try:
    print("begun in", rundir.RunDirectory(Path(sys.argv[2])).path)
except errors.ConfigError as error:
    print("refused:", error)
"""
LOOKING = f"{VICTIM.partition('try:')[0]}print(*command.going_on())"


def _begin(user: int, state: Path, script: str = VICTIM, **environ: str) -> str:
    """What is said to this user, whose environment has no runtime directory but this one."""
    known = {name: text for name, text in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    done = subprocess.run([sys.executable, "-c", script, str(user), str(state)], cwd=ROOT, env={**known, **environ},
                          capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _directory(place: Path, target: Path) -> None:
    place.mkdir(mode=0o777)
    os.chown(place, NOBODY, NOBODY)


def _link(place: Path, target: Path) -> None:
    place.symlink_to(target)
    os.chown(place, NOBODY, NOBODY, follow_symlinks=False)


@pytest.mark.parametrize("take", [_directory, _link])
def test_a_run_does_not_begin_in_a_place_that_another_user_has_taken(take: Callable[[Path, Path], None]) -> None:
    user = 50_000 + os.getpid() % 10_000
    place, home = Path(f"/tmp/thresher-{user}"), Path(tempfile.mkdtemp(prefix="thresher-home-"))
    os.chown(home, user, user)
    assert not os.path.lexists(place)
    try:
        take(place, home)
        assert _begin(user, home / "state") == (
            f"refused: {place}: expected a directory of user {user}: remove it, or set XDG_RUNTIME_DIR\n")
        _free(place)
        assert _begin(user, home / "state").startswith(f"begun in {place}/")
    finally:
        _free(place)
        shutil.rmtree(home)


def _free(place: Path) -> None:
    if place.is_symlink():
        place.unlink()
    shutil.rmtree(place, ignore_errors=True)


def test_a_run_that_another_user_has_made_up_is_no_run_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    user = 50_000 + os.getpid() % 10_000
    place, home = Path(f"/tmp/thresher-{user}"), Path(tempfile.mkdtemp(prefix="thresher-home-"))
    home.chmod(0o755)
    state = home / "state"
    state.mkdir()
    try:
        _directory(place, home)
        monkeypatch.setattr(rundir, "base", lambda: place)
        made_up = path_for(state)
        made_up.mkdir()
        (made_up / "board").touch()
        (made_up / "manifest.json").write_text(json.dumps({"state": str(state)}))
        with (state / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert _begin(user, state, LOOKING) == "\n"
            for path in (place, made_up, *made_up.iterdir()):
                os.chown(path, user, user)
            assert _begin(user, state, LOOKING) == f"{state}\n", "it would have been taken for one"
    finally:
        _free(place)
        shutil.rmtree(home)


def test_a_run_does_not_begin_in_a_runtime_directory_whose_owner_could_put_another_in_the_place_of_its_own() -> None:
    theirs = Path(tempfile.mkdtemp(prefix="thresher-run-"))
    try:
        theirs.chmod(0o777)
        os.chown(theirs, NOBODY, NOBODY)
        assert _begin(0, theirs / "state", XDG_RUNTIME_DIR=str(theirs)) == (
            f"refused: {theirs}: expected a directory of user 0 or of root, got one of user {NOBODY}: "
            "set XDG_RUNTIME_DIR to another directory\n")
    finally:
        shutil.rmtree(theirs)
