"""The run directory: private, short, one run at a time, nothing left behind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from actors.runtime import rundir
from actors.runtime.errors import ConfigError
from actors.runtime.rundir import BOARD, RunDirectory, find, path_for, scratch_directory

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place for run directories of this test's own; the real one may be in use."""
    base = tmp_path_factory.mktemp("r")
    if len(str(base)) <= 50:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))


def test_the_directory_is_private_and_so_is_the_one_above(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "state")
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.path.parent.stat().st_mode) == 0o700
    directory.close()


def test_the_state_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "a" / "b").close()
    assert (tmp_path / "a" / "b" / "lock").exists()


def test_a_state_directory_is_made_private_and_one_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    (tmp_path / "shared").chmod(0o755)
    before = os.umask(0)
    try:
        for name, mode in (("own", 0o700), ("shared", 0o755)):
            directory = RunDirectory(tmp_path / name)
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
            assert stat.S_IMODE((tmp_path / name / "lock").stat().st_mode) == 0o600
            assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
            directory.close()
    finally:
        os.umask(before)


def test_nothing_is_left_when_the_run_ends(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "state")
    (directory.path / "reader.1.1").touch()
    directory.close()
    assert not directory.path.exists()


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    left = path_for(tmp_path / "state")
    left.mkdir(parents=True)
    (left / "parser.1.1").touch()
    directory = RunDirectory(tmp_path / "state")
    assert list(directory.path.iterdir()) == []
    directory.close()


def test_a_second_run_on_the_same_state_is_told_who_has_it_and_harms_nobody(tmp_path: Path) -> None:
    first = RunDirectory(tmp_path / "state")
    (first.path / BOARD).touch()
    with pytest.raises(ConfigError, match=rf"another run uses it \(process {os.getpid()}\): .*--state DIR"):
        RunDirectory(tmp_path / "state")
    assert (first.path / BOARD).exists()
    first.close()
    RunDirectory(tmp_path / "state").close()


def test_two_runs_with_states_of_their_own_do_not_meet(tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path / "a"), RunDirectory(tmp_path / "b")
    assert first.path != second.path
    first.close()
    second.close()


def test_the_lock_goes_with_its_process_however_it_ends(tmp_path: Path) -> None:
    script = ("import os, signal, sys; from pathlib import Path; from actors.runtime.rundir import RunDirectory; "
              "RunDirectory(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)")
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "state")], cwd=ROOT, check=False, timeout=240)
    assert path_for(tmp_path / "state").exists()
    RunDirectory(tmp_path / "state").close()


def test_the_lock_is_not_inherited_by_children(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "state")
    assert not os.get_inheritable(directory._lock)
    directory.close()


def test_a_state_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for state in (tmp_path / "file", tmp_path / "file" / "state"):
        with pytest.raises(ConfigError, match=r"state directory .*: give another with --state DIR"):
            RunDirectory(state)


def test_one_state_has_one_directory_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "state")
    monkeypatch.chdir(tmp_path)
    assert path_for(Path("state")) == path_for(tmp_path / "state") == path_for(tmp_path / "link")


def test_the_path_is_short_whatever_the_length_of_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 100)))
    assert len(str(path_for(tmp_path / ("y" * 200)))) < 60


def test_an_unusable_runtime_directory_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nonexistent")
    assert path_for(tmp_path).parent == Path("/tmp") / f"thresher-{os.getuid()}"


def test_a_run_is_found_while_it_goes_on_and_not_afterwards(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert find(state) is None
    directory = RunDirectory(state)
    assert find(state) is None, "there is no board yet"
    (directory.path / BOARD).touch()
    assert find(state) == directory.path
    directory.close()
    assert find(state) is None


def test_a_killed_run_is_not_found(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "state")
    (directory.path / BOARD).touch()
    os.close(directory._lock)  # as the kernel does
    assert find(tmp_path / "state") is None
    directory._lock = os.open(os.devnull, os.O_RDONLY)
    directory.close()


def test_a_directory_that_others_can_look_into_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    rundir._make_private(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_something_that_is_no_directory_in_the_place_of_ours_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "file", "dangling"):
        with pytest.raises(ConfigError, match="expected a directory of user"):
            rundir._make_private(tmp_path / name)


def test_a_file_in_the_place_of_the_run_directory_does_not_stop_a_run(tmp_path: Path) -> None:
    place = path_for(tmp_path / "state")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    try:
        RunDirectory(tmp_path / "state").close()
    finally:
        place.unlink(missing_ok=True)


def test_a_scratch_directory_is_empty_and_private() -> None:
    path = scratch_directory()
    assert list(path.iterdir()) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    path.rmdir()
