"""Samplers of OptunaHub (hub.optuna.org): code of other people, downloaded when it is first used.

Each package has a folder `samplers/NAME` in the registry; OptunaHub's own client downloads it into its cache
(`$OPTUNAHUB_CACHE_HOME`) and imports it, which runs it. So nothing is loaded unless the user says so.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from optuna.samplers import BaseSampler

from schedopt.errors import ConfigError, require
from schedopt.optuna_classes import HUB


def hub_class(name: str, *, trusted: bool) -> type[BaseSampler]:
    """The sampler that `hub:NAME` stands for, or `hub:NAME:CLASS` where a package has several.

    Raises:
        ConfigError: it is not `trusted`, OptunaHub's client is not installed, the package cannot be downloaded or
            imported, or it has no such sampler; one line.
    """
    if not trusted:
        raise ConfigError(
            f"search.sampler = {name!r} downloads code from OptunaHub and runs it; if you trust it, add --trust-hub"
            " (in Python: trust_hub=True)"
        )
    package, _, wanted = name.removeprefix(HUB).partition(":")
    classes = _samplers(_load(name, package))
    if wanted:
        classes = {wanted: classes[wanted]} if wanted in classes else {}
    if len(classes) == 1:
        return next(iter(classes.values()))
    if not classes:
        raise ConfigError(f"search.sampler = {name!r}: the package has no sampler{f' {wanted}' if wanted else ''}")
    raise ConfigError(
        f"search.sampler = {name!r}: the package has several samplers; write one of"
        f" {', '.join(f'{HUB}{package}:{one}' for one in classes)}"
    )


def _load(name: str, package: str) -> Any:
    require("optunahub", f"search.sampler = {name!r} needs", "hub")
    try:
        return importlib.import_module("optunahub").load_module(f"samplers/{package}")
    except Exception as error:  # of git, of the network, or whatever the package's own code raises
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if "fatal" in line or "No module" in line), (lines or [""])[0])
        raise ConfigError(
            f"search.sampler = {name!r} cannot be loaded from OptunaHub"
            f" ({type(error).__name__}{f': {reason[:200]}' if reason else ''}): check its name at"
            " hub.optuna.org, the network, and the packages that it needs"
        ) from None


def _samplers(module: Any) -> Mapping[str, type[BaseSampler]]:
    """The samplers that a package offers; without `__all__` those that it defines."""
    prefix = module.__name__
    offered = getattr(module, "__all__", None)
    return {
        name: found
        for name, found in vars(module).items()
        if inspect.isclass(found)
        and issubclass(found, BaseSampler)
        and not inspect.isabstract(found)
        and (name in offered if offered is not None else found.__module__.startswith(prefix))
    }
