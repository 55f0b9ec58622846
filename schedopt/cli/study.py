"""`run`, `status` and `export`: studies from launch to schedule file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
import optuna

from schedopt.cli import _show
from schedopt.cli._paths import PATH, WORD
from schedopt.cli._study_file import reference_text, study_schema
from schedopt.config import StudyConfig, load_config
from schedopt.errors import StudyError
from schedopt.files.schedule_file import KIND as SCHEDULE
from schedopt.files.schedule_file import ScheduleFile, json_schema
from schedopt.files.writing import JSON, TABLE, check_writable, json_text, write_text
from schedopt.metrics import title
from schedopt.search import export as exports
from schedopt.search.estimate import Estimate, estimate
from schedopt.search.provenance import differing, lines, provenance
from schedopt.search.samplers import GRID_USED_UP
from schedopt.search.study import read_studies, study_name
from schedopt.search.summary import Summary, summarize
from schedopt.search.watcher import PLAIN_EVERY, ProgressBars, db, not_selected
from schedopt.storage.opening import open_storage
from schedopt.storage.urls import shown
from schedopt.view.trials import dial_table
from schedopt.workers.run import grid_used_up
from schedopt.workers.run import run as run_study

STUDY_FILE = click.argument("study_file", metavar="STUDY.toml", type=PATH)
SET = click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one key of the study file."
)
STORAGE = click.option("--storage", type=WORD, metavar="URL", help="Override study.storage, e.g. sqlite:///my.db.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")


def _config(path: Path, overrides: tuple[str, ...], **keys: object) -> StudyConfig:
    """The study file with `--set`s and the options that have names of their own."""
    named = [f"study.{key}={value}" for key, value in keys.items() if value is not None]
    return load_config(path, [*overrides, *named])


@click.command(epilog="\b\n" + reference_text())
@STUDY_FILE
@_show.schema_option(study_schema, "study files")
@click.option(
    "--dry-run", is_flag=True, help="Only show what the study would cost: tracks, passes, time, disk, memory."
)
@click.option("--trials", type=click.IntRange(min=1), help="Finished trials to reach, over all runs.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that search at the same time.")
@STORAGE
@click.option(
    "--dask",
    type=WORD,
    metavar="ADDRESS",
    help="Search on the processes of the Dask cluster there, e.g. tcp://host:8786 (--workers N: on N of them).",
)
@SET
@click.option("--trust-pickle", is_flag=True, help="Load .th weights: unpickling them runs their code.")
@click.option("--trust-hub", is_flag=True, help="Load a sampler hub:NAME: code that is downloaded from OptunaHub.")
@click.option("-q", "--quiet", is_flag=True, help="Neither progress nor notes; results and errors only.")
@click.option("-v", "--verbose", is_flag=True, help="A line of progress for every trial.")
@AS_JSON
def run(
    study_file: Path,
    dry_run: bool,
    trials: int | None,
    workers: int | None,
    storage: str | None,
    dask: str | None,
    overrides: tuple[str, ...],
    trust_pickle: bool,
    trust_hub: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Launch or resume the study of STUDY.toml until it has its trials.

    Ends with a summary and leaves the selected schedule as NAME.schedule.json beside the database. The same
    command again resumes where the study stopped; one that is complete runs no trial.
    """
    if quiet and verbose:
        raise click.UsageError("-q and -v: choose one")
    _show.show_notes(quiet=quiet)
    config = _config(study_file, overrides, trials=trials, workers=workers, storage=storage)
    if dry_run:
        _print_estimate(estimate(config, trust_pickle=trust_pickle), as_json=as_json)
        return
    written = exports.default_path(config) if exports.is_exportable(config) else None
    if written is not None:
        try:
            check_writable(written, SCHEDULE, read=[study_file])
        except StudyError:
            open_storage(config.study.storage)  # what ails the storage, often the same, is named first
            raise
        exports.check_is_own(written, config)
    with ProgressBars(0 if quiet else 1 if verbose else PLAIN_EVERY) as bars:
        summaries = run_study(config, trust_pickle=trust_pickle, trust_hub=trust_hub, progress=bars, dask=dask)
    if written is not None:
        complete = all(summary.selected for summary in summaries)
        stored = open_storage(config.study.storage, read_only=True) if complete else None
        written = None if stored is None else _export(exports.schedule_file(config, stored), written)
    if as_json:
        documents = [summary.document() for summary in summaries]
        _show.print_json(documents[0] if len(documents) == 1 else {"studies": documents})
    else:
        for summary in summaries:
            _print_summary(summary, config.study.trials)
        if written is not None:
            here = Path.cwd()
            click.echo(f"schedule file: {written.relative_to(here) if written.is_relative_to(here) else written}")
    for summary in summaries:
        if summary.finished < config.study.trials and summary.ending == GRID_USED_UP:
            raise StudyError(grid_used_up(config, summary))
        if summary.finished < config.study.trials and summary.ending is None:
            raise StudyError(f"study {summary.study} is not complete: its sampler stopped it")


