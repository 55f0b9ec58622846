"""`init`: a study file for a person's own music and model."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from schedopt.cli import _show
from schedopt.cli._paths import PATH, WORD
from schedopt.cli._study_file import study_text
from schedopt.config import make_config
from schedopt.data import check_source
from schedopt.errors import ConfigError, shown
from schedopt.files.writing import write_text

HEAD = """Written by schedopt init. Keys that begin with # have their defaults; remove the # to change one.
What the search would cost: schedopt run {name} --dry-run
The search itself, and again to resume it: schedopt run {name}"""


@click.command()
@click.argument("file", metavar="[STUDY.toml]", type=PATH, default=Path("study.toml"))
@click.option("--data", type=WORD, metavar="SOURCE", help="demo, folder:PATH or musdb:PATH; asked for if left out.")
@click.option("--model", type=WORD, help="demo, htdemucs, FILE.safetensors, …; asked for if left out.")
@click.option("--stem", type=WORD, metavar="STEM[,STEM…]", help="What to refine, or all; asked for if left out.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def init(file: Path, data: str | None, model: str | None, stem: str | None, overwrite: bool) -> None:
    """Write a study file (default: study.toml) with a comment on every key, named after the file.

    What is not given as an option is asked for. Paths are those of the current folder; in the file they start at its
    own. Its first line names the JSON schema, by which editors complete and check keys (Taplo, Even Better TOML).
    """
    _show.show_notes()
    if file.exists() and not overwrite:
        raise ConfigError(f"{shown(file)}: it is there already; --overwrite replaces it")
    data = data or _asked("--data", "Music (demo, folder:PATH with a folder of stems a track, or musdb:PATH)", "demo")
    check_source(_based(data, Path()), "search", {})
    model = model or _asked("--model", "Model (demo, htdemucs, htdemucs_ft, FILE.safetensors, …)", "demo")
    stem = stem or _asked("--stem", "Stem to refine (several with commas, or all)", "vocals")
    stems = [name.strip() for name in stem.split(",")]
    values: dict[str, dict[str, Any]] = {
        "study": {"name": file.stem},
        "data": {"source": _from(file.parent, data)},
        "separator": {"model": _from(file.parent, model)},
        "refinement": {"target": stems[0] if len(stems) == 1 else stems},
    }
    make_config(values, shown(file))
    write_text(file, study_text(values, HEAD.format(name=shown(file))))
    click.echo(f"{shown(file)}: next, schedopt run {shown(file)} --dry-run")


def _asked(option: str, question: str, default: str) -> str:
    if sys.stdin is None:
        raise click.UsageError(f"there is nobody to answer: give {option}")
    try:
        answer: str = click.prompt(question, default=default, err=True)
    except click.Abort as end:
        if isinstance(end.__context__, EOFError):
            raise click.UsageError(f"there is nobody to answer: give {option}") from None
        raise
    return answer


def _split(value: str) -> tuple[str, str]:
    """`folder:` and the path, of a source; nothing and the path, of a model's file or folder; the word itself."""
    kind, colon, path = value.partition(":")
    if colon and kind in ("folder", "musdb"):
        return f"{kind}:", path
    is_path = value.startswith((".", "~", os.sep)) or value.endswith(".safetensors")
    return ("", value) if is_path and "://" not in value else (value, "")


def _based(value: str, folder: Path) -> str:
    kind, path = _split(value)
    return f"{kind}{(folder / Path(path).expanduser()).absolute()}" if path else value


def _from(folder: Path, value: str) -> str:
    """`value` as a file in `folder` names it: its path, relative to the current folder here, relative to that there."""
    kind, path = _split(value)
    if not path or Path(path).is_absolute() or path.startswith("~"):
        return value
    try:
        found = Path(os.path.relpath(path, folder.absolute())).as_posix()
    except ValueError:  # another drive of Windows
        found = str(Path(path).absolute())
    return f"{kind}{found if found.startswith('.') or kind else f'./{found}'}"
