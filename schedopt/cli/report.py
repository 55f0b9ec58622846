"""`report`: a study or a benchmark as one HTML file, and its figures."""

from __future__ import annotations

from pathlib import Path

import click

from schedopt.cli import _show
from schedopt.cli._figures import figures
from schedopt.cli._figures import write as write_figures
from schedopt.cli._paths import PATH, WORD, Number
from schedopt.config import StudyConfig, load_config
from schedopt.errors import ConfigError
from schedopt.files.benchmark_file import load_benchmark
from schedopt.files.schedule_file import SUFFIX
from schedopt.files.writing import PAGE, check_writable, write_text
from schedopt.search.export import default_path, load_study
from schedopt.search.study import config_of
from schedopt.storage.faults import quiet_optuna
from schedopt.storage.opening import open_storage
from schedopt.view.report import benchmark_page, render, study_page
from schedopt.view.report.page import Page
from schedopt.view.report.sources import Audio

REPORT_SUFFIX = ".report.html"


@click.command()
@click.argument("file", metavar="[STUDY.toml|BENCHMARK.json]", required=False, type=PATH)
@click.option(
    "-o",
    "--output",
    type=PATH,
    help="The HTML file; default: NAME.report.html beside the results.",
)
@click.option(
    "--audio",
    "seconds",
    type=Number(0, 30),
    default=4.0,
    show_default=True,
    help="Seconds of each clip of the best, median and worst track; 0: no audio, so no pass is run.",
)
@click.option("--storage", type=WORD, metavar="URL", help="Override study.storage of a study file.")
@click.option("--study", type=WORD, metavar="NAME", help="This study of the --storage; no study file is needed.")
@click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one key of the study file."
)
@click.option("--trust-pickle", is_flag=True, help="Load .th weights: unpickling them runs their code.")
@figures
def report(
    file: Path | None,
    output: Path | None,
    seconds: float,
    storage: str | None,
    study: str | None,
    overrides: tuple[str, ...],
    trust_pickle: bool,
    folder: Path | None,
    style: str,
) -> None:
    """Write a report of a study (its file, or its NAME in a storage) or of a benchmark (`schedopt benchmark -o`).

    One HTML file with tables, figures, settings and short audio, readable without a network. Clips are computed anew
    (float32); where model or music are away, the report says so and has none.
    """
    _show.show_notes()
    audio = Audio(seconds, trust_pickle)
    if output is not None:
        check_writable(output, PAGE, read=[] if file is None else [file])
    if file is None or study is not None:
        if file is not None or storage is None or study is None or overrides:
            raise click.UsageError("give a study file or a benchmark, or --storage URL and --study NAME")
        page, default = _named_study(storage, study, audio)
    elif file.suffix.lower() == ".toml":
        storages = [] if storage is None else [f"study.storage={storage}"]
        page, default = _study(load_config(file, [*overrides, *storages]), audio)
    elif storage is not None or overrides:
        raise ConfigError(f"{file}: --storage and --set belong to a study file (.toml)")
    else:
        page, default = benchmark_page(load_benchmark(file), audio), file.with_name(f"{file.stem}{REPORT_SUFFIX}")
    output = output or default
    content = render(page)
    write_text(output, content)
    for section in page.sections:
        for line in section.missing:
            click.echo(f"note: {line}", err=True)
    click.echo(f"{output} ({len(content.encode()) / 1e6:.1f} MB)")
    named = len(page.sections) > 1
    write_figures(
        lambda: {
            f"{section.key}-{name}" if named else name: figure
            for section in page.sections
            for name, figure in section.figures.items()
        },
        folder,
        style,
    )


def _named_study(url: str, name: str, audio: Audio) -> tuple[Page, Path]:
    return _study(config_of(load_study(open_storage(url, read_only=True), name, url), url), audio)


def _study(config: StudyConfig, audio: Audio) -> tuple[Page, Path]:
    with quiet_optuna():
        page = study_page(config, open_storage(config.study.storage, read_only=True), audio)
    schedule = default_path(config)
    return page, schedule.with_name(schedule.name.removesuffix(SUFFIX) + REPORT_SUFFIX)
