"""The published table of the method, replayed: one fixed line n/N, SI-SDR of the target after each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from schedopt.config import StudyConfig
from schedopt.evaluation import Evaluator, mean_over_tracks
from schedopt.schedules import line
from schedopt.search.workbench import Workbench
from schedopt.store import Store

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


@dataclass(frozen=True)
class Reproduction:
    """Mean score in dB after each step 0 … N by rule and target, over `tracks` held-out tracks."""

    model: str
    source: str
    metric: str
    tracks: int
    rows: Mapping[Row, tuple[float, ...]]

    def sentences(self) -> list[str]:
        """For every row that was published: where ours and the published one are highest, and whether shapes agree."""
        return [_told(row, ours, PUBLISHED[row]) for row, ours in self.rows.items() if row in PUBLISHED]

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
                    "published": list(PUBLISHED.get((rule, target), ())),
                    "difference": [a - b for a, b in zip(ours, PUBLISHED.get((rule, target), ()), strict=False)],
                }
                for (rule, target), ours in self.rows.items()
            ],
            "sentences": self.sentences(),
        }


def _told(row: Row, ours: tuple[float, ...], published: tuple[float, ...]) -> str:
    rule, target = row
    steps = len(published)
    if len(ours) != steps + 1:
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
    config: StudyConfig, *, trust_pickle: bool = False, on_row: Callable[[int, int], None] | None = None
) -> Reproduction:
    """Run the line n/N under the file's rule and the oracle on held-out tracks, for every target of the file.

    Nothing is chosen by these scores, so the held-out tracks stay held out. Costs 1 + 2·targets·N passes an excerpt.

    Raises:
        SchedoptError: the model or the tracks cannot be used.
    """
    bench = Workbench.prepare(config, split="held-out", trust_pickle=trust_pickle)
    betas = line(config.refinement.steps)
    wanted = [(rule, stem) for rule in (config.refinement.rule, "oracle") for stem in config.refinement.targets]
    rows: dict[Row, tuple[float, ...]] = {}
    tracks: set[str] = set()
    # The plain pass is shared by all rows; other steps of 50 × 30 s would only fill the memory.
    store: Store = Store()
    for count, (rule, stem) in enumerate(wanted):
        if on_row is not None:
            on_row(count, len(wanted))
        evaluator = Evaluator(
            bench.separator,
            bench.excerpts,
            bench.refinement(stem).model_copy(update={"rule": rule}),
            metric=config.search.metric,
            gains=config.data.gains,
            store=store,
            shared_stems=bench.separator.stems,
        )
        scores = [evaluator.scores(betas, [index])[0] for index in range(len(evaluator.tasks))]
        rows[rule, stem] = tuple(float(v) for v in mean_over_tracks(np.stack(scores), evaluator.tracks))
        tracks |= set(evaluator.tracks)
    return Reproduction(config.separator.model, config.data.source, config.search.metric, len(tracks), rows)
