"""`schedopt.run` of something that is no config says how one is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schedopt import run
from schedopt.errors import ConfigError


@pytest.mark.parametrize("value", ["s.toml", Path("s.toml"), None, {"study": {"name": "x"}}], ids=str)
def test_what_is_no_config_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"run takes a config, not .*schedopt\.load_config.*schedopt\.make_config"):
        run(value)
