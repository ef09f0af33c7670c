"""``thresher.run``: a run from a program of one's own, as real processes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WATCHDOG_S = 240.0
WORDS = '''
import os, time
from thresher import Pipeline, Reject
from thresher.sinks import DeadLetters, Lines
from thresher.sources import Files

def parse(line):
    word, _, number = line.partition(b" ")
    if not number.isdigit():
        raise Reject("number", "expected digits")
    return line

PIPELINE = Pipeline(name="words", source=Files(rename="none"), parse=parse, route=lambda record: "out",
                    sinks={"out": Lines()}, dead_letters=DeadLetters())
'''
ASK = '''
import json, sys, threading
import thresher
%s
def ask(target):
    try:
        result = thresher.run(target, "in.txt", settings={"budget.max_error_rate": 0.5})
        print(json.dumps([result.code, result.ok, result.read, result.outcomes, result.reason]))
    except thresher.ConfigError as error:
        print(json.dumps(str(error)))
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "words.py").write_text(WORDS, encoding="utf-8")
    (tmp_path / "in.txt").write_text("a 1\nb 2\nc x\nd 4\n", encoding="utf-8")
    return tmp_path


def _say(folder: Path, body: str, before: str = "", by: str = "script.py") -> Any:
    """What a script, or what is typed at a prompt, says when it asks for a run."""
    text = ASK % before + body
    (folder / by).write_text(text, encoding="utf-8")
    words, typed = ([by], None) if by.endswith(".py") else ([], text)
    said = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=WATCHDOG_S,
                          input=typed, check=False)
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert len(lines) == 1, f"{said.stdout}\n{said.stderr}"
    assert said.stderr == ""
    return json.loads(lines[0])


DONE = [0, True, 4, {"written": 3, "folded": 0, "filtered": 0, "dead_lettered": 1, "handed_over": 0},
        "all input is loaded"]


def test_a_module_is_run_by_its_name_and_nothing_is_printed(folder: Path) -> None:
    assert _say(folder, 'ask("words")\n') == DONE
    assert (folder / "var/words/out.log").read_bytes() == b"a 1\nb 2\nd 4\n"


def test_a_pipeline_of_an_imported_module_is_run(folder: Path) -> None:
    assert _say(folder, 'if __name__ == "__main__":\n    ask(words.PIPELINE)\n', "import words") == DONE


def test_threads_of_the_caller_are_no_matter(folder: Path) -> None:
    body = 'threading.Thread(target=threading.Event().wait, daemon=True).start()\nask("words")\n'
    assert _say(folder, body) == DONE


def test_a_run_may_be_begun_from_another_thread(folder: Path) -> None:
    body = 'thread = threading.Thread(target=ask, args=("words",))\nthread.start()\nthread.join()\n'
    assert _say(folder, body) == DONE


def test_a_pipeline_that_is_typed_at_a_prompt_is_refused_in_one_sentence(folder: Path) -> None:
    said = _say(folder, "ask(PIPELINE)\n", WORDS, by="typed")
    assert "notebook or at a prompt" in said and "\n" not in said


def test_a_pipeline_that_is_no_attribute_of_a_module_is_refused_in_one_sentence(folder: Path) -> None:
    said = _say(folder, "def go():\n    import msgspec\n"
                        "    ask(msgspec.structs.replace(words.PIPELINE, name='other'))\ngo()\n", "import words")
    assert "an attribute of no module" in said and "\n" not in said


def test_a_wrong_configuration_raises_what_the_command_says(folder: Path) -> None:
    said = _say(folder, "try:\n    thresher.run('words', settings={'parser.worker': 3})\n"
                        "except thresher.ConfigError as error:\n    print(json.dumps(str(error)))\n")
    assert "unknown key 'parser.worker'" in said and "did you mean 'workers'?" in said


def test_settings_may_be_numbers_texts_and_lists(folder: Path) -> None:
    said = _say(folder, "result = thresher.run('words', settings={'source.paths': ['in.txt'], 'parser.workers': 1, "
                        "'source.rename': 'none', 'budget.max_error_rate': 0.5}, state='kept')\n"
                        "print(json.dumps([result.ok, result.state]))\n")
    assert said == [True, str(folder / "kept")]


def test_a_run_without_end_is_drained_when_its_caller_is_killed(folder: Path) -> None:
    (folder / "script.py").write_text("import thresher\nthresher.run('words', 'in.txt', follow=True, show=True)\n")
    with subprocess.Popen([sys.executable, "script.py"], cwd=folder, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as caller:
        assert caller.stdout is not None
        next(line for line in caller.stdout if b"ready" in line)
        run, = _children(caller.pid)
        pidfd = os.pidfd_open(run)
        caller.kill()
        assert select.select([pidfd], [], [], WATCHDOG_S)[0], "the run goes on without its caller"
        os.close(pidfd)
        assert b"SIGTERM" in caller.stdout.read()


def test_ctrl_c_drains_the_run_and_the_call_returns_how_it_ended(folder: Path) -> None:
    (folder / "script.py").write_text(
        "import signal\nimport thresher\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored\n"
        "result = thresher.run('words', 'in.txt', follow=True, show=True)\n"
        "print('code', result.code, flush=True)\n")
    with subprocess.Popen([sys.executable, "script.py"], cwd=folder, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as caller:
        assert caller.stdout is not None
        next(line for line in caller.stdout if b"ready" in line)
        caller.send_signal(signal.SIGINT)
        said = caller.stdout.read()
        assert caller.wait(WATCHDOG_S) == 0, said
        assert said.splitlines()[-1] == b"code 0", said  # what is followed has no end: to stop it is no failure


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
