"""Optuna's samplers and pruners by their own class names, with options, as study files name them.

Short names stand for classes too. Optuna is imported where a class is needed, since that takes a second.
"""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Mapping
from typing import Any, Literal

from schedopt.files.explain import nearest

Kind = Literal["sampler", "pruner"]

OWN: Mapping[Kind, tuple[str, ...]] = {"sampler": ("prefix-gp",), "pruner": ("wilcoxon", "predictive")}
"""Names of schedopt's own classes."""

SHORT: Mapping[Kind, Mapping[str, str]] = {
    "sampler": {
        "random": "RandomSampler",
        "grid": "GridSampler",
        "tpe": "TPESampler",
        "cmaes": "CmaEsSampler",
        "gp": "GPSampler",
        "qmc": "QMCSampler",
    },
    "pruner": {
        "none": "NopPruner",
        "median": "MedianPruner",
        "percentile": "PercentilePruner",
        "successive-halving": "SuccessiveHalvingPruner",
        "hyperband": "HyperbandPruner",
    },
}


NESTED: Mapping[str, Kind] = {
    "wrapped_pruner": "pruner",
    "base_sampler": "sampler",
    "independent_sampler": "sampler",
}
"""Options that are themselves a sampler or pruner: the study file names its class."""

HUB = "hub:"
"""Begins the name of a sampler of OptunaHub; see `schedopt.search.hub`."""

HUB_NAME = re.compile(r"hub:[a-z0-9_]+(:[A-Za-z_][A-Za-z0-9_]*)?")

VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def known_names(kind: Kind) -> list[str]:
    """Short names; classes have their own."""
    return [*OWN[kind], *SHORT[kind]]


def check(kind: Kind, name: str, options: Mapping[str, Any]) -> None:
    """Raise a `ValueError`, one line with the nearest known name, where there is no such class or option."""
    if kind == "sampler" and name.startswith(HUB):
        if not HUB_NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is not hub:NAME or hub:NAME:CLASS, with NAME as in hub.optuna.org/samplers/NAME"
            )
        return  # its options are known when it is loaded
    if name in OWN[kind]:
        if options:
            raise ValueError(f"the {kind} {name} has no options")
        return
    if name in SHORT[kind] and not options:
        return
    check_options(class_of(kind, name), options)


def check_options(found: type[Any], options: Mapping[str, Any]) -> None:
    """Raise a `ValueError`, one line with the nearest known name, where the class has no such option."""
    known = _options(found)
    for option in options:
        if option not in known:
            some = ", ".join(known) or "none"
            raise ValueError(f"{found.__name__} has no option {option!r}{nearest(option, known)}; it has {some}")
    for option in NESTED.keys() & options.keys():
        if options[option] is not None:
            class_of(NESTED[option], str(options[option]))


def class_of(kind: Kind, name: str) -> type[Any]:
    """The class of `optuna.samplers` or `optuna.pruners` that `name` stands for; `ValueError` where there is none."""
    module = importlib.import_module(f"optuna.{kind}s")
    every = [getattr(module, one) for one in module.__all__ if isinstance(getattr(module, one), type)]
    classes = {one.__name__: one for one in every if not inspect.isabstract(one)}
    found: type[Any] | None = classes.get(SHORT[kind].get(name, name))
    if found is None:
        known = [*known_names(kind), *classes]
        raise ValueError(f"there is no {kind} {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return found


def build(kind: Kind, name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    """An instance of the class that `name` stands for; `defaults` count where it knows them and `options` do not.

    Raises:
        ValueError: an option is missing or has a value that the class refuses; one line.
    """
    return build_class(kind, class_of(kind, name), options, defaults)


def build_class(kind: Kind, found: type[Any], options: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    """See `build`; `check_options` refuses what the class does not have."""
    known = _options(found)
    given = {option: value for option, value in {**defaults, **options}.items() if option in known}
    for option in NESTED.keys() & known.keys():
        inner = given.get(option)
        if isinstance(inner, str):
            given[option] = build(NESTED[option], inner, {}, defaults)
        elif known[option].default is inspect.Parameter.empty:
            given.setdefault(option, None)
    missing = [o for o, one in known.items() if one.default is inspect.Parameter.empty and o not in given]
    if missing:
        raise ValueError(f"{found.__name__} needs the option {missing[0]}: write it under [search.{kind}_options]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return found(**given)
        except Exception as error:
            text = " ".join(f"{error}".split())
            raise ValueError(f"{found.__name__} refuses its options: {text or type(error).__name__}") from None


def _options(found: type[Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(found.__init__).parameters.values()
    return {one.name: one for one in parameters if one.name != "self" and one.kind not in VARIADIC}
