"""What ``check_wheel`` does with an installed wheel: verbs, typos, what is missing, applications, odd folders."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from scripts.wheel_installed import BAD_CONFIG, BUDGET, FAILURE, USAGE, WATCHDOG_S, Broken, Installed

#: A sensible use of each verb: TARGET stands for a configuration.
WORDS = (
    "init TARGET", "run TARGET", "lint TARGET", "check TARGET", "explain TARGET", "graph TARGET", "echo TARGET",
    "top TARGET", "status TARGET", "tap parser TARGET", "scale parser=2 TARGET", "reload TARGET", "stop TARGET",
    "probe live TARGET", "report TARGET", "dlq ls TARGET", "dlq show TARGET 1", "dlq retry TARGET",
    "dlq export TARGET", "dlq purge TARGET --yes", "bench TARGET", "verify TARGET", "doctor", "schema TARGET",
    "docs TARGET", "topic ls .", "topic show lines", "topic tail lines", "topic trim lines",
    "ask TARGET", "browse TARGET", "list sinks", "keys", "completion bash")
_PARQUET = """app = "shop"
[sinks.requests]
type = "parquet"
columns = {page = "text", status = "integer"}
[budget]
max_error_rate = 0.05
"""
_SQL = """app = "shop"
[sinks.requests]
type = "sql"
columns = {page = "text", status = "integer"}
[budget]
max_error_rate = 0.05
"""
#: For each extra a run that needs it, and its exit code without it.
_NEEDS = {
    "monitor": (("run", "shop.toml", "--monitor"), BAD_CONFIG),
    "otel": (("run", "shop.toml", "--set", "tracing.enabled=true"), BAD_CONFIG),
    "numbers": (("run", "numbers"), BAD_CONFIG),
    "sql": (("run", "sql.toml", "--state", "sql"), BAD_CONFIG),
    "parquet": (("run", "parquet.toml", "--state", "parquet"), BAD_CONFIG),
    "zstd": (("run", "shop.toml", "one.log.zst", "--state", "zstd"), FAILURE)}
#: What a frame of zstd begins with that has one block, which is not compressed.
_FRAME = b"\x28\xb5\x2f\xfd\0\x58"
_MINE = '''
from thresher import Pipeline
from thresher.sinks import Lines
from thresher.sources import Files

PIPELINE = Pipeline(source=Files(pattern="in.log", rename="none"), parse=bytes.upper, sinks={"out": Lines()})
'''
_TOPICAL = """
from thresher import Pipeline
from thresher.sinks import Topic
from thresher.sources import Files

PIPELINE = Pipeline(source=Files(pattern="topic.txt", rename="none"), parse=bytes.upper,
                    sinks={"out": Topic(topic="topic:lines")})
