"""How to choose a trial on tracks that were not searched on: `python -m benchmarks.honest`.

Three passes after the plain one, each shifted, mean of all estimates (four passes, as the shift trick), on excerpts of
3 s of the demo's *search* tracks; the held-out ones are not touched. Passes are measured for β = 0 and for a constant β
by two rules. Of each trajectory the energies of the target's estimates and of what the passes leave over are kept, from
which the SDR of any weighted mean of them follows without another pass. The raw file grows track by track: the same
command goes on where it stopped.

A search is played 1,500 times: tracks are drawn, a candidate is chosen on them, and its gain over the shift trick is
read on the tracks that are left. `claimed` is its gain on the tracks that chose it, `true` on the others, both in dB;
`harm` is the share of searches (%) whose choice loses more than 0.01 dB on the others. Means over the stems. What the
outputs are worth is shown by `python -m benchmarks.outputs`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._harness import table, write_result
from schedopt.data import cut_excerpts, load_tracks, mix
from schedopt.metrics import PreparedReference
from schedopt.refinement import Refinement
from schedopt.rules import View, rule
from schedopt.search.selection import lower_bound
from schedopt.separators import Separator, load_separator
from schedopt.types import STEMS, Excerpt

Array = NDArray[np.float64]
Candidates = Array  # (tracks, candidates): gain over the shift trick, dB; candidate 0 is the shift trick

STEPS = 3
SECONDS = 3.0
SCHEDULES: tuple[tuple[str, float], ...] = (
    ("remix", 0.0),
    ("remix", 0.15),
    ("remix", 0.35),
    ("unmix", 0.15),
    ("unmix", 0.35),
)
"""Rule and constant β; β = 0 is the shift trick under both rules."""

RESIDUALS = (0.0, 0.1, 0.2, 0.3, 0.4)
FREE = 40
"""Random weights of the averaged estimates, each with a random residual, for every schedule: the free family."""

CONFIRMED = 5
HARM_DB = 0.01
EVEN = np.full(STEPS + 1, 1 / (STEPS + 1))


def measure(excerpt: Excerpt, separator: Separator) -> Iterator[dict[str, Any]]:
    """Trajectories of one excerpt, a stem and schedule each: `signal` and `distortion`, (channels, 8, 8) energies.

    Parts 0 … 3 are the target's estimates after each step, 4 … 7 what the same passes left over. The SDR of a weighted
    sum w of them is 10·log10(wᵀ S w / wᵀ D w) by channel.
    """
    mixture = mix(excerpt.references, None)
    shifts = [Refinement(STEMS[0], shift=True).shift_of(n, excerpt.sample_rate) for n in range(STEPS + 1)]
    plain = [separator(mixture[None], shift=shift)[0] for shift in shifts]  # the shift trick serves all stems
    for stem, (name, beta) in itertools.product(sorted(excerpt.audible), SCHEDULES):
        k = separator.stems.index(stem)
        passes = [(mixture, plain[0])]
        for n in range(1, STEPS + 1):
            passes.append(
                _step(separator, mixture, passes[-1][1], k, name, beta, shifts[n]) if beta else (mixture, plain[n])
            )
        parts = torch.stack([x[k] for _, x in passes] + [y - x.sum(dim=0) for y, x in passes]).double()
        signal, distortion = _energies(PreparedReference(excerpt.references[excerpt.stems.index(stem)]), parts)
        yield {
            "track": excerpt.track,
            "stem": stem,
            "rule": name,
            "beta": beta,
            "signal": signal.tolist(),
            "distortion": distortion.tolist(),
        }


def _step(
    separator: Separator, mixture: torch.Tensor, last: torch.Tensor, k: int, name: str, beta: float, shift: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and estimates of a step after the estimates `last` (stems, channels, samples)."""
    view = View((beta,), mixture, mixture, last[k], last.sum(dim=0) - last[k])
    y = rule(name).next_input(view)
    return y, separator(y[None], shift=shift)[0]


