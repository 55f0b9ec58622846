"""What all studies of one file share: the separator, the excerpts, and the steps that they have in common."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schedopt.config import StoreSection, StudyConfig
from schedopt.data import Split, check_source, cut_excerpts, load_tracks, plan_stems, stems_of
from schedopt.disk import DiskStore, default_folder
from schedopt.errors import ConfigError
from schedopt.evaluation import Evaluator
from schedopt.files.explain import nearest
from schedopt.outputs import OUTPUTS
from schedopt.refinement import Refinement
from schedopt.search.audio import AudioKeeper
from schedopt.search.mixing import FEWEST_TRACKS
from schedopt.search.objective import Objective, OnExcerpt
from schedopt.separators import Separator, load_separator
from schedopt.store import Store
from schedopt.types import STEMS, Excerpt, Track

log = logging.getLogger("schedopt")


@dataclass
class PreparedSearch:
    """A study file made ready to evaluate schedules."""

    config: StudyConfig
    separator: Separator
    excerpts: Sequence[Excerpt]
    store: Store

    @classmethod
    def prepare(
        cls,
        config: StudyConfig,
        *,
        split: Split = "search",
        trust_pickle: bool = False,
        excerpts: Sequence[Excerpt] | None = None,
        workers: int = 1,
    ) -> PreparedSearch:
        """Load the model and cut the excerpts of one side of the split, in `workers` threads; no pass yet.

        `excerpts`: those of another process, which has cut them.

        Raises:
            SeparatorError, DataError: the model or the tracks cannot be used.
            ConfigError: a gain of a stem that the tracks do not have.
        """
        data = config.data
        if excerpts is None:
            check_source(data.source, split, data.stems)
        separator = load_separator(
            config.separator.model,
            device=config.separator.device,
            precision=config.separator.precision,
            overlap=config.separator.overlap,
            stems=config.separator.stems,
            trust_pickle=trust_pickle,
            optimise=config.separator.optimise,
        )
        if excerpts is None:
            tracks = load_tracks(data.source, split, data.tracks, mapping=data.stems, stems=separator.stems)
            needed, optional = stems_to_cut(separator, tracks)
            excerpts = cut_excerpts(
                tracks, data.excerpt, data.excerpts_per_track, stems=needed, optional=optional, workers=workers
            )
        offered = sorted({stem for excerpt in excerpts for stem in excerpt.stems})
        for stem in data.gains:
            if stem not in offered:
                raise ConfigError(
                    f"data.gains.{stem}: {data.source} has no stem {stem!r} here{nearest(stem, offered)}; it has"
                    f" {', '.join(offered)}"
                )
        return cls(config, separator, excerpts, make_store(config.store))

    @property
    def stems(self) -> list[str]:
        """The stems that model and music both have, in the model's order."""
        offered = {stem for excerpt in self.excerpts for stem in excerpt.stems}
        return [stem for stem in self.separator.stems if stem in offered]

    def objective(self, target: str, on_excerpt: OnExcerpt | None = None, *, note: bool = True) -> Objective:
        """The objective of the study of `target` (a stem, or `all` for one schedule shared by all stems).

        `note`: say which excerpts are left out.
        """
        config = self.config
        stems = self.stems if target == "all" else [target]
        shared = len(config.refinement.targets) > 1 or target == "all"
        evaluators = [
            Evaluator(
                self.separator,
                self.excerpts,
                self.refinement(stem),
                metric=config.search.criteria[0],
                also=(config.search.criteria[1],) if config.search.dial else (),
                gains=config.data.gains,
                store=self.store,
                shared_stems=self.separator.stems if shared else (),
            )
            for stem in stems
        ]
        mixers = [name for name in config.refinement.outputs if OUTPUTS.find(name).bands]
        for evaluator in evaluators:
            if note and evaluator.left_out:
                names = ", ".join(excerpt.name for excerpt in evaluator.left_out)
                log.warning(
                    "%s is silent in %d of %d excerpts, which are left out of its mean: %s",
                    evaluator.refinement.target,
                    len(evaluator.left_out),
                    len(self.excerpts),
                    names,
                )
            tracks = len(set(evaluator.tracks))
            if note and mixers and tracks < FEWEST_TRACKS:
                log.warning(
                    "%s: weights need at least %d tracks, and there %s: it is the mean output here",
                    ", ".join(mixers),
                    FEWEST_TRACKS,
                    "is one" if tracks == 1 else f"are {tracks}",
                )
        return Objective(
            evaluators,
            config.family(),
            resolution=config.schedule.resolution,
            choose_steps=config.refinement.choose_steps,
            outputs=config.refinement.outputs,
            criteria=config.search.criteria,
            pruner=config.search.pruner,
            seed=config.study.seed,
            on_excerpt=on_excerpt,
            on_named=AudioKeeper.of(config, evaluators[0]),
        )

    def refinement(self, stem: str) -> Refinement:
        """How the studies of this file refine the target `stem`."""
        return self.config.refinement.for_target(stem, self.config.study.seed)


def stems_to_cut(separator: Separator, tracks: Sequence[Track]) -> tuple[list[str], list[str]]:
    """Stems that every excerpt is to have, and stems that are silent where a track lacks them.

    What only the model or only the music has is said in the log. No track lacks one of the usual four.

    Raises:
        DataError: separator and tracks have no stem in common.
    """
    plan = plan_stems(separator.stems, stems_of(tracks))
    for note in plan.notes:
        log.warning("%s", note)
    needed = [stem for stem in plan.references if stem in STEMS] or list(plan.targets)
    return needed, [stem for stem in plan.references if stem not in needed]


def make_store(section: StoreSection) -> Store:
    """The store that `[store]` asks for: memory of this process, and disk that all processes share."""
    gib = 2**30
    folder = Path(section.folder).expanduser() if section.folder else default_folder()
    disk = DiskStore(folder, int(section.disk * gib)) if section.disk else None
    return Store(int(section.memory * gib), disk)
