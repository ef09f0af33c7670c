"""The servers that tests start do not outlive the test process, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loads import ROOT
from tests.monitors import eventually
from tests.processes import Served, named_in_processes

_STARTS_ONE = """
import sys, time
from pathlib import Path
from tests.processes import Served
print(Served(["sleep", sys.argv[1]], Path(sys.argv[2]), {}).pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_server_ends_with_the_test_process_that_has_started_it(tmp_path: Path, number: int) -> None:
    mark = str(600_000 + os.getpid())
    with subprocess.Popen([sys.executable, "-c", _STARTS_ONE, mark, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert named_in_processes("sleep", mark)
        process.send_signal(number)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the server is gone")


def test_a_server_that_ends_before_it_is_ready_is_told_with_its_log(tmp_path: Path) -> None:
    served = Served(["/bin/sh", "-c", "echo no room; exit 3"], tmp_path, {})
    with pytest.raises(AssertionError, match=r"ended with 3:\nno room"):
        served.wait_until(lambda: False, (tmp_path / "said").read_text)
    served.kill()
