"""schedopt searches the β schedule of progressive inference with a pretrained Demucs.

    from schedopt import load_config, run

    (summary,) = run(load_config("studies/demo-vocals-linear.toml"))
    print(summary.best.betas, summary.best.gain)

The names below are the public ones; each is imported when it is first used.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from schedopt.config import StudyConfig, load_config, make_config
    from schedopt.data import cut_excerpts, load_tracks, mix
    from schedopt.errors import SchedoptError
    from schedopt.evaluation import Evaluator
    from schedopt.metrics import sdr, si_sdr, snr
    from schedopt.refinement import Refinement
    from schedopt.schedules import family, line
    from schedopt.separators import Separator, load_separator
    from schedopt.trajectory import Scene, refine
    from schedopt.types import STEMS, Excerpt
    from schedopt.workers.run import run

_HOME = {
    "StudyConfig": "config",
    "load_config": "config",
    "make_config": "config",
    "cut_excerpts": "data",
    "load_tracks": "data",
    "mix": "data",
    "SchedoptError": "errors",
    "Evaluator": "evaluation",
    "sdr": "metrics",
    "si_sdr": "metrics",
    "snr": "metrics",
    "family": "schedules",
    "line": "schedules",
    "run": "workers.run",
    "Separator": "separators",
    "load_separator": "separators",
    "Refinement": "refinement",
    "Scene": "trajectory",
    "refine": "trajectory",
    "STEMS": "types",
    "Excerpt": "types",
}

__all__ = [
    "STEMS",
    "Evaluator",
    "Excerpt",
    "Refinement",
    "Scene",
    "SchedoptError",
    "Separator",
    "StudyConfig",
    "cut_excerpts",
    "family",
    "line",
    "load_config",
    "load_separator",
    "load_tracks",
    "make_config",
    "mix",
    "refine",
    "run",
    "sdr",
    "si_sdr",
    "snr",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'schedopt' has no attribute {name!r}")
    return getattr(importlib.import_module(f"schedopt.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _let_threads_sleep() -> None:
    """Load torch's OpenMP library with the wait policy PASSIVE, unless the user has chosen one.

    Threads that wait for one another by spinning cost 33 CPU seconds a song instead of 13, and slow down whatever else
    the machine does. GNU's library reads its variables while it is loaded, so that the environment is as before
    afterwards; torch finds the library loaded. Where torch has another one (macOS, Windows), nothing changes.
    """
    if "torch" in sys.modules or "OMP_WAIT_POLICY" in os.environ:
        return
    torch = importlib.util.find_spec("torch")
    folder = Path(torch.origin).parent if torch is not None and torch.origin else None
    for path in [] if folder is None else folder.glob("lib/libgomp*.so*"):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        try:
            with contextlib.suppress(OSError):
                ctypes.CDLL(str(path))
        finally:
            del os.environ["OMP_WAIT_POLICY"]


_let_threads_sleep()
