"""Real servers on loopback for tests: PostgreSQL, and a Dask scheduler with worker processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.system_parts import find_program

PASSWORD = "s3cret-Passw0rd"


def environment() -> dict[str, str]:
    """For processes that start in another folder: schedopt is importable although it may not be installed."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def poll(condition: Callable[[], Any], seconds: float, every: float) -> Any:
    """The first true answer of `condition`; after `seconds` its last one."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(every)


def wait_for(condition: Callable[[], Any], seconds: float = 60.0, every: float = 0.02) -> Any:
    """The first true answer of `condition`; fails after `seconds`."""
    answer = poll(condition, seconds, every)
    assert answer, "waited in vain"
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Postgres:
    """A PostgreSQL cluster of its own under a temporary folder; its user `me` needs the password."""

    def __init__(self) -> None:
        self.port = free_port()
        # Not under pytest's folders: the server does not run as root, and those are closed to others.
        self.folder = Path(tempfile.mkdtemp(prefix="schedopt-pg-"))
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "postgres", self.folder], check=True)
        self._run("initdb", "-U", "me", "-A", "scram-sha-256", "--pwfile", password, "--no-sync", "-E", "UTF8")
        settings = [
            "listen_addresses = '127.0.0.1'",
            f"port = {self.port}",
            "unix_socket_directories = ''",
            "fsync = off",  # the machine does not crash here, only the server
            "max_connections = 50",
        ]
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write("\n".join(settings) + "\n")
        self.start()

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-s", "-l", self.folder / "log")

    def stop(self) -> None:
        """As a crash would: connections are cut, nothing is shut down."""
        self._run("pg_ctl", "stop", "-w", "-s", "-m", "immediate")

    def restart(self) -> None:
        self._run("pg_ctl", "restart", "-w", "-s", "-m", "immediate", "-l", self.folder / "log")

    def remove(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_database(self, name: str) -> str:
        """Make the database `name`; its storage URL, password included."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="me", password=PASSWORD, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: str | Path) -> None:
        found = find_program(program)
        assert found is not None, f"{program} is missing: install PostgreSQL (Debian: apt-get install postgresql)"
        command = [str(found), "-D", str(self.folder / "data"), *map(str, arguments)]
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            command = ["runuser", "-u", "postgres", "--", *command]
        # Not a pipe: the server would keep it open.
        with (self.folder / f"{program}.out").open("w+") as output:
            done = subprocess.run(command, stdout=output, stderr=output, cwd=self.folder, check=False)
            output.seek(0)
            assert done.returncode == 0, f"{program}: {output.read()}"


class Dask:
    """A Dask scheduler and `count` worker processes with one thread each."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        self.folder = folder
        self.scheduler = self._start("dask_scheduler", "--port", "0", "--scheduler-file", folder / "scheduler.json")
        self.address: str = wait_for(self._read_address)
        self.workers: list[subprocess.Popen[bytes]] = []
        for _ in range(count):
            self.add_worker()

    def add_worker(self) -> None:
        options = ("--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--local-directory", self.folder)
        self.workers.append(self._start("dask_worker", self.address, *options))

    def kill_worker(self) -> None:
        process = self.workers.pop()
        process.kill()
        process.wait()

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def _read_address(self) -> str | None:
        try:
            address: str = json.loads((self.folder / "scheduler.json").read_text())["address"]
        except (OSError, ValueError):
            assert self.scheduler.poll() is None, "the Dask scheduler ended"
            return None
        return address

    def _start(self, program: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{program}", "--host", "127.0.0.1", "--no-dashboard"]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen([*command, *map(str, arguments)], stdout=log, stderr=log, env=environment())


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of `size` (as 300k) of its own; needs the right to mount.

    Raises:
        PermissionError: mounting is not allowed here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        raise PermissionError(done.stderr.decode())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
