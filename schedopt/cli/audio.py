"""`evaluate` and `demo`: commands on folders of audio."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from schedopt.cli import _show
from schedopt.cli._paths import PATH
from schedopt.data import SAMPLE_RATE, Split, load_tracks, mix
from schedopt.files.writing import replacing
from schedopt.metrics import METRICS
from schedopt.proof.scoring import evaluate as score_folders
from schedopt.songs import Encoding
from schedopt.songs.writing import write
from schedopt.types import CORE, STEMS


def _metric_names(_: click.Context, __: click.Parameter, names: str) -> list[str]:
    return [METRICS.find(name.strip()).name for name in names.split(",")]


@click.command()
@click.argument("reference_dir", type=PATH)
@click.argument("estimate_dir", type=PATH)
@click.option(
    "--metrics",
    metavar="NAMES",
    callback=_metric_names,
    default=",".join(CORE),
    show_default=True,
    help=f"Some of {', '.join(METRICS)}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")
def evaluate(reference_dir: Path, estimate_dir: Path, metrics: list[str], as_json: bool) -> None:
    """Score ESTIMATE_DIR's stems against REFERENCE_DIR's, at the sample rate of the reference's files.

    Each folder holds audio files that are named after stems (drums, bass, guitar, …), or one such folder a track. Stems
    that both sides hold are scored: SDR is BSS Eval v3's, equal to mir_eval; cSDR is museval's.
    """
    _show.show_notes()
    result = score_folders(reference_dir, estimate_dir, metrics)
    if as_json:
        _show.print_json(dataclasses.asdict(result))
        return
    chosen = [METRICS.find(name) for name in metrics]
    rows = [
        (stem, *(f"{scores[m.name]:.2f} {m.unit}".strip() if m.name in scores else "–" for m in chosen))
        for stem, scores in result.stems.items()
    ]
    medians = ", ".join(metric.title for metric in chosen if metric.over_tracks == "median")
    title = f"mean{f' ({medians}: median)' if medians else ''} over {len(result.tracks)} track(s)"
    _show.print_table(("stem", *(metric.title for metric in chosen)), rows, title)
    for name in result.silent:
        click.echo(f"left out, the reference is silent: {name}")
    for name in result.unmatched:
        click.echo(f"left out, {name}")


@click.command()
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--tracks", type=click.IntRange(min=1), default=4, show_default=True, help="How many tracks.")
@click.option("--split", type=click.Choice(["search", "held-out"]), default="search", show_default=True)
def demo(folder: Path, tracks: int, split: Split) -> None:
    """Write demo tracks into DIR: a folder a track with its four stems and the mixture (float WAV, 44.1 kHz)."""
    for track in load_tracks("demo", split, tracks):
        references = track.read(0.0, track.seconds)
        named = dict(zip(STEMS, references, strict=True)) | {"mixture": mix(references, None)}
        for stem, audio in named.items():
            with replacing(folder / track.name / f"{stem}.wav") as path:
                write(audio, path, SAMPLE_RATE, Encoding(bits=32))
        click.echo(folder / track.name)
