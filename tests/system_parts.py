"""System programs that the tests need; `python3 tests/system_parts.py` installs what is missing (Debian, Ubuntu).

Needs root, or sudo without a password, and the standard library alone. It ends with exit code 1 where a part is still
missing: the tests that need it then fail and name it; none is skipped.
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


def missing_packages() -> list[str]:
    return [package for program, package in PARTS.items() if find_program(program) is None]


def install(packages: list[str]) -> str:
    """Install Debian packages; why that failed, or nothing."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get here"
    first = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        command = [*first, "apt-get", *arguments]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return "neither root nor sudo"
        if done.returncode:
            return f"{' '.join(command)}: {done.stderr.strip()[-300:]}"
    return ""


def main() -> int:
    wanted = missing_packages()
    if not wanted:
        print("system parts: all there")
        return 0
    print(f"system parts: installing {' '.join(wanted)}", flush=True)
    failure = install(wanted)
    still = missing_packages()
    if still:
        print(f"system parts: MISSING {' '.join(still)} ({failure or 'not in the packages'})", file=sys.stderr)
    return 1 if still else 0


if __name__ == "__main__":
    sys.exit(main())
