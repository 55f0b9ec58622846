"""`separate`: the schedule at work on a person's own songs."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from schedopt.cli import _show
from schedopt.cli._paths import PATH, WORD, Number
from schedopt.errors import shown
from schedopt.files.presets import open_schedule, preset_names
from schedopt.files.schedule_file import SEGMENT_RANGE, Entry, check_separator
from schedopt.separators import list_models
from schedopt.songs import Encoding, Options, Position, Result, Template, count_passes, find_songs, separate_songs
from schedopt.songs.batch import OtherMethod
from schedopt.songs.naming import DEFAULT
from schedopt.songs.quality import COVERAGE, Quality
from schedopt.songs.schedule import load_separator_of
from schedopt.songs.writing import BITRATES, Bits, Clip

MODEL = "htdemucs"
"""Without a schedule: what the `demucs` command takes."""

TOY = "demo"
TOY_NOTE = (
    "this schedule belongs to the bundled toy model, which has learned generated songs only and is for trying things"
    " out; for real songs search one for a real model (schedopt init --model htdemucs), or leave out --schedule"
)


@click.command()
@click.argument("songs", metavar="SONG...", nargs=-1, type=PATH)
@click.option(
    "--schedule",
    "schedule_name",
    metavar="FILE",
    help=f"Schedule file, or a preset ({', '.join(preset_names())}). Without it every stem comes from the plain pass.",
)
@click.option(
    "--point", metavar="NAME", help="Of a schedule with points: clean (least bleed), balanced (default) or full."
)
@click.option("-o", "--out", type=PATH, default=Path("separated"), show_default=True, help="Folder of the results.")
@click.option("-n", "--name", "model", type=WORD, help=f"Model; default: the schedule's, without one {MODEL}.")
@click.option(
    "-s", "--sig", "signature", type=WORD, help="One model of --repo, by its signature (SIG-….th, SIG.safetensors)."
)
@click.option("--repo", type=PATH, help="Folder of models (.safetensors, .th, .yaml) in which -n or -s is looked up.")
@click.option("--list-models", is_flag=True, help="Print the names that -n takes, or those of --repo, and end.")
@click.option("--two-stems", metavar="STEM", help="Only STEM, and the rest as no_STEM.")
@click.option(
    "--other-method",
    type=click.Choice(["add", "minus", "none"]),
    default="add",
    show_default=True,
    help="The rest: sum of the other stems, the song minus STEM (as minus_STEM), or not written.",
)
@click.option(
    "--filename", default=DEFAULT, show_default=True, help="Template of names in OUT/MODEL; also {trackext}, {folder}."
)
@click.option("-d", "--device", default="auto", show_default=True, help="auto | cpu | cuda | cuda:N | mps.")
@click.option(
    "--shifts",
    type=click.IntRange(0, 1000),
    default=0,
    show_default=True,
    help="Average every pass over so many random (here: seeded) shifts, at so many times the cost.",
)
@click.option("--overlap", type=Number(0, 1, max_open=True), help="Of segments; default: the schedule's, or 0.25.")
@click.option("--segment", type=Number(*SEGMENT_RANGE), help="Seconds; default: the schedule's, or the model's.")
@click.option("--no-split", is_flag=True, help="The whole song as one segment, if it fits memory; not for htdemucs.")
@click.option("--int24", is_flag=True, help="Write 24 bits instead of 16.")
@click.option("--float32", is_flag=True, help="Write float WAV; neither rescaled nor clipped.")
@click.option("--flac", is_flag=True, help="Write FLAC.")
@click.option("--mp3", is_flag=True, help="Write MP3.")
@click.option(
    "--mp3-bitrate",
    type=click.Choice(list(map(str, BITRATES))),
    metavar="KBIT",
    default="320",
    show_default=True,
    help=f"kbit/s: {', '.join(map(str, BITRATES))}.",
)
@click.option(
    "--clip-mode",
    type=click.Choice(["rescale", "clamp", "none"]),
    help="Against clipping: rescale a stem that is too loud (default), cut its peaks, or nothing (default of float).",
)
@click.option("--downmix", is_flag=True, help="Mix all of 3 to 8 channels (ITU-R BS.775); default: the first two only.")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Songs at once, on a CPU alone."
)
@click.option("--overwrite", is_flag=True, help="Separate again what has a result already.")
@click.option(
    "--quality",
    is_flag=True,
    help="Also estimate each stem's SI-SDR without its true stem, from a second separation: twice the cost.",
)
@click.option("--trust-pickle", is_flag=True, help="Load .th weights: unpickling them runs their code.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")
def separate(
    songs: tuple[Path, ...],
    schedule_name: str | None,
    point: str | None,
    out: Path,
    model: str | None,
    signature: str | None,
    repo: Path | None,
    list_models: bool,
    two_stems: str | None,
    other_method: OtherMethod,
    filename: str,
    device: str,
    shifts: int,
    overlap: float | None,
    segment: float | None,
    no_split: bool,
    int24: bool,
    float32: bool,
    flac: bool,
    mp3: bool,
    mp3_bitrate: str,
    clip_mode: Clip | None,
    downmix: bool,
    jobs: int,
    overwrite: bool,
    quality: bool,
    trust_pickle: bool,
    as_json: bool,
) -> int:
    """Separate SONGs (audio files, or folders of them) into OUT/MODEL/TRACK/STEM.wav, as the demucs command does.

    Stems with a schedule in FILE are refined by it (one for `all` serves every stem without its own), at N more passes
    over the song for each. The others come from the plain pass. Always in float32.

    Any format that libsndfile or ffmpeg reads, any sample rate, any length: memory does not grow with it. While a song
    is separated, about 0.3 GB of disk a minute are used in OUT. Stems that are there already, from the same song with
    the same settings, are not separated again; those of another song are not replaced without --overwrite. A song that
    cannot be separated does not stop the others: it is named at the end, and the exit code is 1.

    --quality mixes the estimates anew, moved in time against one another, separates that too, and compares: the SI-SDR
    of the second estimates against the first is the self-remix score. For models and schedules that were calibrated
    (python -m benchmarks.quality) the true SI-SDR is estimated from it with an interval, for others it stands alone.
    """
    _show.show_notes()
    if list_models:
        return _list_models(repo, as_json=as_json)
    if not songs:
        raise click.UsageError("Missing argument 'SONG...'.")
    encoding = _encoding(flac, mp3, int24, float32, clip_mode, int(mp3_bitrate))
    if no_split and segment is not None:
        raise click.UsageError("--no-split and --segment: choose one")
    if point is not None and schedule_name is None:
        raise click.UsageError("--point: name the schedule whose point it is with --schedule")
    file = None if schedule_name is None else open_schedule(schedule_name, point)
    if file is not None and file.model.model == TOY and model in (None, TOY):
        click.echo(f"note: {TOY_NOTE}", err=True)
    found = find_songs(songs)
    template = Template(filename)
    separator = load_separator_of(
        file,
        _model(model, signature, repo, MODEL if file is None else file.model.model),
        device=device,
        overlap=overlap,
        segment=math.inf if no_split else segment,
        trust_pickle=trust_pickle,
    )
    if file is not None:
        check_separator(file, separator, str(schedule_name), "-n")
    options = Options(
        out=out,
        entries={} if file is None else file.entries(separator.stems),
        template=template,
        encoding=encoding,
        shifts=shifts,
        two_stems=two_stems,
        other_method=other_method,
        overwrite=overwrite,
        downmix=downmix,
        quality=quality,
    )
    stems = [stem for stem in separator.stems if two_stems in (None, stem) or other_method == "add"]
    results: list[Result] = []
    with _Bar(options.entries, stems, rounds=2 if quality else 1) as bar:
        jobs = jobs if separator.device.type == "cpu" else 1
        for result in separate_songs(found, separator, options, bar.on_position, jobs=jobs):
            results.append(result)
            bar.finished(result, quiet=as_json)
    return _end(results, as_json=as_json)


def _model(name: str | None, signature: str | None, repo: Path | None, default: str) -> str:
    """The model that `-n`, `-s` and `--repo` name together."""
    if name is not None and signature is not None:
        raise click.UsageError("-n and -s: choose one")
    if repo is None:
        if signature is not None:
            raise click.UsageError(
                "-s needs --repo: demucs takes it from the folders of its training code; export the experiment there"
                f" (python -m tools.export {signature}) and add --repo release_models"
            )
        return name or default
    if not repo.is_dir():
        raise click.UsageError(f"--repo {shown(repo)}: there is no such folder")
    return str(repo / (signature or name or default))


def _encoding(flac: bool, mp3: bool, int24: bool, float32: bool, clip: Clip | None, bitrate: int) -> Encoding:
    if int24 and float32:
        raise click.UsageError("--int24 and --float32: choose one")
    if flac and mp3:
        raise click.UsageError("--flac and --mp3: choose one")
    if flac and float32:
        raise click.UsageError("--flac and --float32: FLAC has no float samples; take --int24")
    if mp3 and (int24 or float32):
        raise click.UsageError("--mp3 with --int24 or --float32: MP3 has no sample width; leave it out")
    bits: Bits = 24 if int24 else 32 if float32 else 16
    return Encoding("mp3" if mp3 else "flac" if flac else "wav", bits, clip, bitrate)


def _list_models(repo: Path | None, *, as_json: bool) -> int:
    models = list_models(repo)
    if as_json:
        _show.print_json(models)
        return 0
    for title, names in models.items():
        click.echo(f"{title}:")
        click.echo(click.wrap_text(" ".join(names), 80, "  ", "  ") if names else "  none")
    return 0


def _end(results: Sequence[Result], *, as_json: bool) -> int:
    """The document, or a line for every song that failed; the exit code."""
    failed = [result for result in results if result.state == "failed"]
    if as_json:
        rows = [
            {"song": str(r.song), "state": r.state, "files": [str(file) for file in r.files]}
            | ({"error": r.error} if r.error else {})
            | ({"quality": {stem: q.document() for stem, q in r.quality.items()}} if r.quality else {})
            for r in results
        ]
        _show.print_json({"songs": rows})
    if failed and len(results) > 1:
        click.echo(f"schedopt: {len(failed)} of {len(results)} songs could not be separated:", err=True)
    for result in failed:
        click.echo(f"schedopt: {' '.join(result.error.split())}", err=True)
    return 1 if failed else 0


class _Bar:
    """A bar for each song at work; without a terminal nothing but the line that each song ends with."""

    def __init__(self, entries: Mapping[str, Entry], stems: Sequence[str], rounds: int = 1) -> None:
        """`rounds`: how often a song's steps are gone through."""
        console = Console(stderr=True)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        steps: list[tuple[str | None, int]] = [(None, 0)]
        steps += [(stem, n) for stem in stems if stem in entries for n in range(1, len(entries[stem].betas) + 1)]
        self._order = {step: index for index, step in enumerate(steps)}
        assert len(steps) == count_passes(entries, stems)
        self._rounds = rounds
        self._at: dict[Path, tuple[int, int]] = {}  # the round and the step of each song
        self._tasks: dict[Path, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def on_position(self, song: Path, position: Position, samples: int) -> None:
        """Called in the songs' threads."""
        step = self._order[position.target, position.step]
        with self._lock:
            if song not in self._tasks:
                self.bars.start()
                total = self._rounds * len(self._order) * samples
                self._tasks[song] = self.bars.add_task(shown(song.name)[:40], total=total, note="")
                self._at[song] = 0, 0
            turn, last = self._at[song]
            turn += step < last
            self._at[song] = turn, step
        done = (turn * len(self._order) + step) * samples + position.samples
        note = "plain pass" if position.target is None else f"{position.target}, step {position.step}"
        self.bars.update(self._tasks[song], completed=done, note=note)

    def finished(self, result: Result, *, quiet: bool) -> None:
        with self._lock:
            if (task := self._tasks.pop(result.song, None)) is not None:
                self.bars.remove_task(task)
                self.bars.stop()  # and gone: the result has the line for itself
            if not quiet and result.state != "failed":
                where = shown(result.files[0].parent)
                more = " (there already; --overwrite separates it again)" if result.state == "there" else ""
                click.echo(f"{shown(result.song)} → {where}{more}")
                if result.quality:
                    _print_quality(result.quality)
            if self._tasks:
                self.bars.start()


def _print_quality(found: Mapping[str, Quality]) -> None:
    rows = []
    for stem, one in found.items():
        score, value = (f"{dB:.1f} dB" if dB is not None else "–" for dB in (one.self_remix, one.si_sdr))
        interval = "–" if one.interval is None else f"{one.interval[0]:.1f} … {one.interval[1]:.1f} dB"
        rows.append((stem, score, value, interval, one.note))
    _show.print_table(("quality", "self-remix", "SI-SDR", f"{COVERAGE:.0%} interval", "note"), rows)
