"""Names of the files that a song's stems go to: demucs' template, filled so that none leads out of its folder."""

from __future__ import annotations

import os
import string
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from schedopt.errors import DataError, shown
from schedopt.files.names import portable_name

FIELDS = ("folder", "track", "trackext", "stem", "ext")
DEFAULT = "{track}/{stem}.{ext}"
BY_FOLDER = "{folder}/{track}/{stem}.{ext}"

LONGEST = 255
"""Bytes of a name, on all usual file systems."""


@dataclass(frozen=True)
class Template:
    """`{track}` is a song's name without its extension, `{trackext}` that extension, `{folder}` the name of the folder
    it lies in, `{stem}` the stem's name, `{ext}` the output's extension.

    Raises:
        DataError: a field that is not one of these, no `{stem}`, or a path that leads out of a folder.
    """

    text: str = DEFAULT

    def __post_init__(self) -> None:
        try:
            parsed = list(string.Formatter().parse(self.text))
        except ValueError as error:
            raise DataError(f"--filename {shown(self.text)}: {error}") from None
        names = []
        for _, name, spec, conversion in parsed:
            if name is None:
                continue
            if name not in FIELDS or spec or conversion:
                known = ", ".join(f"{{{field}}}" for field in FIELDS)
                raise DataError(f"--filename {shown(self.text)}: {{{shown(name)}}} is not one of {known}")
            names.append(name)
        if "stem" not in names:
            raise DataError(f"--filename {shown(self.text)}: without {{stem}} all stems would go to one file")
        self.path(Path("a.b"), "c", "d")

    def path(self, song: Path, stem: str, ext: str) -> Path:
        """Where `song`'s `stem` goes, relative to the output folder.

        Raises:
            DataError: the template leads out of a folder, whatever is filled in, or to a name that is too long.
        """
        track, _, trackext = song.name.rpartition(".")
        values = {"folder": song.absolute().parent.name, "track": track or song.name, "trackext": trackext}
        values |= {"stem": stem, "ext": ext}
        filled = self.text.format(**{name: part_of_a_name(value) for name, value in values.items()})
        path = Path(filled)
        # Windows' reading too: "C:x" and "..\\x" lead out there.
        views = (PurePosixPath(filled), PureWindowsPath(filled))
        if not _is_name(filled) or any(view.anchor or ".." in view.parts for view in views) or not path.name:
            raise DataError(f"--filename {shown(self.text)}: {shown(filled)} leads out of the output folder")
        names = [portable_name(name) for name in path.parts]
        if any(len(os.fsencode(name)) > LONGEST for name in names):
            raise DataError(f"--filename {shown(self.text)}: {shown(filled)} has a name of more than {LONGEST} bytes")
        return Path(*names)


def telling_apart(one: Path, other: Path) -> str:
    """What to do about two songs whose stems have the same names."""
    for text in ("{track}.{trackext}/{stem}.{ext}", BY_FOLDER, "{folder}/{track}.{trackext}/{stem}.{ext}"):
        template = Template(text)
        if template.path(one, "x", "x") != template.path(other, "x", "x"):
            return f"tell them apart with --filename '{text}'"
    return "separate it in a call of its own, with another -o FOLDER"


def _is_name(text: str) -> bool:
    """Whether the file system can hold it: no NUL, no lone surrogate."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def part_of_a_name(value: str) -> str:
    """`value` as a part of a path: no separators, no control characters, and not a name that means another folder."""
    safe = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 or ord(c) == 127 else c for c in value)
    return safe if safe.strip(". ") else "_" * max(1, len(safe))


def model_folder(model: str) -> str:
    """The folder of a model's results, as demucs calls it; of a model in a file or folder, its name alone."""
    name = model.removeprefix("hf://").replace("/", "_") if model.startswith("hf://") else Path(model).name
    return portable_name(part_of_a_name(name.removesuffix(".safetensors")))


def inside(folder: Path, relative: Path) -> Path:
    """`folder / relative`, which must not lead out of `folder` through links that are there.

    Raises:
        DataError: it does.
    """
    path = folder / relative
    try:
        real = path.resolve()
    except (OSError, RuntimeError):
        real = None
    if real is None or not real.is_relative_to(folder.resolve()):
        raise DataError(f"{shown(path)}: leads out of the output folder {shown(folder)}")
    return path
