"""Processes that answer calls, stay for the next one, are replaced when they are killed, and end with Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from schedopt.errors import DataError, StudyError
from schedopt.files.scratch import scratch_folder
from schedopt.storage.owners import is_dead, owner
from schedopt.workers.processes import KILLED, Processes, threads_each, usable_cores
from tests.servers import environment, wait_for


@pytest.fixture
def processes() -> Iterator[Processes]:
    made = Processes(2, {"SCHEDOPT_TEST": "set"})
    yield made
    made.end()


def pid(_: int) -> int:
    print("what a library prints is no answer")
    return os.getpid()


def variable(name: str) -> str | None:
    return os.environ.get(name)


def fail(kind: type[Exception]) -> None:
    raise kind("two\nlines")


def blocked() -> bool:
    """Whether Ctrl-C is kept from this process."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def die_once(marker: Path) -> int:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_they_stay_and_have_their_environment(processes: Processes) -> None:
    first = processes.run([(pid, (1,))] * 2)
    assert len(set(first)) == 2
    assert processes.run([(pid, (1,))] * 2) == first
    assert processes.run([(variable, ("SCHEDOPT_TEST",))] * 2) == ["set", "set"]
    assert "SCHEDOPT_TEST" not in os.environ


def test_an_error_is_one_line(processes: Processes) -> None:
    answers = processes.run([(fail, (DataError,)), (fail, (ZeroDivisionError,))])
    assert [type(answer) for answer in answers] == [StudyError, StudyError]
    assert str(answers[1]) == "ZeroDivisionError: two lines"


def test_a_killed_one_is_made_up_for_and_the_other_goes_on(processes: Processes, tmp_path: Path) -> None:
    before = processes.run([(pid, (1,))] * 2)
    assert processes.run([(die_once, (tmp_path / "marker",)), (pid, (1,))]) == [7, before[1]]
    after = processes.run([(pid, (1,))] * 2)
    assert after[0] != before[0]
    assert str(processes.run([(die, ()), (pid, (1,))])[0]) == KILLED


def test_only_the_caller_gets_ctrl_c() -> None:
    code = (
        "from tests.workers.test_processes import *; p = Processes(2, {}); print(p.run([(blocked, ())] * 2)); p.end();"
        " print(blocked())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.split("\n")[:2] == ["[True, True]", "False"]


def test_ctrl_c_ends_them(processes: Processes) -> None:
    pids = processes.run([(pid, (1,))] * 2)
    began = time.monotonic()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        processes.run([(time.sleep, (60,))] * 2, interrupt)
    assert time.monotonic() - began < 30
    assert not [number for number in pids if psutil.pid_exists(number)]


def test_none_of_them_sees_another_one_dead(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that did would report the other one's trial as that of a process that died."""
    pids = processes.run([(pid, (1,))] * 2)
    seen: list[list[str]] = []
    kill = subprocess.Popen.kill

    def slow_kill(self: Any) -> None:
        if not seen:
            wait_for(lambda: all(psutil.Process(number).status() == psutil.STATUS_STOPPED for number in pids))
            seen.append([psutil.Process(number).status() for number in pids])
        kill(self)

    monkeypatch.setattr(subprocess.Popen, "kill", slow_kill)
    processes.end()
    assert seen == [[psutil.STATUS_STOPPED] * 2]
    assert not [number for number in pids if psutil.pid_exists(number)]


def test_they_end_when_the_caller_is_killed() -> None:
    code = (
        "from tests.workers.test_processes import *; p = Processes(2, {}); print(p.run([(pid, (1,))] * 2), flush=True)"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", f"{code}; print(p.run([(pid, (1,))] * 2), flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert caller.stdout is not None
    pids = eval(caller.stdout.readline())
    caller.kill()
    caller.communicate()
    wait_for(lambda: not any(psutil.pid_exists(number) for number in pids), 30)


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.workers.test_processes import Processes, pid\n"
        "p = Processes(2, {})\nprint(len(set(p.run([(pid, (1,))] * 2))))\np.end()\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout == "2\n"


def test_cores_are_those_that_this_process_may_use() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from tests.workers.test_processes import *"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(usable_cores(), threads_each(8))"],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    assert done.stdout == "1 1\n"
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert threads_each(1) == usable_cores()


def keep_folder() -> None:
    with scratch_folder(Path(tempfile.gettempdir()), str(os.getpid())) as folder:
        (folder / "excerpts.pt").write_bytes(b"0" * 100)
        print(folder, flush=True)
        time.sleep(60)


def test_what_a_killed_process_left_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    command = [sys.executable, "-c", "from tests.workers.test_processes import *; keep_folder()"]
    environ = {**environment(), "TMPDIR": str(tmp_path)}
    two = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) for _ in range(2)]
    folders = [Path(process.stdout.readline().strip()) for process in two if process.stdout is not None]
    two[0].kill()
    two[0].communicate()
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "job").write_text((folders[0] / "job").read_text())
    (tmp_path / ".schedopt-link").symlink_to(victim)
    with scratch_folder(tmp_path, "next") as folder:
        assert folder.exists()
        assert not folders[0].exists()
        assert folders[1].exists(), "its process is alive"
        assert (victim / "job").exists(), "a link to another folder is not followed"
    assert not folder.exists()
    two[1].kill()
    two[1].communicate()


def test_a_process_is_known_by_its_start_time() -> None:
    mine = owner()
    assert not is_dead(mine)
    assert is_dead(mine.rpartition("|")[0] + "|0.01"), "another process that has this number now"
