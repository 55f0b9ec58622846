"""The selected schedule of each family that a study database holds, as rivals of a benchmark.

Chosen by what the searches say (their gain on the search excerpts), never by held-out tracks.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace

import optuna
from pydantic import ValidationError

from schedopt.errors import StudyError
from schedopt.files.schedule_file import SHARED, Entry, ScheduleFile
from schedopt.proof.methods import Method, Setting
from schedopt.search.export import entry_of
from schedopt.search.study import is_ours, read_studies
from schedopt.storage.opening import open_storage
from schedopt.storage.urls import shown, sqlite_file

log = logging.getLogger("schedopt")


def selected_of_families(files: Mapping[str, ScheduleFile], storage: str | None = None) -> list[Method]:
    """A method a family: for every stem of `files` (by path) the schedule with the highest gain in its search.

    Looks into `storage`, or into the SQLite databases that the files name; other servers are asked only where the user
    names them, since a file may come from anywhere. Only studies of the same weights and metric count. Where no other
    family is found, a note says where it was looked for.

    Raises:
        StudyError: `storage` cannot be used.
    """
    found: dict[tuple[str, str], Entry] = {}
    for path, file in files.items():
        places: dict[str, bool] = {}  # url → whether it holds another family
        for stem, entry in file.entries().items():
            url = storage or _local(entry.storage, path)
            if url is not None:
                places.setdefault(url, False)
                for other in _entries(url, stem, entry.metric, file.model.weights):
                    key = (str(other.family), stem)
                    found[key] = max(found.get(key, other), other, key=_gain)
                    places[url] |= other.family != entry.family
        _note_no_family(path, places)
    own = {(entry.study, entry.trial) for file in files.values() for entry in file.entries().values()}
    methods: dict[str, Method] = {}
    for (family, stem), entry in sorted(found.items()):
        # A file that is itself the selected one of its family is in the table already.
        if (entry.study, entry.trial) not in own:
            there = methods.get(family, Method(f"selected {family} schedule", "family", {}))
            origin = f"study {entry.study}, trial {entry.trial}"
            settings = {**there.settings, stem: Setting(entry.refinement(stem), entry.betas, origin)}
            methods[family] = replace(there, settings=settings)
    return list(methods.values())


def _note_no_family(path: str, places: Mapping[str, bool]) -> None:
    if places and not any(places.values()):
        log.warning(
            "%s: no study of another family, of the same stem, metric and weights, was found in %s, so no other family "
            "is compared",
            path,
            ", ".join(map(shown, places)),
        )


def _gain(entry: Entry) -> float:
    return entry.search.gain if entry.search is not None else float("-inf")


def _entries(url: str, stem: str, metric: str, weights: str | None) -> list[Entry]:
    """The selected schedules for `stem` of the storage's studies of these weights."""

    def entry(study: optuna.Study) -> Entry | None:
        attrs = study.user_attrs
        if not is_ours(study) or "baseline" not in attrs:
            return None
        config = attrs["config"]
        fits = (
            config.get("refinement", {}).get("target") in (stem, SHARED)
            and config["search"]["metric"] == metric
            and (weights is None or attrs.get("weights") == weights)
        )
        # Without a complete trial, or under a rule that needs the true stems, there is nothing to compare.
        with contextlib.suppress(StudyError, ValidationError):
            return entry_of(study, url) if fits else None
        return None

    return [one for one in read_studies(open_storage(url, read_only=True), entry) if one is not None]


def _local(url: str | None, path: str) -> str | None:
    """The file's storage if it is a SQLite file that is here and holds studies; a note where it is not."""
    if url is None:
        return None
    database = None
    with contextlib.suppress(StudyError):
        database = sqlite_file(url)
        if database is not None:
            open_storage(url, read_only=True)
            return url
    log.warning(
        "%s: its study database (%s) is not at hand, so no other family is compared; name it with --storage",
        path,
        shown(url),
    )
    return None
