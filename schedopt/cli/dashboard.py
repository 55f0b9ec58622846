"""`dashboard`: Optuna's dashboard with figures, notes and audio."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from schedopt.cli import _show
from schedopt.cli._paths import PATH, WORD
from schedopt.cli.study import SET
from schedopt.config import load_config
from schedopt.search.study import study_name
from schedopt.view.dashboard.server import dashboard as opened


@click.command()
@click.argument("study_file", metavar="[STUDY.toml]", required=False, type=PATH)
@click.option(
    "--storage", type=WORD, metavar="URL", help="The storage of the studies; with a study file: instead of its own."
)
@click.option("--study", type=WORD, metavar="NAME", help="One study of the storage.")
@click.option(
    "--host", type=WORD, default="127.0.0.1", show_default=True, help="Address to listen on; there is no login."
)
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one."
)
@click.option(
    "--artifacts", type=WORD, metavar="FOLDER", help="Folder of the trials' audio; by default beside a SQLite database."
)
@SET
def dashboard(
    study_file: Path | None,
    storage: str | None,
    study: str | None,
    host: str,
    port: int,
    artifacts: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Serve Optuna's dashboard for STUDY.toml's studies, or those of --storage URL, until Ctrl-C.

    On a study's page: schedules coloured by score, score against step, gain against passes, gain by track, and a note;
    on trials that were selected or the highest, audio. All of it follows a running study, which never waits for it.
    """
    _show.show_notes()
    if study_file is None and storage is None:
        raise click.UsageError("give a study file or --storage URL")
    names = [] if study is None else [study]
    if study_file is None:
        url = str(storage)
    else:
        storages = [] if storage is None else [f"study.storage={storage}"]
        config = load_config(study_file, [*overrides, *storages])
        url, artifacts = config.study.storage, artifacts or config.store.artifacts
        names = names or [study_name(config, target) for target in config.refinement.targets]
    with opened(url, studies=names, artifacts=artifacts or "", host=host, port=port) as server:
        click.echo(f"dashboard: {server.address} (Ctrl-C ends it)")
        # It is how a server ends: nothing is left undone.
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