"""
#: What lies in a folder that is hostile, each of it an error when it is imported.
_TAKEN = ("supervisor.py", "config.py", "logging.py", "json.py", "protos/__init__.py", "actors/__init__.py")
_LINES = b"idfa\te7e1\t67.5\t-22.5\t7942,300\ngaid\te7e2\t6.5\t2\t1\n"
_TRANSFERS = (b"Oct 10 13:21:05 a ascp[7]: LOG FASP Session Start uuid=1 op=recv status=started\n"
              b"Oct 10 13:21:06 a ascp[7]: LOG Receiver bl t/o/r/d=9/9/0/0 prog t/f/e=9/9/1000 rcvD=0\n")
_STORED = """
from pathlib import Path
from actors.apps.appsinstalled.appsinstalled_pb2 import UserApps
from actors.sinks.lmdb import read_lmdb
(key, value), = read_lmdb(Path({store!r}))
print(key.decode(), list(UserApps.FromString(value).apps))
"""


def new_pipeline(wheel: Installed) -> Path:
    """Make a pipeline with ``init``; return its folder."""
    wheel.works(wheel.root, "init", "shop", says="thresher run shop.toml")
    return wheel.root / "shop"


def still_verbs(wheel: Installed, shop: Path) -> None:
    """The verbs that need no run."""
    wheel.works(shop, "lint", "shop.toml", says="shop.toml: ok")
    wheel.works(shop, "check", "shop.toml", says="everything that it imports")
    wheel.works(shop, "explain", "shop.toml", says="exactly once")
    for form in ("text", "mermaid", "dot"):
        wheel.works(shop, "graph", "shop.toml", "--format", form)
    wheel.works(shop, "echo", "shop.toml", says='app = "shop"')
    wheel.works(shop, "doctor", says="no problems")
    wheel.works(shop, "list", "sinks", says="parquet")
    wheel.works(shop, "keys", says="_secret")
    for words in (("schema",), ("schema", "shop.toml")):
        json.loads(wheel.works(shop, *words))
    for line in wheel.works(shop, "docs").splitlines():
        page = wheel.works(shop, "docs", line.split()[0], says="# ")
        if "pip install 'thresher" in page:
            raise Broken(f"thresher docs {line.split()[0]}: thresher is on no index, and pip is told to ask one")


def a_run(wheel: Installed, shop: Path) -> None:
    """A run to its end, what is said of it, and its rejects."""
    wheel.works(shop, "run", "shop.toml", "--format", "text", says="read 200 records")
    if (shop / "var/shop/requests.jsonl").read_bytes().count(b"\n") != 163:
        raise Broken("the run of a new pipeline did not write 163 requests")
    wheel.works(shop, "report", "shop.toml", says="dead-lettered")
    wheel.works(shop, "status", "shop.toml", says="ended with exit code 0")
    wheel.works(shop, "ask", "shop.toml", says="no questions")
    wheel.works(shop, "dlq", "ls", "shop.toml", says="5 open letters")
    wheel.works(shop, "dlq", "show", "shop.toml", "1", says="letter 1")
    wheel.works(shop, "dlq", "export", "shop.toml", "--out", "letters.jsonl")
    wheel.works(shop, "dlq", "retry", "shop.toml", code=BUDGET, says="5 rejected again")
    wheel.works(shop, "dlq", "purge", "shop.toml", "--yes", says="5 open letters deleted")
    wheel.works(shop, "verify", "shop.toml", "--runs", "2", "--kills", "1", says="the same: 200 records")
    wheel.works(shop, "bench", "shop.toml", "--seconds", "1", "--workers", "1", says="1 worker")
    wheel.run(shop, "stop", "shop.toml", code=BAD_CONFIG, says="no run is going on")
    wheel.run(shop, "probe", "live", "shop.toml", code=FAILURE, says="live: no")


def a_topic(wheel: Installed, shop: Path) -> None:
    """A run that writes to a topic, and what is said of that."""
    (shop / "topic.txt").write_text("one\ntwo\n")
    (shop / "topical.py").write_text(_TOPICAL)
    wheel.works(shop, "run", "topical.py", "--format", "text", says="2 written")
    topic = str(shop / "var/topical/lines")
    wheel.works(shop, "topic", "ls", "var/topical", says="lines")
    wheel.works(shop, "topic", "show", topic)
    wheel.works(shop, "topic", "tail", topic, says="TWO")
    wheel.works(shop, "topic", "trim", topic, "--retain-s", "3600", "--dry-run")


def a_service(wheel: Installed, shop: Path) -> None:
    """A run that goes on, and what can be said to it."""
    with wheel.running(shop, "run", "shop.toml", "--follow", "--fresh") as run:
        wheel.works(shop, "probe", "ready", "shop.toml", "--timeout", "30", says="ready: yes")
        wheel.works(shop, "top", "shop.toml", "--once", says="bottleneck")
        wheel.works(shop, "status", "shop.toml", says="shop: running")
        wheel.works(shop, "scale", "parser=3", "shop.toml", says="3 workers")
        wheel.works(shop, "reload", "shop.toml", says="has changed")
        with wheel.running(shop, "tap", "parser", "shop.toml", "--limit", "1", "--seconds", "30") as tap:
            _grow(shop / "data/shop.log", tap)
        wheel.works(shop, "stop", "shop.toml", says="draining")
        if run.poll() not in (None, 0):
            raise Broken(f"the run that was told to stop ended with exit code {run.returncode}")


def typos(wheel: Installed, shop: Path) -> None:
    """A typo of a verb, of an option of each, and of TARGET are told, with what may be meant."""
    wheel.run(shop, "rnu", code=USAGE, says="did you mean 'run'?")
    for text in WORDS:
        words = text.split()
        wheel.run(shop, *_put(words, "shop.toml"), "--no-such-option", code=USAGE, says="--no-such-option")
        if words[0] == "init":
            wheel.run(shop, "init", "shop.tomml", code=USAGE, says="did you mean 'shop_tomml'?")
        elif words[0] == "docs":
            wheel.run(shop, "docs", "sinkz", code=BAD_CONFIG, says="did you mean 'sinks'?")
        elif "TARGET" in words:
            wheel.run(shop, *_put(words, "shop.tomml"), code=BAD_CONFIG, says="did you mean 'shop.toml'?")
    wheel.run(shop, "run", "shop.toml", "--set", "parser.workerz=1", code=BAD_CONFIG, says="did you mean 'workers'?")
    wheel.run(shop, "run", "shop.toml", "--set", "sinks.errors.type=sqll", code=BAD_CONFIG, says="sql")


def what_is_missing(wheel: Installed, shop: Path) -> dict[str, list[str]]:
    """Without the libraries of an extra its runs say once, in a command, what to install; return it for each extra."""
    (shop / "sql.toml").write_text(_SQL)
    (shop / "parquet.toml").write_text(_PARQUET)
    line = (shop / "data/shop.log").read_bytes().splitlines(keepends=True)[0]
    (shop / "one.log.zst").write_bytes(_FRAME + (len(line) << 3 | 1).to_bytes(3, "little") + line)
    found = {}
    for extra, (words, code) in _NEEDS.items():
        said = wheel.run(shop, *words, code=code, says="pip install")
        commands = list(dict.fromkeys(re.findall(r"pip install ((?: ?'[^']+')+)", said)))
        found[extra] = shlex.split(commands[0])
        declared = set(_declared(wheel, f"extra == '{extra}'"))
        if len(commands) != 1 or not declared or not set(found[extra]) <= declared:
            raise Broken(f"thresher {shlex.join(words)}: expected one command with {sorted(declared)}:\n{said}")
    wheel.run(shop, "check", "numbers", code=BAD_CONFIG, says="pip install")
    wheel.run(shop, "check", "sql.toml", code=BAD_CONFIG, says="pip install")
    for verb in ("lint", "explain", "echo", "graph", "status"):
        wheel.works(shop, verb, "sql.toml")
    return found


def applications(wheel: Installed) -> None:
    """The applications that need no extra; what they store can be decoded with what travels in the wheel."""
    folder = wheel.root / "applications"
    folder.mkdir()
    with gzip.open(folder / "a.tsv.gz", "wb") as log:
        log.write(_LINES)
    wheel.works(folder, "run", "appsinstalled", "a.tsv.gz", "--format", "text", says="read 2 records")
    (folder / "ascp.log").write_bytes(_TRANSFERS)
    wheel.works(folder, "run", "ascp", "ascp.log", "--format", "text", says="read 2 records")
    wheel.works(folder, "browse", "ascp", code=BAD_CONFIG, says="pip install")
    stored = wheel.evaluated(_STORED.format(store=str(folder / "var/appsinstalled/idfa.lmdb")))
    if stored != "idfa:e7e1 [7942, 300]\n":
        raise Broken(f"appsinstalled: expected the record idfa:e7e1 in its store, got {stored}")
    (folder / "c.log").write_text("1565647204351 Aadvik Matina\n1565647205351 Kamyree Matina\n")
    wheel.works(folder, "run", "connections", "c.log", "--once", "--format", "text", says="read 2 records")
    wheel.works(folder, "run", "connections", "--query", "c.log", "--host", "Matina", says="Aadvik")


def numbers(wheel: Installed) -> None:
    """The application that needs numpy, which is there now."""
    folder = wheel.root / "numbers"
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with wheel.running(folder, "run", "numbers", "--set", f"source.port={port}") as run:
        wheel.works(folder, "probe", "ready", "numbers", "--timeout", "30", says="ready: yes")
        with socket.create_connection(("127.0.0.1", port), WATCHDOG_S) as client:
            client.sendall(b"000000007\n123456789\n000000007\nterminate\n")
            run.wait(WATCHDOG_S)
    logged = b"".join(path.read_bytes() for path in (folder / "var/numbers").glob("numbers*.log"))
    if sorted(logged.split()) != [b"000000007", b"123456789"]:
        raise Broken(f"numbers: expected each of two numbers once in its log, got {logged!r}")


def page(wheel: Installed) -> None:
    """The page of what was stored, for what it is made of, and what it needs, is there now."""
    with wheel.running(wheel.root / "applications", "browse", "ascp") as served:
        said = served.stdout.readline() if served.stdout is not None else ""
        url, _, path = said.strip().partition(" with the token in ")
        if not path:
            raise Broken(f"thresher browse ascp: expected an address and the file of a token, got {said}")
        token = {"Authorization": f"Bearer {Path(path).read_text(encoding='utf-8')}"}
        for each in ("browse", "static/browse.js", "static/d3.min.js", "api/browse/items"):
            with urllib.request.urlopen(urllib.request.Request(url + each, headers=token), timeout=WATCHDOG_S) as page:
                found = page.read()
        served.send_signal(signal.SIGINT)
    if len(json.loads(found)["items"]["items"]) != 1:
        raise Broken(f"thresher browse ascp: expected the session that was stored, got {found!r}")


def zstd(wheel: Installed) -> None:
    """A packed file whose library is there now, in the state of the run that could not read it."""
    words, _ = _NEEDS["zstd"]
    wheel.works(wheel.root / "shop", *words, "--format", "text", says="read 1 records")


def odd_folder(wheel: Installed) -> None:
    """A folder with names that we, Python, or a library that many have use too."""
    folder = wheel.root / "full of names"
    for name in _TAKEN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"raise RuntimeError('{name} of this folder was imported')\n")
    (folder / "mine.py").write_text(_MINE)
    (folder / "in.log").write_text("first\nsecond\n")
    wheel.works(folder, "run", "mine.py", "in.log", "--format", "text", says="read 2 records")
    wheel.works(folder, "verify", "mine.py", "in.log", "--runs", "2", "--kills", "2", says="the same: 2 records")
    for words in (("lint", "mine.py"), ("explain", "mine.py"), ("check", "mine.py"), ("doctor",)):
        wheel.works(folder, *words)


def minimal(wheel: Installed, extra: str = "") -> list[str]:
    """The oldest libraries that the wheel, or one of its extras, allows, each as ``name==version``."""
    return [each.replace(">=", "==") for each in _declared(wheel, f"extra == '{extra}'" if extra else "")]


def _declared(wheel: Installed, marker: str) -> list[str]:
    listed = wheel.evaluated(
        "import importlib.metadata, json; print(json.dumps(importlib.metadata.requires('thresher')))")
    pairs = [line.replace('"', "'").replace(" ", "").partition(";")[::2] for line in json.loads(listed)]
    return [wanted for wanted, found in pairs if found == marker.replace(" ", "")]


def _put(words: list[str], target: str) -> list[str]:
    return [target if word == "TARGET" else word for word in words]


def _grow(log: Path, tap: subprocess.Popen[str]) -> None:
    """Append good lines until the tap has seen one; it says nowhere that it listens."""
    line = log.read_bytes().splitlines(keepends=True)[0]
    deadline = time.monotonic() + WATCHDOG_S
    while time.monotonic() < deadline:
        with log.open("ab") as file:
            file.write(line)
        try:
            tap.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        return