def _print_estimate(found: Estimate, *, as_json: bool) -> None:
    if as_json:
        _show.print_json(dataclasses.asdict(found))
        return
    for name, value in found.rows():
        click.echo(f"{name:<26} {value}")


def _print_summary(summary: Summary, trials: int) -> None:
    state = "complete" if summary.finished >= trials else "at its end" if summary.ending else "not complete"
    asked = (
        f"of {trials} trials finished" if summary.finished <= trials else f"trials finished, {trials} were asked for"
    )
    click.echo(f"study {summary.study} is {state}: {summary.finished} {asked} ({summary.not_complete})")
    if summary.failure is not None:
        click.echo(f"the last that failed: {summary.failure}")
    if summary.ending is not None:
        click.echo(f"it ended early: {summary.ending}")
    selected, highest = summary.selected, summary.highest
    if selected is None or highest is None:
        click.echo("no trial was completed, so none is selected")
        return
    over_zeros = summary.gain_over_zeros
    line_gain = None if summary.line is None else selected.value - summary.line
    # Of a dial, whose rows below are of its first metric, the highest trial is an end of the front: the table has it.
    same = selected.number == highest.number or bool(summary.dial)
    which = ", the point balanced" if summary.dial else ", the highest trial" if same else ""
    scored = f" ({title(next(iter(summary.dial[0].values)))})" if summary.dial else ""
    rows = [
        ("selected schedule β", _show.betas(selected.betas)),
        *([] if selected.output is None else [("its output", selected.output)]),
        ("found by trial", f"{selected.number}{which}"),
        (f"score on the search excerpts{scored}", db(selected.value)),
        ("gain over one pass (uniform baseline)", db(selected.gain, sign=True)),
        *([] if over_zeros is None else [("gain over β = 0, same options", db(over_zeros, sign=True))]),
        (f"gain over {summary.line_name}", db(line_gain, sign=True)),
        *([] if same else [("highest trial", f"{highest.number}: {db(highest.value)}, {db(highest.gain, sign=True)}")]),
        *([] if summary.reason is None else [("  why it is not selected", summary.reason)]),
        ("passes run (saved)", f"{summary.passes_run} ({summary.passes_saved})"),
        ("time computing", f"{summary.seconds:.0f} s"),
    ]
    for name, value in rows:
        click.echo(f"  {name:<38} {value}")
    for doubt in summary.doubts:
        click.echo(f"note: {doubt}")
    if summary.dial:
        _show.print_table(*dial_table(summary.dial), title="less bleed against fewer artifacts")
    if summary.front:
        _show.print_table(
            ("passes", "score", "gain", "β"),
            [(str(t.passes), db(t.value), db(t.gain, sign=True), _show.betas(t.betas)) for t in summary.front],
            "what one more pass buys",
        )