def _energies(reference: PreparedReference, parts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of parts (parts, channels, samples): energies of their projections on the reference, and of the rest."""
    _, cross = reference._correlate(parts)
    signal = torch.einsum("ict,jct->cij", cross, reference._solve(cross))
    return signal, torch.einsum("ict,jct->cij", parts, parts) - signal


def sdr(row: Mapping[str, Any], weights: Array, residual: float) -> float:
    """SDR in dB of the weighted mean (weights (4,), adding up to 1) with so much of the residual."""
    w = np.concatenate([weights, residual * weights])
    signal, distortion = (np.einsum("i,cij,j->c", w, np.asarray(row[part]), w) for part in ("signal", "distortion"))
    return float(np.mean(10 * np.log10(signal / distortion)))


def families(rows: Sequence[Mapping[str, Any]], stem: str) -> dict[str, Candidates]:
    """Gains of one stem by family of candidates, over tracks that have every schedule."""
    found = {(row["track"], (row["rule"], row["beta"])): row for row in rows if row["stem"] == stem}
    tracks = [t for t in sorted({track for track, *_ in found}) if all((t, s) in found for s in SCHEDULES)]
    rng = np.random.default_rng(0)
    weights, shares = rng.dirichlet(np.ones(STEPS + 1), FREE), rng.choice(RESIDUALS, FREE)
    trick = SCHEDULES[0]
    wanted: dict[str, list[tuple[tuple[str, float], Array, float]]] = {
        "residual": [(trick, EVEN, r) for r in RESIDUALS],
        "β": [(s, EVEN, 0.0) for s in SCHEDULES],
        "β and residual": [(s, EVEN, r) for s, r in itertools.product(SCHEDULES, RESIDUALS)],
        "free weights": [(trick, EVEN, 0.0)]
        + [(s, w, r) for s in SCHEDULES for w, r in zip(weights, shares, strict=True)],
    }
    return {
        name: np.array([[sdr(found[t, s], w, r) - sdr(found[t, trick], EVEN, 0.0) for s, w, r in ways] for t in tracks])
        for name, ways in wanted.items()
    }


Choose = Callable[[Candidates, Candidates], tuple[int, float]]
"""Gains on search tracks, gains on fresh ones → the chosen candidate, and its gain on the tracks that chose it."""


def best(search: Candidates, _: Candidates) -> tuple[int, float]:
    index = int(search.mean(axis=0).argmax())
    return index, float(search[:, index].mean())


def surest(search: Candidates, _: Candidates) -> tuple[int, float]:
    index = int(lower_bound(search.T).argmax())
    return index, float(search[:, index].mean())


def confirmed(search: Candidates, fresh: Candidates) -> tuple[int, float]:
    """The best of the five best, scored again on as many fresh tracks."""
    top = np.argsort(-search.mean(axis=0))[:CONFIRMED]
    index = int(top[fresh[:, top].mean(axis=0).argmax()])
    return index, float(fresh[:, index].mean())


CHOICES: dict[str, tuple[Choose, bool]] = {
    "best": (best, False),
    "lower bound": (surest, False),
    "confirm 5": (confirmed, True),
}
"""How to choose, and whether half of the tracks are kept for it to be fresh."""


def play(gains: Candidates, tracks: int, choose: Choose, *, keeps_half: bool, searches: int) -> Array:
    """(searches, 2): claimed and true gain."""
    rng = np.random.default_rng(1)
    searched = tracks // 2 if keeps_half else tracks
    found = []
    for _ in range(searches):
        order = rng.permutation(len(gains))
        index, claimed = choose(gains[order[:searched]], gains[order[searched:tracks]])
        found.append((claimed, gains[order[tracks:], index].mean()))
    return np.array(found)


def choice_table(gains: Mapping[str, Mapping[str, Candidates]], searches: int) -> list[dict[str, Any]]:
    """A row for each family, number of tracks and way to choose; means over stems."""
    rows = []
    for family, tracks, (name, (choose, keeps_half)) in itertools.product(
        next(iter(gains.values())), (4, 8, 12), CHOICES.items()
    ):
        played = [
            play(by_family[family], tracks, choose, keeps_half=keeps_half, searches=searches)
            for by_family in gains.values()
        ]
        claimed, true = np.mean([part.mean(axis=0) for part in played], axis=0)
        rows.append(
            {
                "candidates": f"{family} ({next(iter(gains.values()))[family].shape[1]})",
                "tracks": tracks,
                "choose": name,
                "claimed": round(float(claimed), 3),
                "true": round(float(true), 3),
                "harm": round(100 * float(np.mean([(part[:, 1] < -HARM_DB).mean() for part in played]))),
            }
        )
    return rows


def measured(raw: Path, tracks: int) -> list[dict[str, Any]]:
    """All rows of the first `tracks` search tracks; those that are missing are measured and added to the file."""
    rows = [json.loads(line) for line in raw.read_text().splitlines()] if raw.exists() else []
    done = {row["track"] for row in rows}
    separator = load_separator("demo", device="cpu", precision="float32")
    for track in load_tracks("demo", "search", tracks):
        if track.name in done:
            continue
        new = [row for excerpt in cut_excerpts([track], SECONDS) for row in measure(excerpt, separator)]
        raw.parent.mkdir(parents=True, exist_ok=True)
        with raw.open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in new))
        rows += new
        print(track.name, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=20, help="search tracks (default 20; 52 passes each)")
    parser.add_argument("--searches", type=int, default=1500, help="searches played a line (default 1500)")
    parser.add_argument(
        "--raw", type=Path, default=Path("build/honest.jsonl"), help="measured energies, kept as they come"
    )
    parser.add_argument("--json", type=Path, nargs="?", const=Path(), help="keep the result (default results/)")
    arguments = parser.parse_args()
    rows = measured(arguments.raw, arguments.tracks)
    gains = {stem: families(rows, stem) for stem in STEMS}
    choices = choice_table(gains, arguments.searches)
    print(table(choices))
    if arguments.json is not None:
        path = arguments.json if arguments.json.name else None
        facts: dict[str, Any] = {"tracks": arguments.tracks, "searches": arguments.searches, "seconds": SECONDS}
        print(f"\nwritten: {write_result('honest', choices, path, **facts)}")


if __name__ == "__main__":
    main()
