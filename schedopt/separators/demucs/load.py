"""From a name to a demucs model: the bundled one, a file, a folder, the hub, demucs' own names."""

from __future__ import annotations

import contextlib
import difflib
from importlib import resources
from pathlib import Path

from demucs.hf import DEFAULT_NAMESPACE
from demucs.pretrained import REMOTE_ROOT
from torch import nn

from schedopt.errors import SeparatorError
from schedopt.separators.demucs.bagfile import SIGNATURE, read_bag
from schedopt.separators.demucs.hub import HubRepo, NotOnHubError, UnreachableError, parse_hub_name
from schedopt.separators.demucs.pickles import archive_names, read_archive, read_folder_model
from schedopt.separators.demucs.weights import read_model


def load_model(model: str, *, trust_pickle: bool = False, cache_dir: Path | str | None = None) -> nn.Module:
    """demucs' own model, or its bag of models, that `model` names; arguments and errors as `load_separator`'s."""
    cache_dir = None if cache_dir is None else Path(cache_dir)
    if model == "demo":
        return _demo()
    if model.startswith("hf://"):
        return _from_hub(_hub_repo(model, cache_dir))
    if model.endswith(".safetensors"):
        return read_model(Path(model))
    if model in _bags() or model in archive_names():
        return _by_name(model, cache_dir)
    path = Path(model)
    if model and path.is_dir():
        return _from_folder(path, _only_name(path), trust_pickle)
    if path.name != model and path.parent.is_dir():
        return _from_folder(path.parent, path.name, trust_pickle)
    near = difflib.get_close_matches(model, ["demo", *_bags()], n=3, cutoff=0.4)
    known = ", ".join(near or ["demo", *_bags()])
    raise SeparatorError(
        f"no model is called {model!r}; {'nearest' if near else 'known'}: {known};"
        " or hf://namespace/name, FILE.safetensors, a folder"
    )


def list_models(repo: Path | None = None) -> dict[str, list[str]]:
    """Names of demucs' models by kind, or of those in the folder `repo`; nothing is loaded.

    Raises:
        SeparatorError: `repo` is no folder.
    """
    if repo is None:
        return {"bundled": ["demo"], "bags of models": _bags(), "single models": archive_names()}
    if not repo.is_dir():
        raise SeparatorError(f"{repo}: there is no such folder")
    return {
        "bags of models": sorted(path.stem for path in repo.glob("*.yaml")),
        "single models": sorted(_singles(repo)),
    }


def _bags() -> list[str]:
    """Names that demucs knows, without the parts of its own papers' experiments."""
    return sorted(path.stem for path in REMOTE_ROOT.glob("*.yaml") if not path.stem.startswith("repro_"))


def _demo() -> nn.Module:
    with resources.as_file(resources.files("schedopt.demo") / "weights" / "demo.safetensors") as path:
        if not path.is_file():
            raise SeparatorError("demo: this installation lacks the bundled weights (demo/weights/demo.safetensors)")
        return read_model(path)


def _from_hub(repo: HubRepo) -> nn.Module:
    listing = repo.fetch(f"{repo.model}.yaml")
    return read_bag(listing, lambda signature: read_model(repo.fetch(f"{signature}.safetensors")))


def _hub_repo(model: str, cache_dir: Path | None) -> HubRepo:
    repo = parse_hub_name(model, cache_dir)
    if "/" not in model.removeprefix("hf://") and repo.model not in _bags():
        near = ", ".join(difflib.get_close_matches(repo.model, _bags(), n=3, cutoff=0.4) or _bags())
        raise SeparatorError(
            f"{model} names no namespace, so one of demucs' own models ({near}); write hf://namespace/name"
        )
    return repo


def _by_name(name: str, cache_dir: Path | None) -> nn.Module:
    """demucs' own models: from the hub, else from demucs' older archive."""
    if name not in _bags():
        return read_archive(name, offline=False)
    try:
        return _from_hub(HubRepo(DEFAULT_NAMESPACE, name, cache_dir))
    except NotOnHubError:
        return read_archive(name, offline=False)
    except UnreachableError:
        with contextlib.suppress(SeparatorError):
            return read_archive(name, offline=True)
        raise


def _from_folder(folder: Path, name: str, trust_pickle: bool) -> nn.Module:
    if not SIGNATURE.fullmatch(name):
        raise SeparatorError(f"{folder}: {name!r} is not the name of a model in a folder")
    listing = folder / f"{name}.yaml"
    if listing.is_file():
        return read_bag(listing, lambda signature: _folder_model(folder, signature, trust_pickle))
    return _folder_model(folder, name, trust_pickle)


def _folder_model(folder: Path, signature: str, trust_pickle: bool) -> nn.Module:
    safe = folder / f"{signature}.safetensors"
    if safe.is_file():
        return read_model(safe)
    if signature not in _singles(folder):
        raise SeparatorError(f"{folder}: no {signature}.safetensors or {signature}.th")
    return read_folder_model(folder, signature, trust_pickle)


def _only_name(folder: Path) -> str:
    """The one bag of a folder, or its one model where it has no bag."""
    names = sorted(path.stem for path in folder.glob("*.yaml")) or sorted(_singles(folder))
    if not names:
        raise SeparatorError(f"{folder}: holds no model (.yaml, .safetensors or .th)")
    if len(names) > 1:
        raise SeparatorError(f"{folder}: holds {', '.join(names)}; say which as {folder / names[0]}")
    return names[0]


def _singles(folder: Path) -> set[str]:
    """Signatures of a folder's models: `SIGNATURE.safetensors`, `SIGNATURE.th` or `SIGNATURE-CHECKSUM.th`."""
    pickles = {path.stem.rsplit("-", 1)[0] for path in folder.glob("*.th")}
    return pickles | {path.stem for path in folder.glob("*.safetensors")}
