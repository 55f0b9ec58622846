"""System programs that tests need, installed where that is possible (root and apt), else named loudly.

A missing part never skips a test: the tests that need it fail and say what to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PARTS = {"ffmpeg": "ffmpeg", "initdb": "postgresql", "chromium": "chromium", "chromedriver": "chromium-driver"}
"""Program → Debian package. musdb reads all audio through ffmpeg and ffprobe; studies are shared through PostgreSQL;
reports and the dashboard are opened in Chromium."""


def find_program(name: str) -> Path | None:
    """Where a program is; Debian keeps PostgreSQL's server programs off the PATH."""
    found = shutil.which(name)
    if found is not None:
        return Path(found).resolve()
    hidden = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return hidden[-1] if hidden else None


def install_missing() -> None:
    """Install the packages whose programs are not there; say so on stderr, whatever comes of it."""
    missing = [package for program, package in PARTS.items() if find_program(program) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"MISSING for the tests: install {' '.join(missing)}", file=sys.stderr)
        return
    print(f"installing for the tests: {' '.join(missing)}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{' '.join(command)} failed: {done.stderr.strip()[-300:]}", file=sys.stderr)
