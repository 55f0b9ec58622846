"""Names, folders and the hub: found, refused, or missing, each in one line and without a network."""

from __future__ import annotations

import hashlib
import importlib.resources
import os
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError

from schedopt.errors import SeparatorError
from schedopt.separators import Separator, load_separator, save_safetensors
from schedopt.separators.demucs import pickles
from schedopt.separators.demucs.hub import HubRepo
from tests.separators.networks import SAMPLES, demucs, htdemucs, mixture, one_hot_bag

REVISION = "0123456789abcdef0123456789abcdef01234567"
ONE_HOT = "weights: [[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.], [0., 0., 0., 1.]]\n"


def refusal(model: str, **options: Any) -> str:
    with pytest.raises(SeparatorError) as caught:
        load_separator(model, device="cpu", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def print_of(model: Any) -> str:
    return Separator.from_model(model, device="cpu").fingerprint


def hub_snapshot(cache: Path, repo: str) -> Path:
    """An empty snapshot of a repository in the Hugging Face cache's layout."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(REVISION)
    snapshot = folder / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    return snapshot


def write_pickle(folder: Path, model: Any, signature: str = "abc123") -> Path:
    """A `.th` file as demucs writes it, named with its checksum."""
    args, kwargs = model._init_args_kwargs
    package = {"klass": type(model), "args": args, "kwargs": kwargs, "state": model.state_dict()}
    path = folder / "new"
    torch.save(package, path)
    return path.rename(folder / f"{signature}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.th")


class Bomb:
    """Unpickling one makes a folder named `exploded`."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


# --- the hub ---------------------------------------------------------------------------------------------------------


def test_htdemucs_loads_offline_from_a_cache(tmp_path: Path) -> None:
    snapshot = hub_snapshot(tmp_path, "adefossez/HTDemucs")
    (snapshot / "htdemucs.yaml").write_text("models: ['955717e8']\n")
    save_safetensors(htdemucs(), snapshot / "955717e8.safetensors")
    for name in ("htdemucs", "hf://htdemucs", "hf://adefossez/htdemucs"):
        separator = load_separator(name, device="cpu", cache_dir=tmp_path)
        assert separator.name == name
        assert separator.fingerprint == print_of(htdemucs())


def test_a_one_hot_bag_from_someone_elses_namespace(tmp_path: Path) -> None:
    snapshot = hub_snapshot(tmp_path, "some-one/Demucs-mine")
    (snapshot / "mine.yaml").write_text(f"models: [a, b, c, d]\n{ONE_HOT}")
    for signature, model in zip("abcd", one_hot_bag().models, strict=True):
        save_safetensors(model, snapshot / f"{signature}.safetensors")
    separator = load_separator("hf://some-one/mine", device="cpu", cache_dir=tmp_path)
    waves = mixture(SAMPLES)[None]
    assert torch.equal(separator(waves), Separator.from_model(one_hot_bag(), device="cpu")(waves))


def test_neither_cache_nor_network(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    message = refusal("htdemucs", cache_dir=tmp_path)
    assert message.startswith(f"htdemucs is not in the Hugging Face cache ({tmp_path}) and the hub cannot be reached")
    assert "HF_HUB_OFFLINE is set" in message
    assert "models--adefossez--HTDemucs" in message
    assert capfd.readouterr() == ("", "")


def test_a_network_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("[Errno -2] Name or service not known\nmore lines")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    assert "cannot be reached ([Errno -2] Name or service not known); run once" in refusal("mdx", cache_dir=tmp_path)


def test_a_repository_that_is_not_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any, **__: Any) -> None:
        raise EntryNotFoundError("404")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", absent)
    message = refusal("hf://some-one/mine", cache_dir=tmp_path)
    assert "hf://some-one/mine: the hub has no mine.yaml in some-one/Demucs-mine" in message


def test_a_hub_model_is_checked_like_any_file(tmp_path: Path) -> None:
    snapshot = hub_snapshot(tmp_path, "evil/Demucs-mine")
    for content, message in {
        "models: ['../../secret']": "model '../../secret' is not a plain name",
        "models: [1]": "model 1 is not a plain name",
        "models: []": "models is not a list of 1 to 16 names",
        "models: ['": "not a readable YAML file",
        "- 1": "not a YAML file of a bag of models",
        "models: [a]\nsegment: -1": "segment -1 is not a number of seconds",
        "models: [a]\nweights: [[1]]": "weights are not 1 rows of 4 numbers",
        "models: [a]\nweights: [[0, 1, 1, 1]]": "no model of the bag has a weight for drums",
        "models: [a]\nweights: [[.nan, 1, 1, 1]]": "weights are not 1 rows of 4 numbers",
        "models: [a, b]": "its models differ in stems",
        "models: [a]\n#" + "x" * 70_000: "too large",
        "models: [!!python/object/apply:os.getcwd []]": "not a readable YAML file",
        "models: [c]": "c.safetensors: not a readable safetensors file",
    }.items():
        (snapshot / "mine.yaml").write_text(content)
        save_safetensors(demucs(), snapshot / "a.safetensors")
        save_safetensors(demucs(sources=["drums"]), snapshot / "b.safetensors")
        (snapshot / "c.safetensors").write_text("garbage")
        assert message in refusal("hf://evil/mine", cache_dir=tmp_path), content


@pytest.mark.parametrize(
    "name", ["hf://", "hf://a/", "hf:///b", "hf://a/b/c", "hf://../x", "hf://a/..", "hf://a b/c", "hf://-a/b"]
)
def test_hub_names_that_are_none(name: str) -> None:
    assert f"{name} is not of the form hf://namespace/name" in refusal(name)


def test_a_hub_name_without_namespace_must_be_one_of_demucs_own() -> None:
    message = refusal("hf://htdemucz")
    assert message.startswith("hf://htdemucz names no namespace, so one of demucs' own models (htdemucs")


def test_repositories_are_named_as_demucs_names_them() -> None:
    names = {"htdemucs": "HTDemucs", "htdemucs_ft": "HTDemucs-ft", "mdx_extra_q": "Demucs-mdx_extra_q"}
    assert {name: HubRepo("x", name).repo_id for name in names} == {name: f"x/{repo}" for name, repo in names.items()}


# --- demucs' archive -------------------------------------------------------------------------------------------------


def archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A make-believe archive whose one file is in torch's cache already."""
    (folder / "checkpoints").mkdir()
    file = write_pickle(folder / "checkpoints", htdemucs(), "955717e8")
    monkeypatch.setattr(pickles, "_parse_remote_files", lambda _: {"955717e8": f"https://nowhere.invalid/{file.name}"})
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder))
    return file


