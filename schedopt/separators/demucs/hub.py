"""Files of a Hugging Face repository: from the cache where they are there, else from the hub, in bounded time."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from demucs.hf import DEFAULT_NAMESPACE, hf_repo_name

from schedopt.errors import SeparatorError

Result = TypeVar("Result")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
CONTACT_SECONDS = 5.0  # to wait for the hub's first answer


class NotOnHubError(SeparatorError):
    """The hub answers and has no such repository or file."""


class UnreachableError(SeparatorError):
    """The file is not in the cache and the hub does not answer."""


@dataclass(frozen=True)
class HubRepo:
    """A model's repository on the hub and the cache folder for its files (the library's own where None)."""

    namespace: str
    model: str
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        for part in (self.namespace, self.model):
            if not NAME.fullmatch(part) or ".." in part or "--" in part:
                raise SeparatorError(f"hf://{self.namespace}/{self.model} is not of the form hf://namespace/name")

    @property
    def name(self) -> str:
        """As demucs takes it."""
        return self.model if self.namespace == DEFAULT_NAMESPACE else f"hf://{self.namespace}/{self.model}"

    @property
    def repo_id(self) -> str:
        return f"{self.namespace}/{hf_repo_name(self.model)}"

    def fetch(self, filename: str) -> Path:
        """Path of a file in the cache; downloaded first where it is not there.

        Raises:
            NotOnHubError: the hub has no such repository or file.
            UnreachableError: not in the cache, and offline.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.errors import LocalEntryNotFoundError

        def download(local: bool) -> Path:
            return Path(hf_hub_download(self.repo_id, filename, cache_dir=self.cache_dir, local_files_only=local))

        def contact() -> None:
            # hf_hub_download tries for 20 s and more where there is no network; one request says so at once.
            get_hf_file_metadata(hf_hub_url(self.repo_id, filename), timeout=CONTACT_SECONDS)

        with _quiet():
            with contextlib.suppress(LocalEntryNotFoundError):
                return download(local=True)
            self._ask(contact, filename)
            return self._ask(lambda: download(local=False), filename)

    def _ask(self, request: Callable[[], Result], filename: str) -> Result:
        from huggingface_hub import constants
        from huggingface_hub.errors import LocalEntryNotFoundError

        if constants.HF_HUB_OFFLINE:
            raise self._unreachable("HF_HUB_OFFLINE is set")
        try:
            return request()
        except LocalEntryNotFoundError as error:
            raise self._unreachable(_line(error)) from None
        except _refusals() as error:
            raise NotOnHubError(
                f"{self.name}: the hub has no {filename} in {self.repo_id},"
                f" or it needs a login ({type(error).__name__})"
            ) from None
        except PermissionError as error:
            raise SeparatorError(f"the Hugging Face cache cannot be written ({_line(error)})") from None
        except Exception as error:  # each version of the hub library brings another HTTP client's errors
            raise self._unreachable(_line(error)) from None

    def _unreachable(self, reason: str) -> UnreachableError:
        from huggingface_hub import constants

        cache = self.cache_dir or Path(constants.HF_HUB_CACHE)
        folder = f"models--{self.repo_id.replace('/', '--')}"
        return UnreachableError(
            f"{self.name} is not in the Hugging Face cache ({cache}) and the hub cannot be reached ({reason});"
            f" run once with a network, or copy the folder {folder} into the cache from a machine that has it"
        )


def parse_hub_name(name: str, cache_dir: Path | None) -> HubRepo:
    """`hf://namespace/name` or `hf://name` (demucs' own namespace) → its repository."""
    namespace, slash, model = name.removeprefix("hf://").partition("/")
    if not namespace or (slash and not model):
        raise SeparatorError(f"{name} is not of the form hf://namespace/name")
    return HubRepo(namespace, model, cache_dir) if slash else HubRepo(DEFAULT_NAMESPACE, namespace, cache_dir)


def _refusals() -> tuple[type[Exception], ...]:
    from huggingface_hub import errors

    return (errors.RepositoryNotFoundError, errors.EntryNotFoundError, errors.RevisionNotFoundError, ValueError)


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the hub library's warnings and log lines from the user, who gets one line of ours."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
