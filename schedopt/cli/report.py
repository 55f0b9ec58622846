"""`report`: a study or a benchmark as one HTML file, and its figures."""

from __future__ import annotations

from pathlib import Path

import click

from schedopt.cli import _show
from schedopt.cli._figures import figures
from schedopt.cli._figures import write as write_figures
from schedopt.cli._paths import PATH, Number
from schedopt.config import load_config
from schedopt.errors import ConfigError
from schedopt.files.benchmark_file import load_benchmark
from schedopt.files.schedule_file import SUFFIX
from schedopt.files.writing import check_writable, write_text
from schedopt.search.export import default_path
from schedopt.storage.faults import quiet_optuna
from schedopt.storage.opening import open_storage
from schedopt.view.report import benchmark_page, render, study_page
from schedopt.view.report.page import Page
from schedopt.view.report.sources import Audio

REPORT_SUFFIX = ".report.html"


@click.command()
@click.argument("file", metavar="STUDY.toml|BENCHMARK.json", type=PATH)
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
@click.option("--storage", metavar="URL", help="Override study.storage of a study file.")
@click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one key of the study file."
)
@click.option("--trust-pickle", is_flag=True, help="Load .th weights: unpickling them runs their code.")
@figures
def report(
    file: Path,
    output: Path | None,
    seconds: float,
    storage: str | None,
    overrides: tuple[str, ...],
    trust_pickle: bool,
    folder: Path | None,
    style: str,
) -> None:
    """Write a report of a study (its file) or of a benchmark (the JSON of `schedopt benchmark -o`).

    One HTML file with tables, figures, settings and short audio, readable without a network. Clips are computed anew
    (float32); where model or music are away, the report says so and has none.
    """
    _show.show_notes()
    audio = Audio(seconds, trust_pickle)
    if output is not None:
        check_writable(output)
    if file.suffix.lower() == ".toml":
        page, default = _study(file, storage, overrides, audio)
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


def _study(file: Path, storage: str | None, overrides: tuple[str, ...], audio: Audio) -> tuple[Page, Path]:
    named = [] if storage is None else [f"study.storage={storage}"]
    config = load_config(file, [*overrides, *named])
    with quiet_optuna():
        page = study_page(config, open_storage(config.study.storage, read_only=True), audio)
    schedule = default_path(config)
    return page, schedule.with_name(schedule.name.removesuffix(SUFFIX) + REPORT_SUFFIX)