def test_the_archives_file_in_torchs_cache_serves_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path, monkeypatch)
    for name in ("htdemucs", "955717e8"):
        assert load_separator(name, device="cpu", cache_dir=tmp_path / "hub").fingerprint == print_of(htdemucs())


def test_a_changed_file_in_torchs_cache_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(Bomb(), archive(tmp_path, monkeypatch))
    assert "955717e8 of demucs' archive cannot be loaded (Invalid checksum" in refusal("955717e8")
    assert "cannot be reached" in refusal("htdemucs", cache_dir=tmp_path / "hub")
    assert not Path("exploded").exists()


# --- folders ---------------------------------------------------------------------------------------------------------


def test_pickles_need_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(Bomb(), tmp_path / "bomb.th")
    message = refusal(str(tmp_path))
    assert "loading a pickle runs whatever code is in it" in message
    assert "--trust-pickle" in message
    assert not Path("exploded").exists()
    assert "cannot be loaded" in refusal(str(tmp_path), trust_pickle=True)
    assert Path("exploded").exists()  # as the message said


def test_pickles_with_trust(tmp_path: Path) -> None:
    write_pickle(tmp_path, demucs())
    assert load_separator(str(tmp_path), device="cpu", trust_pickle=True).fingerprint == print_of(demucs())
    write_pickle(tmp_path, demucs(1), "def456")
    message = refusal(str(tmp_path), trust_pickle=True)
    assert message == f"{tmp_path}: holds abc123, def456; say which as {tmp_path / 'abc123'}"
    chosen = load_separator(str(tmp_path / "def456"), device="cpu", trust_pickle=True)
    assert chosen.fingerprint == print_of(demucs(1))
    (tmp_path / "both.yaml").write_text("models: [abc123, def456]")
    assert len(load_separator(str(tmp_path), device="cpu", trust_pickle=True).members) == 2


def test_a_folder_of_safetensors_needs_no_trust(tmp_path: Path) -> None:
    save_safetensors(demucs(), tmp_path / "a.safetensors")
    assert load_separator(str(tmp_path), device="cpu").fingerprint == print_of(demucs())


def test_folders_that_are_of_no_use(tmp_path: Path) -> None:
    assert "holds no model" in refusal(str(tmp_path))
    assert "no nothing.safetensors or nothing.th" in refusal(str(tmp_path / "nothing"))
    assert "is not the name of a model in a folder" in refusal(str(tmp_path / "a b"))
    (tmp_path / "bad-01234567.th").write_text("garbage")
    assert "Invalid checksum" in refusal(str(tmp_path), trust_pickle=True)
    (tmp_path / "bad-01234567.th").rename(tmp_path / "bad.th")
    assert "bad.th cannot be loaded" in refusal(str(tmp_path), trust_pickle=True)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("htdemucs_tf", "htdemucs_ft"), ("HTDemucs", "htdemucs"), ("hdemucs_mm", "hdemucs_mmi"), ("dem", "demo")],
)
def test_a_wrong_name_names_the_nearest(name: str, nearest: str) -> None:
    message = refusal(name)
    assert message.startswith(f"no model is called {name!r}; nearest: ")
    assert nearest in message


def test_a_name_that_is_like_nothing(tmp_path: Path) -> None:
    assert "known: demo, hdemucs_mmi, htdemucs, htdemucs_6s" in refusal("xyzzy")
    assert "known: demo" in refusal("")
    assert "no model is called" in refusal(str(tmp_path / "no" / "such" / "folder"))


def test_a_known_name_beats_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "htdemucs"
    folder.mkdir()
    save_safetensors(demucs(), folder / "a.safetensors")
    assert "cannot be reached" in refusal("htdemucs", cache_dir=tmp_path / "hub")
    assert load_separator("./htdemucs", device="cpu").fingerprint == print_of(demucs())


def test_the_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.resources, "files", lambda _: tmp_path)
    assert "demo: this installation lacks the bundled weights" in refusal("demo")
    (tmp_path / "weights").mkdir()
    save_safetensors(demucs(), tmp_path / "weights" / "demo.safetensors", half=True)
    assert load_separator("demo", device="cpu").stems == ("drums", "bass", "other", "vocals")
