"""schedopt searches the β schedule of progressive inference with a pretrained Demucs.

    from schedopt import load_config, run

    (summary,) = run(load_config("studies/demo-vocals-linear.toml"))
    print(summary.selected.betas, summary.selected.gain)

The public names are those of `__init__.pyi`; each is imported when it is first used.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
from pathlib import Path

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _let_threads_sleep() -> None:
    """Load torch's OpenMP library with the wait policy PASSIVE, unless the user has chosen one.

    Threads that wait for one another by spinning cost 33 CPU seconds a song instead of 13, and slow down whatever else
    the machine does. GNU's library reads its variables while it is loaded, so that the environment is as before
    afterwards; torch finds the library loaded. Where torch has another one (macOS, Windows), or was imported before,
    nothing changes: set the variable before Python starts.
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
