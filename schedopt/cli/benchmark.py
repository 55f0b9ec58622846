"""`benchmark`, `verify`, `sweep` and `reproduce`: proof on tracks instead of search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from schedopt.cli import _show
from schedopt.cli._figures import figures
from schedopt.cli._figures import write as write_figures
from schedopt.cli._paths import PATH, WORD, Number
from schedopt.config import load_config
from schedopt.data import Split
from schedopt.errors import DataError, shown
from schedopt.files.benchmark_file import KIND as BENCHMARK
from schedopt.files.benchmark_file import BenchmarkFile, read_benchmark
from schedopt.files.presets import is_preset, open_schedule
from schedopt.files.writing import check_writable, json_text, write_text
from schedopt.metrics import METRICS
from schedopt.proof.benchmark import Options
from schedopt.proof.benchmark import benchmark as run_benchmark
from schedopt.proof.findings import document
from schedopt.proof.held_out import with_held_out
from schedopt.proof.methods import RIVALS, Rival
from schedopt.proof.notebook import Notebook
from schedopt.proof.reproduce import PUBLISHED, Reproduction, difference
from schedopt.proof.reproduce import reproduce as replay
from schedopt.proof.sweep import KIND as SWEEP
from schedopt.proof.sweep import MAX_GAIN, Sweep
from schedopt.proof.sweep import sweep as run_sweep
from schedopt.proof.tables import footnotes, headline, objectives_table, stem_table
from schedopt.proof.verify import verify as check
from schedopt.search.export import as_json as schedule_json
from schedopt.types import CORE

if TYPE_CHECKING:
    from schedopt.view.figures import Figures

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")
OUTPUT = click.option("-o", "--output", type=PATH, help="Write the JSON document to this file too.")
TRUST = click.option("--trust-pickle", is_flag=True, help="Load .th weights: unpickling them runs their code.")

PLAIN_LINES = 10
"""Without a terminal, progress is so many lines."""


def _rivals(_: click.Context, __: click.Parameter, value: str) -> tuple[Rival, ...]:
    words = [word.strip() for word in value.split(",")]
    if words == ["none"]:
        return ()
    for word in words:
        if word not in RIVALS:
            raise click.BadParameter(f"{word!r} is not one of {', '.join(RIVALS)}, none")
    return tuple(rival for rival in RIVALS if rival in words)


def _gains(_: click.Context, __: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        gains = tuple(float(word) for word in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 0.25,0.5,1,2,4") from None
    return gains


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=WORD)
@click.option(
    "--data", "source", type=WORD, metavar="SOURCE", help="demo | folder:PATH | musdb:PATH; default: the search's."
)
@click.option(
    "--against",
    default=",".join(RIVALS),
    show_default=True,
    callback=_rivals,
    help="What to compare with besides one pass: at equal passes, and the best of each family; or none.",
)
@click.option(
    "--storage",
    type=WORD,
    metavar="URL",
    help="The studies that hold the families; default: the files' own, if SQLite.",
)
@click.option(
    "--ceilings", is_flag=True, help="Also the oracle and the greedy search (10 N passes), which need the stems."
)
@click.option("--point", type=WORD, metavar="NAME", help="Of files with points (clean, balanced, full): only this one.")
@click.option("--tracks", type=click.IntRange(min=1), help="At most so many held-out tracks; default: all.")
@click.option("--excerpt", type=Number(min=0.1, max=600), help="Seconds of an excerpt; default: whole tracks.")
@click.option("--per-track", type=click.IntRange(1, 1000), help="Excerpts a track; default: the search's.")
@click.option(
    "--metrics",
    metavar="NAMES",
    default="",
    callback=lambda _ctx, _param, names: [name.strip() for name in names.split(",") if name.strip()],
    help=f"Shown beside {', '.join(CORE)}: some of {', '.join(name for name in METRICS if name not in CORE)}.",
)
@click.option(
    "--model",
    type=WORD,
    help="The model, where it is called otherwise than in the search; the weights must be the same.",
)
@click.option("--device", type=WORD, default="auto", show_default=True, help="auto | cpu | cuda | cuda:N | mps.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of the bootstrap.")
@figures
@click.option("--write", is_flag=True, help="Note each schedule's held-out gain with its interval in its FILE.")
@TRUST
@JSON
@OUTPUT
def benchmark(
    files: tuple[str, ...],
    source: str | None,
    against: tuple[Rival, ...],
    storage: str | None,
    ceilings: bool,
    point: str | None,
    tracks: int | None,
    excerpt: float | None,
    per_track: int | None,
    metrics: list[str],
    model: str | None,
    device: str,
    seed: int,
    write: bool,
    trust_pickle: bool,
    as_json: bool,
    output: Path | None,
    folder: Path | None,
    style: str,
) -> None:
    """Compare schedule files with one pass, and with other uses of as many passes, on held-out tracks.

    Always in float32. Scores are dB: SDR (BSS Eval v3), SI-SDR and SNR, of whole tracks by default, mean over tracks.
    Gains are paired by track, with a 95 % bootstrap interval over tracks and p, both corrected for the number of
    schedules. A schedule is better only if the metric that it was searched in rises and neither SI-SDR nor SNR falls.
    FILE is what `schedopt run` or `schedopt export` wrote, or the name of a preset. Each point of a bleed dial is
    compared, in the two metrics of its search too.
    """
    _show.show_notes()
    if write and any(is_preset(path) for path in files):
        raise click.UsageError("--write: a preset belongs to the package; export a schedule file of your own")
    if write and point is not None:
        raise click.UsageError("--write and --point: the scores of all points are written, or none; leave out --point")
    options = Options(
        source=source,
        tracks=tracks,
        excerpt=excerpt or "track",
        excerpts_per_track=per_track,
        model=model,
        device=device,
        trust_pickle=trust_pickle,
        against=against,
        ceilings=ceilings,
        storage=storage,
        metrics=metrics,
        seed=seed,
    )
    loaded = {path: open_schedule(path, point) for path in files}
    if output is not None:
        check_writable(output, BENCHMARK, read=map(Path, files))
    for wanted in map(Path, files) if write else ():
        check_writable(wanted)
    result = document(run_benchmark(loaded, options, _count("excerpt")))
    file = read_benchmark(result)
    try:
        for path, noted in with_held_out(loaded, file).items() if write else ():
            write_text(Path(path), schedule_json(noted))
        if output is not None:
            write_text(output, json_text(result))
        write_figures(lambda: _benchmark_figures(file), folder, style)
    finally:  # what took long is seen even where a file cannot be written
        if as_json:
            _show.print_json(result)
        else:
            _print_benchmark(file)


@click.command()
@click.argument("file", metavar="RESULT.json", type=PATH)
@JSON
def verify(file: Path, as_json: bool) -> None:
    """Compute means, intervals, p and verdicts of a benchmark's JSON again, and name what does not add up.

    Needs no audio and no model. Ends with exit code 1 where something does not add up.
    """
    result, faults = check(file)
    tracks = len({excerpt.track for excerpt in result.data.excerpts})
    if as_json:
        _show.print_json({"file": str(file), "findings": len(result.findings), "tracks": tracks, "faults": faults})
    elif not faults:
        click.echo(
            f"{file}: adds up: {len(result.findings)} findings of {len(result.methods)} methods, {tracks} tracks"
        )
    for fault in () if as_json else faults:
        click.echo(fault)
    if faults:
        raise DataError(f"{shown(file)}: {len(faults)} of its fields do not add up")


def _benchmark_figures(file: BenchmarkFile) -> Figures:
    from schedopt.view.figures import benchmark_figures

    return benchmark_figures(file)


def _print_benchmark(file: BenchmarkFile) -> None:
    click.echo(headline(file))
    for scope in file.scopes:
        click.echo()
        _show.print_table(*stem_table(file, scope))
        if file.objectives:
            click.echo()
            _show.print_table(*objectives_table(file, scope))
    click.echo()
    for line in (*file.sentences, *footnotes(file)):
        click.echo(line)


@click.command()
@click.argument("study_file", metavar="STUDY.toml", type=PATH)
@click.option("--stem", type=WORD, default="vocals", show_default=True, help="The stem whose weight is varied.")
@click.option("--gains", default="0.25,0.5,1,2,4", show_default=True, callback=_gains, help="Its weights.")
@click.option("--split", type=click.Choice(["search", "held-out"]), default="search", show_default=True)
@click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one key of the study file."
)
@figures
@TRUST
@JSON
@OUTPUT
def sweep(
    study_file: Path,
    stem: str,
    gains: tuple[float, ...],
    split: Split,
    overrides: tuple[str, ...],
    trust_pickle: bool,
    as_json: bool,
    output: Path | None,
    folder: Path | None,
    style: str,
) -> None:
    """Weight one stem of the mixture by several gains and score all stems after one pass (Algorithm 1 of the report).

    Shows the study's metric in dB with its difference to uniform weights (gain 1).
    """
    _show.show_notes()
    config = load_config(study_file, overrides)
    if output is not None:
        check_writable(output, SWEEP, read=[study_file])
    done = run_sweep(config, stem, gains, split=split, trust_pickle=trust_pickle, on_excerpt=_count("excerpt"))
    try:
        if output is not None:
            write_text(output, json_text(done.document()))
        write_figures(lambda: _sweep_figures(done), folder, style)
    finally:
        if as_json:
            _show.print_json(done.document())
        else:
            _print_sweep(done)


def _sweep_figures(done: Sweep) -> Figures:
    from schedopt.view.figures import sweep_figures

    return sweep_figures(done)


def _print_sweep(done: Sweep) -> None:
    stems = list(done.tracks[1.0])
    tracks = len({track for by_track in done.tracks[1.0].values() for track in by_track})
    click.echo(f"{done.metric} in dB after one pass; {done.model} on {tracks} {done.split} tracks of {done.source}")
    rows = []
    for gain in done.gains:
        cells = []
        for stem in stems:
            change = "uniform" if gain == 1 else f"{done.change(gain, stem).mean:+.2f}"
            cells.append(f"{done.mean(gain, stem):.2f} ({change})")
        rows.append([f"{gain:g}", *cells])
    _show.print_table([f"gain of {done.stem}", *stems], rows)
    for stem, names in done.left_out.items():
        click.echo(f"left out, {stem} is silent: {', '.join(names)}")


def _stem_gains(_: click.Context, __: click.Parameter, value: str | None) -> dict[str, float]:
    try:
        pairs = [word.split("=") for word in (value or "").split(",") if word]
        gains = {stem.strip(): float(gain) for stem, gain in pairs}
    except ValueError:
        gains = {"": -1.0}
    if not all(0 <= gain <= MAX_GAIN for gain in gains.values()):
        raise click.BadParameter(
            f"{value!r} is not a list of weights from 0 to {MAX_GAIN:g} such as vocals=2,drums=0.5"
        )
    return gains


@click.command()
@click.argument("study_file", metavar="STUDY.toml", type=PATH)
@click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one key of the study file."
)
@click.option("--normalize", is_flag=True, help="Divide every input by its peak and leave the estimates at that scale.")
@click.option(
    "--gains", metavar="STEM=GAIN,...", callback=_stem_gains, help="Weights of the stems in the sums of rule resum."
)
@figures
@TRUST
@JSON
def reproduce(
    study_file: Path,
    overrides: tuple[str, ...],
    normalize: bool,
    gains: dict[str, float],
    trust_pickle: bool,
    as_json: bool,
    folder: Path | None,
    style: str,
) -> None:
    """Replay the method's published table with STUDY.toml's model and held-out tracks, beside the figures.

    Tracks are cut and mixed as in the authors' notebook: one excerpt each, from where the last stem has started, at the
    peak of the track's own mixture. The line n/N under the file's rule, and the oracle at the β that its published row
    has in truth; score of the target after each step (mean, lowest and highest track), and of the other stems.
    """
    _show.show_notes()
    config = load_config(study_file, overrides)
    result = replay(config, Notebook(normalize, gains), trust_pickle=trust_pickle, on_track=_count("track"))
    write_figures(lambda: _reproduction_figures(result), folder, style)
    if as_json:
        _show.print_json(result.document())
    else:
        _print_reproduction(result, config.refinement.steps)


def _reproduction_figures(result: Reproduction) -> Figures:
    from schedopt.view.figures import reproduction_figures

    return reproduction_figures(result)


def _print_reproduction(result: Reproduction, steps: int) -> None:
    click.echo(f"{result.metric} in dB after step n; {result.model} on {result.tracks} tracks of {result.source}")
    rows: list[tuple[str, ...]] = []
    for (rule, target), ours in result.rows.items():
        published = PUBLISHED.get((rule, target), ())
        named = [(f"{rule}, {target}", ours)]
        named += zip(("  lowest track", "  highest track"), result.ranges[rule, target], strict=True)
        named += [("  published", published)] * bool(published)
        rows += [(name, *(f"{value:.3f}" for value in values)) for name, values in named]
        if apart := difference(ours, published):
            rows.append(("  difference", *(f"{value:+.3f}" for value in apart)))
        others = [(stem, values) for stem, values in result.stems[rule, target].items() if stem != target]
        rows += [(f"  estimate of {stem}", *(f"{value:.3f}" for value in values)) for stem, values in others]
    _show.print_table(("rule, target", *(str(n) for n in range(steps + 1))), rows)
    for sentence in result.sentences():
        click.echo(sentence)


def _count(what: str) -> Callable[[int, int], None]:
    """A line on stderr that counts tracks or excerpts."""
    live = Console(stderr=True).is_terminal

    def show(done: int, total: int) -> None:
        if live:
            click.echo(f"\r{what} {done} of {total}", err=True, nl=done == total)
        elif done and (done % max(1, total // PLAIN_LINES) == 0 or done == total):
            click.echo(f"{what} {done} of {total}", err=True)

    return show