@click.command()
@click.argument("study_file", metavar="[STUDY.toml]", required=False, type=PATH)
@click.option("--storage", type=WORD, metavar="URL", help="Show all studies of this storage.")
@click.option("-v", "--verbose", is_flag=True, help="Also what each study was made with: settings, versions, hashes.")
@click.option(
    "--compare", nargs=2, metavar="STUDY STUDY", help="Show two of the storage's studies, and how they differ."
)
@SET
@AS_JSON
def status(
    study_file: Path | None,
    storage: str | None,
    verbose: bool,
    compare: tuple[str, str] | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show studies: trials by state, score and gain of the selected trial, passes.

    Give a study file for its studies, or --storage URL for all studies of a database.
    """
    if study_file is None and storage is None:
        raise click.UsageError("give a study file or --storage URL")
    config = None if study_file is None else _config(study_file, overrides, storage=storage)
    url = config.study.storage if config else str(storage)
    stored = _stored_studies(url, config, compare)
    summaries, origins = [summary for summary, _ in stored], [origin for _, origin in stored]
    if as_json:
        documents = [s.document() | {"provenance": o} for s, o in zip(summaries, origins, strict=True)]
        differences = {"differences": differing(*origins)} if compare else {}
        _show.print_json({"studies": documents} | differences)
        return
    _show.print_table(
        ("study", "complete", "pruned", "failed", "running", "selected", "gain", "passes", "saved"),
        [_status_row(summary) for summary in summaries],
    )
    for summary in summaries:
        if summary.ending is not None:
            click.echo(f"{summary.study} ended early: {summary.ending}")
        for doubt in summary.doubts:
            click.echo(f"{summary.study}: {doubt}")
        if summary.failure is not None:
            click.echo(f"{summary.study}: the last trial that failed: {summary.failure}")
        if summary.reason and summary.highest:
            click.echo(f"{summary.study}: {not_selected(summary.highest, summary.reason)}")
    if compare:
        rows = [(name, *values) for name, values in differing(*origins).items()]
        _show.print_table(("what differs", *compare), rows or [("nothing", "", "")])
    for summary, origin in zip(summaries, origins, strict=True):
        if verbose:
            _show.print_table((summary.study, ""), list(lines(origin).items()))


def _stored_studies(
    url: str, config: StudyConfig | None, names: tuple[str, str] | None
) -> list[tuple[Summary, dict[str, Any]]]:
    """The studies to show: those named, those of the study file, or all of the storage."""
    opened = open_storage(url, read_only=True)
    if names is not None:
        return [_read_study(exports.load_study(opened, name, url), url) for name in names]
    found = optuna.get_all_study_names(opened)
    if config is not None:
        wanted = [study_name(config, target) for target in config.refinement.targets]
        found = [name for name in wanted if name in found]
        if not found:
            raise StudyError(f"{shown(url)}: study {wanted[0]!r} has not been started; schedopt run starts it")
    return read_studies(opened, lambda study: _read_study(study, url), found)


def _read_study(study: optuna.Study, url: str) -> tuple[Summary, dict[str, Any]]:
    return summarize(study, shown(url)), provenance(study)


def _status_row(summary: Summary) -> tuple[str, ...]:
    selected = summary.selected
    return (
        f"{summary.study} (not made by schedopt)" if summary.foreign else summary.study,
        *(str(n) for n in (summary.complete, summary.pruned, summary.failed, summary.running)),
        db(selected.value if selected else None),
        db(selected.gain if selected else None, sign=True),
        str(summary.passes_run),
        str(summary.passes_saved),
    )


FORMATS: dict[str, Any] = {"json": exports.as_json, "csv": exports.as_csv}


@click.command()
@click.argument("study_file", metavar="[STUDY.toml]", required=False, type=PATH)
@click.option("-o", "--output", type=PATH, help="File to write; default: stdout.")
@click.option("--schema", is_flag=True, help="Write the JSON schema of schedule files, and nothing else.")
@click.option("--format", "style", type=click.Choice(list(FORMATS)), help="Default: csv into a FILE.csv, else json.")
@STORAGE
@click.option("--study", type=WORD, metavar="NAME", help="This study of the --storage; no study file is needed.")
@SET
def export(
    study_file: Path | None,
    output: Path | None,
    schema: bool,
    style: str | None,
    storage: str | None,
    study: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Write the selected schedule of STUDY.toml's studies, or of NAME in a storage: a schedule file or a β table."""
    read = [] if study_file is None else [study_file]
    style = style or ("csv" if output is not None and output.suffix.lower() == ".csv" else "json")
    if schema:
        if output is None:
            _show.print_json(json_schema())
        else:
            check_writable(output, JSON, read=read)
            write_text(output, json_text(json_schema()))
            click.echo(output)
        return
    if study is None and study_file is not None:
        config = _config(study_file, overrides, storage=storage)
        found = exports.schedule_file(config, open_storage(config.study.storage, read_only=True))
    elif study is not None and study_file is None and storage is not None and not overrides:
        found = exports.schedule_file_of(open_storage(storage, read_only=True), storage, study)
    else:
        raise click.UsageError("give a study file, or --storage URL and --study NAME")
    if output is None:
        click.echo(FORMATS[style](found), nl=False)
    else:
        check_writable(output, SCHEDULE if style == "json" else TABLE, read=read)
        click.echo(_export(found, output, style))


def _export(file: ScheduleFile, path: Path, style: str = "json") -> Path:
    if style == "json":
        file = exports.with_known_scores(file, path)
    write_text(path, FORMATS[style](file))
    return path
