"""The script that installs what tests need, with a stand-in for apt-get."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("system_parts.py")
APT = """#!/bin/sh
echo "$@" >> {log}
[ {code} = 0 ] || {{ echo no network >&2; exit {code}; }}
[ "$1" = install ] || exit 0
for name in ffmpeg initdb chromium chromedriver; do printf '#!/bin/sh\\n' > {bin}/$name; /bin/chmod +x {bin}/$name; done
"""


def run(folder: Path, code: int) -> subprocess.CompletedProcess[str]:
    """Run the script where nothing but these stand-ins is on the path."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, text in {
        "apt-get": APT.format(log=folder / "log", bin=programs, code=code),
        "sudo": '#!/bin/sh\nshift\nexec "$@"\n',
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": str(programs)}
    return subprocess.run(
        [sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, check=False, cwd=folder
    )


def test_what_is_missing_is_installed_once(tmp_path: Path) -> None:
    done = run(tmp_path, 0)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("system parts: installing ffmpeg ")
    update, install = (tmp_path / "log").read_text().splitlines()
    assert update == "update -qq"
    assert {"ffmpeg", "chromium", "chromium-driver"} <= set(install.split())
    assert run(tmp_path, 0).stdout == "system parts: all there\n"
    assert len((tmp_path / "log").read_text().splitlines()) == 2


@pytest.mark.parametrize("apt", [True, False])
def test_what_cannot_be_installed_is_named(apt: bool, tmp_path: Path) -> None:
    if not apt:
        (tmp_path / "bin").mkdir()
        environment = {**os.environ, "PATH": str(tmp_path / "bin")}
        done = subprocess.run(
            [sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, check=False
        )
    else:
        done = run(tmp_path, 100)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("system parts: MISSING ffmpeg ")
    assert ("no network" if apt else "there is no apt-get here") in line
