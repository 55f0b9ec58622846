"""Models that are pickled, whose loading runs code.

So only what the user vouches for is loaded, or what demucs' own archive holds, by checksum.
"""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Iterator
from pathlib import Path

import torch
from demucs.pretrained import REMOTE_ROOT, _parse_remote_files
from demucs.repo import LocalRepo, RemoteRepo, check_checksum
from torch import nn

from schedopt.errors import SeparatorError
from schedopt.separators.demucs.bagfile import read_bag

CONTACT_SECONDS = 20.0


def archive_names() -> list[str]:
    """Signatures of the single models in demucs' archive."""
    return sorted(_parse_remote_files(REMOTE_ROOT / "files.txt"))


def read_folder_model(folder: Path, signature: str, trust_pickle: bool) -> nn.Module:
    """`SIGNATURE.th` or `SIGNATURE-CHECKSUM.th` of a folder, by demucs' own loader.

    Raises:
        SeparatorError: without `trust_pickle`; a file that is missing, broken or does not have its checksum.
    """
    if not trust_pickle:
        raise SeparatorError(
            f"{folder}: its .th files are pickles, and loading a pickle runs whatever code is in it;"
            " if you trust their source, say so with --trust-pickle (trust_pickle=True)"
        )
    with _as_one_line(f"{folder}: {signature}.th"):
        model: nn.Module = LocalRepo(folder).get_model(signature)
    return model


def read_archive(name: str, offline: bool) -> nn.Module:
    """A bag or single model from demucs' own archive; every file is compared with the checksum that demucs ships.

    Args:
        name: of a bag or a signature.
        offline: use files in torch's cache only.

    Raises:
        SeparatorError: a file that is not there (offline), cannot be fetched or does not have its checksum.
    """
    bag = REMOTE_ROOT / f"{name}.yaml"
    if not bag.is_file():
        return _archived(name, offline)
    return read_bag(bag, lambda signature: _archived(signature, offline))


def _archived(signature: str, offline: bool) -> nn.Module:
    urls = _parse_remote_files(REMOTE_ROOT / "files.txt")
    file = Path(torch.hub.get_dir()) / "checkpoints" / urls[signature].rsplit("/", 1)[1]
    if offline and not file.is_file():
        raise SeparatorError(f"{file}: no such file")
    with _as_one_line(f"{signature} of demucs' archive"), _socket_timeout():
        if file.is_file():  # torch compares checksums when it downloads, not when it reads
            check_checksum(file, file.stem.rsplit("-", 1)[1])
        model: nn.Module = RemoteRepo(urls).get_model(signature)
    return model


@contextlib.contextmanager
def _as_one_line(what: str) -> Iterator[None]:
    """Turns all that an unpickling can throw, and demucs' own exits, into one line; keeps stdout clean."""
    try:
        with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(io.StringIO()):
            yield
    except SystemExit:
        raise SeparatorError(f"{what}: quantised weights need the package diffq: pip install diffq") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SeparatorError(f"{what} cannot be loaded ({reason})") from None


@contextlib.contextmanager
def _socket_timeout() -> Iterator[None]:
    """torch.hub waits for ever by default."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONTACT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
