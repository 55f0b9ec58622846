"""The published table of the method, replayed: one fixed line n/N, SI-SDR of the target after each step.

The published oracle row is another experiment than its label says: the dictionary of stems that its cell sums holds the
mixture too, twice, so that the input is x_k + (1−β)·(Σ others + 2·mixture). Up to its scale, which SI-SDR and the
separator's normalisation ignore, that is the oracle rule at β/(3−2β): 0.75 where the label says 0.9. The replay of that
row uses those β (`oracle_line`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schedopt.config import StudyConfig
from schedopt.data import mix
from schedopt.errors import ConfigError
from schedopt.proof.benchmark import Scorer
from schedopt.proof.notebook import Notebook, NotebookPasses, excerpts
from schedopt.refinement import Refinement
from schedopt.schedules import Schedule, line
from schedopt.search.prepared import PreparedSearch
from schedopt.store import Memoised, Store
from schedopt.trajectory import Scene, trajectories
from schedopt.types import Excerpt

Array = NDArray[np.float64]
Row = tuple[str, str]
"""Rule and target."""

PUBLISHED: Mapping[Row, tuple[float, ...]] = {
    ("remix", "vocals"): (9.956, 9.986, 9.997, 9.988, 9.950, 9.876, 9.761, 9.605, 9.416, 9.209),
    ("remix", "drums"): (12.366, 12.365, 12.344, 12.301, 12.226, 12.109, 11.936, 11.677, 11.338, 10.942),
    ("remix", "bass"): (11.146, 11.260, 11.342, 11.389, 11.399, 11.363, 11.268, 11.107, 10.871, 10.569),
    ("remix", "other"): (6.667, 6.695, 6.704, 6.687, 6.638, 6.547, 6.395, 6.165, 5.833, 5.470),
    ("oracle", "vocals"): (9.956, 10.152, 10.390, 10.680, 11.042, 11.510, 12.144, 13.066, 14.565, 17.641),
}
"""SI-SDR in dB of the target after step 0 … 9, mean over 50 MUSDB18-HQ test tracks (the authors' notebook)."""


ORACLE_NOTE = "oracle: β_n is b/(3−2b) with b = n/N, since the published row's cell adds the mixture twice"


def oracle_line(steps: int) -> Schedule:
    """The β of the published oracle row: β/(3−2β) of the line n/N; 1 stays 1."""
    return tuple(beta / (3 - 2 * beta) for beta in line(steps))


@dataclass(frozen=True)
class Reproduction:
    """Mean score in dB after each step 0 … N by rule and target, over `tracks` held-out tracks.

    `ranges`: the lowest and the highest track after each step. `stems`: the mean of every stem, not of the target
    alone (the notebook's figure 2).
    """

    model: str
    source: str
    metric: str
    tracks: int
    rows: Mapping[Row, tuple[float, ...]]
    ranges: Mapping[Row, tuple[tuple[float, ...], tuple[float, ...]]] = field(default_factory=dict)
    stems: Mapping[Row, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """For every row that was published: where ours and the published one are highest, and whether shapes agree."""
        told = [_told(row, ours, PUBLISHED[row]) for row, ours in self.rows.items() if row in PUBLISHED]
        return told + [ORACLE_NOTE] * any(rule == "oracle" for rule, _ in self.rows)

    def document(self) -> dict[str, Any]:
        """For `--json`: every row with the published one and the differences, where there is one."""
        return {
            "model": self.model,
            "source": self.source,
            "metric": self.metric,
            "tracks": self.tracks,
            "rows": [
                {
                    "rule": rule,
                    "target": target,
                    "ours": list(ours),
                    "lowest": list(self.ranges.get((rule, target), ((), ()))[0]),
                    "highest": list(self.ranges.get((rule, target), ((), ()))[1]),
                    "stems": {stem: list(values) for stem, values in self.stems.get((rule, target), {}).items()},
                    "published": list(PUBLISHED.get((rule, target), ())),
                    "difference": difference(ours, PUBLISHED.get((rule, target), ())),
                }
                for (rule, target), ours in self.rows.items()
            ],
            "sentences": self.sentences(),
        }


def difference(ours: tuple[float, ...], published: tuple[float, ...]) -> list[float]:
    """Ours minus the published scores, dB by step; none where they are of another line: theirs has N, ours N + 1."""
    same = len(ours) == len(published) + 1
    return [a - b for a, b in zip(ours, published, strict=False)] if same else []


def _told(row: Row, ours: tuple[float, ...], published: tuple[float, ...]) -> str:
    rule, target = row
    steps = len(published)
    if not difference(ours, published):
        return f"{rule}, {target}: not comparable, the published line is n/{steps}, ours n/{len(ours) - 1}"
    shared = ours[:steps]
    shapes = [_shape(values) for values in (shared, published)]
    same = "the same shape" if shapes[0] == shapes[1] else f"another shape: ours {shapes[0]}, the published {shapes[1]}"
    tops = [
        f"{max(values) - values[0]:+.3f} dB over one pass after step {int(np.argmax(values))}"
        for values in (shared, published)
    ]
    return f"{rule}, {target}: {same}; at best {tops[0]}, published {tops[1]}"


def _shape(values: tuple[float, ...]) -> str:
    """How the scores go with the steps: rises | falls | rises, then falls."""
    top = int(np.argmax(values))
    return "falls" if top == 0 else "rises" if top == len(values) - 1 else "rises, then falls"


def reproduce(
    config: StudyConfig,
    options: Notebook | None = None,
    *,
    trust_pickle: bool = False,
    on_track: Callable[[int, int], None] | None = None,
) -> Reproduction:
    """Run the line n/N under the file's rule, and the oracle's, on held-out tracks, for every target of the file.

    Tracks are cut and mixed as in the authors' notebook (`schedopt.proof.notebook`), which `options` set further.
    Nothing is chosen by these scores, so the held-out tracks stay held out. Costs 1 + 2·targets·N passes an excerpt.

    Args:
        on_track: called with (tracks done, tracks in all).

    Raises:
        ConfigError: gains of stems that the model lacks.
        SchedoptError: the model or the tracks cannot be used.
    """
    options = options or Notebook()
    prepared = PreparedSearch.prepare(config, trust_pickle=trust_pickle, excerpts=())
    for stem in options.gains:
        if stem not in prepared.separator.stems:
            raise ConfigError(f"there is no stem {stem!r}; there are {', '.join(prepared.separator.stems)}")
    steps = config.refinement.steps
    lines = {config.refinement.rule: line(steps), "oracle": oracle_line(steps)}
    wanted = [(rule, stem) for rule in lines for stem in config.refinement.targets]
    scores: dict[Row, dict[str, list[Array]]] = {row: {} for row in wanted}
    tracks = 0
    for excerpt, mixture in excerpts(config, prepared.separator):
        # The plain pass is shared by all rows of a track.
        memoised = Memoised(prepared.separator, Store(), [mixture], prepared.separator.stems)
        sounding = [stem for stem in prepared.separator.stems if stem in excerpt.audible]
        scorers = {stem: Scorer(excerpt, stem, (config.search.metric,), prepared.separator.device) for stem in sounding}
        for rule, target in wanted:
            if target in excerpt.audible:
                how = prepared.refinement(target).model_copy(update={"rule": rule})
                scene = _scene(excerpt, target, mixture, config, prepared.separator.device)
                estimates = _estimates(NotebookPasses(memoised, options), scene, lines[rule], how)
                for stem, by_step in _scores(scorers, estimates, prepared.separator.stems).items():
                    scores[rule, target].setdefault(stem, []).append(by_step)
        tracks += 1
        if on_track is not None:
            on_track(tracks, config.data.tracks or tracks)
    of_target = {row: np.array(found[row[1]]) for row, found in scores.items() if row[1] in found}
    return Reproduction(
        config.separator.model,
        config.data.source,
        config.search.metric,
        tracks,
        {row: tuple(x.mean(axis=0).tolist()) for row, x in of_target.items()},
        {row: (tuple(x.min(axis=0).tolist()), tuple(x.max(axis=0).tolist())) for row, x in of_target.items()},
        {
            row: {stem: tuple(np.mean(by_track, axis=0).tolist()) for stem, by_track in found.items()}
            for row, found in scores.items()
        },
    )


def _scene(excerpt: Excerpt, target: str, mixture: Tensor, config: StudyConfig, device: torch.device) -> Scene:
    weights = [float(config.data.gains.get(stem, 1.0)) for stem in excerpt.stems]
    k = excerpt.stems.index(target)
    others = mix(excerpt.references, [0.0 if j == k else weight for j, weight in enumerate(weights)])
    return Scene(mixture.to(device), (weights[k] * excerpt.references[k]).to(device), others.to(device))


def _estimates(passes: NotebookPasses, scene: Scene, betas: Schedule, how: Refinement) -> Iterator[Tensor]:
    """Estimates of all stems after step 0 … N: (stems, channels, samples)."""
    for _ in trajectories(passes, [scene], betas, how):
        yield passes.estimates


def _scores(scorers: Mapping[str, Scorer], estimates: Iterable[Tensor], stems: Sequence[str]) -> dict[str, Array]:
    """Scores of the stems of `scorers`, which have one metric, after step 0 … N: (N+1,) each."""
    by_step = [
        [float(score(made[stems.index(stem)])) for stem, one in scorers.items() for score in one.scores.values()]
        for made in estimates
    ]
    return dict(zip(scorers, np.array(by_step).T, strict=True))
