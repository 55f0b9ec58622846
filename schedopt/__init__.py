"""schedopt searches the β schedule of progressive inference with a pretrained Demucs.

    from schedopt import load_config, run

    (summary,) = run(load_config("studies/demo-vocals-linear.toml"))
    print(summary.best.betas, summary.best.gain)

The public names are those of `__init__.pyi`; each is imported when it is first used.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
