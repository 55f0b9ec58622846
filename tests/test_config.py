"""Study files: defaults, overrides, and one line for every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schedopt.cli._study_file import reference_text
from schedopt.config import StudyConfig, load_config, make_config
from schedopt.errors import ConfigError

STUDIES = sorted((Path(__file__).parents[1] / "studies").glob("*.toml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


def test_only_the_name_is_required(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, '[study]\nname = "mine"\n'))
    assert config.study.storage == f"sqlite:///{tmp_path}/schedopt.db"
    assert config.refinement.targets == ("vocals",)
    assert config.schedule.resolution == 0.1


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_file_is_valid(path: Path) -> None:
    assert load_config(path).study.name


def test_there_is_one_shipped_file_a_family() -> None:
    assert {load_config(path).schedule.family for path in STUDIES} == {
        "linear",
        "cosine",
        "geometric",
        "karras",
        "free",
    }


def test_overrides_beat_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[study]\nname = "mine"\ntrials = 5\n')
    overrides = [
        "study.trials=7",
        "data.gains.vocals=0.5",
        "refinement.target=bass",
        "schedule.space={start=[0.1, 0.2]}",
        "data.tracks=all",
    ]
    config = load_config(path, overrides)
    assert config.study.trials == 7
    assert config.data.gains == {"vocals": 0.5}
    assert config.refinement.targets == ("bass",)
    assert config.family().space["start"].high == 0.2
    assert config.data.tracks is None


def test_stems_are_free_names_and_all_tracks_are_the_default(tmp_path: Path) -> None:
    config = load_config(
        write(
            tmp_path,
            """
        [study]
        name = "six"
        [data]
        excerpt = "track"
        stems = {other = ["keys", "strings"]}
        gains = {guitar = 0.5}
        [separator.stems]
        other = ["other", "piano"]
        [refinement]
        target = ["guitar", "other"]
        """,
        )
    )
    assert config.data.excerpt == "track"
    assert config.data.tracks is None
    assert config.data.stems == {"other": ("keys", "strings")}
    assert config.separator.stems == {"other": ("other", "piano")}
    assert config.refinement.targets == ("guitar", "other")
    assert StudyConfig.model_validate_json(config.model_dump_json()) == config


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = '[study]\nname = "m"\n[data]\nsource = "folder:../songs"\n[separator]\nmodel = "w/x.safetensors"\n'
    (tmp_path / "deep").mkdir()
    config = load_config(write(tmp_path / "deep", text))
    assert config.data.source == f"folder:{tmp_path / 'songs'}"
    assert config.separator.model == str(tmp_path / "deep" / "w" / "x.safetensors")


MISTAKES: list[tuple[str, str]] = [
    ("", "study is missing"),
    ("[study]\ntrials = 5", "study.name is missing"),
    ('[study]\nname = "m"\ntrails = 5', "unknown key study.trails (did you mean trials?)"),
    ('[study]\nname = "m"\n[refinment]\n', "unknown key refinment (did you mean refinement?)"),
    ('[study]\nname = "m"\ntrials = 0', "study.trials = 0"),
    ('[study]\nname = "m"\ntrials = "many"', "study.trials = 'many'"),
    ('[study]\nname = "../m"', "study.name"),
    ('[study]\nname = ".."', "study.name = '..': a name does not begin with"),
    ('[study]\nname = "-rf"', "does not begin with"),
    ('[study]\nname = "a\u2028b"', "unprintable"),
    (f'[study]\nname = "{"β" * 76}"', "1 to 150 bytes"),
    ('[study]\nname = "m"\ntrials = true', "study.trials = True"),
    ('[study]\nname = "m"\ntrials = "7"', "study.trials = '7'"),
    ('[study]\nname = "m"\n[data]\nexcerpt = true', "data.excerpt = True"),
    ('[study]\nname = "m"\n[refinement]\nshift = 1', "refinement.shift = 1"),
    ('[study]\nname = "m"\n[refinement]\ntarget = nan', "refinement.target = nan"),
    ('[study]\nname = "m"\n[data.gains]\nbass = true', "data.gains.bass = True"),
    ('[study]\nname = "m"\n[data.gains]\nbass = nan', "data.gains.bass = nan: Input should be a finite number"),
    ('[study]\nname = "m"\n[schedule.space]\nstart = [0.5]', "schedule.space.start = [0.5]: a range is a list of two"),
    ('[study]\nname = "m"\n[schedule.space]\nstart = [0, nan]', "finite number"),
    ('[study]\nname = "m"\n[schedule.space]\nstart = [0, true]', "valid number"),
    ('[study]\nname = "m"\n[refinement]\ntarget = "a/b"', "refinement.target = 'a/b': a stem's name"),
    ('[study]\nname = "m"\n[refinement]\ntarget = [1]', "a stem, a list of stems"),
    ('[study]\nname = "m"\n[data]\nexcerpt = "song"', "data.excerpt = 'song': Input should be a number of seconds"),
    ('[study]\nname = "m"\n[data]\nexcerpt = 601', 'at most 600, or "track"'),
    ('[study]\nname = "m"\n[data.stems]\nother = "guitar"', "data.stems.other"),
    ('[study]\nname = "m"\n[data.stems]\nother = []', "other has an empty list"),
    ('[study]\nname = "m"\n[data.stems]\na = ["x"]\nb = ["x"]', "'x' counts in 'a' and 'b'"),
    ('[study]\nname = "m"\n[separator.stems]\nother = ["x", "x"]', "'x' counts in 'other' and 'other'"),
    ('[study]\nname = "m"\n[separator.stems]\n".x" = ["x"]', "separator.stems..x"),
    ('[study]\nname = "m"\n[data.stems]\nother = [3]', "data.stems.other"),
    ('[study]\nname = "m"\n[refinement]\ntarget = []', "at least one"),
    ('[study]\nname = "m"\n[refinement]\ntarget = ["bass", "all"]', "at least one"),
    ('[study]\nname = "m"\n[refinement]\ntarget = ["bass", "bass"]', "every stem once"),
    ('[study]\nname = "m"\n[refinement]\nrule = "remx"', "did you mean remix?"),
    ('[study]\nname = "m"\n[schedule]\nfamily = "linaer"', "did you mean linear?"),
    ('[study]\nname = "m"\n[schedule]\nmonotone = true', "monotone goes with the family free"),
    ('[study]\nname = "m"\n[schedule.space]\nstart = [0.5, 0.1]', "range of start"),
    ('[study]\nname = "m"\n[schedule.space]\nbegin = [0, 1]', "no parameter 'begin'"),
    ('[study]\nname = "m"\n[data.gains]\n"a/b" = 1', "a stem's name has 1 to 100"),
    ('[study]\nname = "m"\n[refinement]\ntarget = "piano"\n[data.gains]\npiano = 0', "data.gains.piano = 0 takes"),
    ('[study]\nname = "m"\n[data.gains]\npiano = 101', "gain of piano = 101"),
    ('[study]\nname = "m"\n[data.gains]\nbass = -1', "gain of bass"),
    ('[study]\nname = "m"\n[data]\nexcerpt = nan', "data.excerpt = nan: Input should be a finite number"),
    ('[study]\nname = "m"\n[search]\nsampler = "best"', "search.sampler = 'best'"),
    ('[study]\nname = "m"\n[separator]\ndevice = "gpu"', "separator.device = 'gpu'"),
    ('[study]\nname = "m"\n[schedule]\nresolution = 1e-9', "at least 1e-06, or 0"),
    ('[study]\nname = "m"\n[schedule]\nfamily = "karras"\n[schedule.space]\nrho = [0, 0]', "gives no schedule"),
    (f'[study]\nname = "m"\ntrials = 1{"0" * 5000}', "not valid TOML"),
    ("study = 3", "study"),
    ("[study", "not valid TOML"),
]


@pytest.mark.parametrize(("text", "says"), MISTAKES)
def test_mistakes_are_one_line_with_file_and_key(text: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert says in message
    assert str(path) in message
    assert "\n" not in message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "binary.toml"):
        with pytest.raises(ConfigError, match=str(path)):
            load_config(path)


@pytest.mark.parametrize("override", ["trials=5", "study.trials", "study.name.x=1", "=3", "study.=3"])
def test_bad_overrides(override: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_config(write(tmp_path, '[study]\nname = "m"\n'), [override])


@pytest.mark.parametrize("override", ["study.trials=5\nstudy.name='x'", "study.trials=5\n[data]\ntracks = 1"])
def test_an_override_is_one_key(override: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--set study\.trials: more follows after the value"):
        load_config(write(tmp_path, '[study]\nname = "m"\n'), [override])
    several_lines = ["refinement.target=[\n'bass',\n'drums']"]
    assert load_config(tmp_path / "study.toml", several_lines).refinement.targets == ("bass", "drums")


def test_a_model_behind_a_link_keeps_the_links_name(tmp_path: Path) -> None:
    """In the hub's cache files are links to blobs that have no suffix."""
    (tmp_path / "blob").write_text("")
    (tmp_path / "x.safetensors").symlink_to("blob")
    config = load_config(write(tmp_path, '[study]\nname = "m"\n[separator]\nmodel = "x.safetensors"\n'))
    assert config.separator.model == str(tmp_path / "x.safetensors")


def test_documents_from_python_are_checked_too() -> None:
    document: dict[str, Any] = {"study": {"name": "m"}, "search": {"prunner": "none"}}
    with pytest.raises(ConfigError, match="did you mean pruner"):
        make_config(document)


def test_the_reference_names_every_key() -> None:
    text = reference_text()
    for key in ("trials", "storage", "excerpt", "gains", "precision", "choose_steps", "resolution", "sampler"):
        assert f"  {key} " in text


def test_tables_nested_too_deeply_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("[study]\nname = 's'\n")
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(path, [f"data.stems.{'.'.join('a' * 3000)}=1"])


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"separator": {"stems": {"all": ["drums"]}}}, "all stands for all stems: no sum can be called so"),
        ({"data": {"stems": {"vocals": "drums"}}}, r"data\.stems\.vocals = 'drums': Input should be a list"),
        ({"search": {"objectives": "si_sir"}}, r"search\.objectives = 'si_sir': Input should be a list"),
        ({"refinement": {"sigma": 0.5}}, "sigma goes with the rule ddpm, not with remix"),
    ],
)
def test_values_that_cannot_be_followed(sections: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        make_config({"study": {"name": "s"}, **sections})
