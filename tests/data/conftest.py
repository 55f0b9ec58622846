from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope="session")
def ffmpeg() -> None:
    """musdb decodes with these; a machine without them has not run these tests, and says so."""
    missing = [program for program in ("ffmpeg", "ffprobe") if shutil.which(program) is None]
    if missing:
        pytest.fail(f"{' and '.join(missing)} not found: install ffmpeg (Debian, Ubuntu: apt-get install ffmpeg)")
