"""`schedopt separate` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from schedopt.cli import call
from schedopt.data import cut_excerpts, load_tracks, mix
from schedopt.evaluation import Evaluator
from schedopt.files.schedule_file import load_schedule_file
from schedopt.separators import load_separator, save_safetensors
from schedopt.workers.run import run
from tests.models import RATE, tiny_hdemucs
from tests.proof.schedules import write_schedule
from tests.separators.networks import difference
from tests.songs.songs import read_stems, write_song
from tests.studies import make_study

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A folder with a model, a schedule file for vocals, one for all, and a song."""
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    write_schedule(tmp_path, "v", vocals={"betas": [0.5, 0.25], "shift": True})
    write_schedule(tmp_path, "a", all={"betas": [0.5]})
    write_song(tmp_path / "song.wav")
    return tmp_path


@pytest.mark.parametrize(
    "refinement",
    [
        {"steps": 3},
        {"steps": 2, "shift": "true", "output": "mean", "peak_guard": "true"},
        {"steps": 2, "rule": "resum"},
    ],
    ids=str,
)
def test_export_load_separate_gives_the_trials_estimates(
    tmp_path: Path, refinement: dict[str, object], capsys: Capture
) -> None:
    options = {key: value == "true" or value for key, value in refinement.items()}
    config = make_study(
        tmp_path,
        study={"trials": 3, "storage": f"sqlite:///{tmp_path}/s.db"},
        refinement={"target": "vocals", "choose_steps": False, **options},
    )
    (summary,) = run(config)
    assert summary.selected is not None
    file = tmp_path / "best.json"
    arguments = ["--set", f"study.storage=sqlite:///{tmp_path}/s.db", "--set", 'refinement.target="vocals"']
    for key, value in refinement.items():
        arguments += ["--set", f"refinement.{key}={value}"]
    assert call(["export", str(tmp_path / "small.toml"), "-o", str(file), *arguments]) == 0
    (entry,) = load_schedule_file(file).schedules.values()

    # The study's trial on the excerpts, as the study itself runs it.
    separator = load_separator(config.separator.model, device="cpu", precision="float32")
    excerpts = cut_excerpts(load_tracks(config.data.source, "search"), config.data.excerpt)
    trial = Evaluator(separator, excerpts, config.refinement.for_target("vocals", config.study.seed))
    songs = []
    for number, excerpt in enumerate(excerpts):
        songs.append(tmp_path / f"{number}.wav")
        soundfile.write(songs[-1], mix(excerpt.references).numpy().T, RATE, subtype="FLOAT")
    command = ["separate", *map(str, songs), "--schedule", str(file), "-o", str(tmp_path / "out"), "--float32"]
    assert call(command) == 0
    for number in range(len(excerpts)):
        stems = read_stems(tmp_path / "out" / "tiny" / str(number))
        assert difference(torch.from_numpy(stems["vocals"]), trial.trajectory(entry.betas, number)[-1]) < 1e-5
        assert (
            difference(torch.from_numpy(stems["bass"]), separator(trial.tasks[number].scene.mixture[None])[0, 1]) < 1e-5
        )


def test_a_schedule_serves_its_targets_and_the_plain_pass_the_rest(bench: Path, capsys: Capture) -> None:
    song = str(bench / "song.wav")
    for name, options in (("v", ["--schedule", str(bench / "v.schedule.json")]), ("plain", ["-n", "tiny.safetensors"])):
        options = [option.replace("tiny.saf", f"{bench}/tiny.saf") for option in options]
        assert call(["separate", song, *options, "-o", str(bench / name), "--float32"]) == 0
    assert f"song.wav → {bench}/plain/tiny/song" in capsys.readouterr().out
    refined, plain = (read_stems(bench / name / "tiny" / "song") for name in ("v", "plain"))
    assert [stem for stem in plain if not np.array_equal(refined[stem], plain[stem])] == ["vocals"]
    assert (
        call(["separate", song, "--schedule", str(bench / "a.schedule.json"), "-o", str(bench / "all"), "--float32"])
        == 0
    )
    shared = read_stems(bench / "all" / "tiny" / "song")
    assert [stem for stem in plain if not np.array_equal(shared[stem], plain[stem])] == sorted(plain)


def test_the_choices_of_the_demucs_command(bench: Path) -> None:
    schedule = ["--schedule", str(bench / "a.schedule.json")]
    made = [
        "-o",
        str(bench / "o"),
        "-d",
        "cpu",
        "--shifts",
        "2",
        "--overlap",
        "0.1",
        "--segment",
        "1",
        "--flac",
        "--int24",
    ]
    named = ["--two-stems", "bass", "--filename", "{stem}/{track}_{trackext}.{ext}"]
    assert call(["separate", str(bench / "song.wav"), *schedule, *made, *named]) == 0
    files = sorted(path for path in (bench / "o").rglob("*") if path.is_file())
    assert files == [bench / "o" / "tiny" / stem / "song_wav.flac" for stem in ("bass", "no_bass")]
    assert soundfile.info(files[0]).subtype == "PCM_24"


def test_bad_songs_end_with_1_and_one_line_each(bench: Path, capsys: Capture) -> None:
    (bench / "bad\n.mp3").write_text("no song")
    songs = [str(bench / name) for name in ("bad\n.mp3", "song.wav", "missing.flac")]
    command = ["separate", *songs, "--schedule", str(bench / "v.schedule.json"), "-o", str(bench / "out")]
    assert call(command) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "schedopt: 2 of 3 songs could not be separated:"
    assert [line.startswith("schedopt: ") for line in lines] == [True] * 3
    assert r"bad\n.mp3: neither libsndfile" in lines[1]
    assert "missing.flac cannot be read: no such file or directory" in lines[2]
    assert call([*command, "--json"]) == 1
    states = [row["state"] for row in json.loads(capsys.readouterr().out)["songs"]]
    assert states == ["failed", "there", "failed"]


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--schedule", "nothing"], 1, "there is no such schedule file; presets: demo"),
        (["--schedule", "demo", "-n", "{}/tiny.safetensors"], 1, "searched with other weights than those of"),
        (["-n", "htdemucz"], 1, "no model is called 'htdemucz'"),
        (["-n", "{}/tiny.safetensors", "--two-stems", "piano"], 1, "has no stem 'piano'"),
        (["-n", "{}/tiny.safetensors", "--filename", "../{{stem}}"], 1, "leads out of the output folder"),
        (["-n", "{}/tiny.safetensors", "-d", "cuda:9"], 1, "cuda:9"),
        (["-n", "{}/tiny.safetensors", "--overlap", "1"], 2, "--overlap"),
        (["--int24", "--float32"], 2, "choose one"),
        (["--flac", "--float32"], 2, "no float samples"),
    ],
)
def test_mistakes_are_one_line(options: list[str], code: int, says: str, bench: Path, capsys: Capture) -> None:
    options = [option.format(bench) for option in options]
    assert call(["separate", str(bench / "song.wav"), *options, "-o", str(bench / "out")]) == code
    error = capsys.readouterr().err
    assert says in error
    assert code == 2 or len(error.splitlines()) == 1
    assert not (bench / "out").exists()


def test_the_demo_preset_separates(tmp_path: Path) -> None:
    song = write_song(tmp_path / "a.wav", 0.3)
    assert call(["separate", str(song), "--schedule", "demo", "-o", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out" / "demo" / "a").glob("*.wav"))) == 4


PEAK = """
import re, sys
from pathlib import Path
from schedopt.songs import Options, separate_songs
from tests.songs.songs import entry, tiny

def anonymous(*_):
    # Memory that the kernel cannot drop: pages of scratch files are written out when memory is short.
    status = Path("/proc/self/status").read_text()
    peaks[-1] = max(peaks[-1], int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]) // 1024)

separator = tiny(channels=1, depth=1, segment=8, dconv_mode=0, resample=False)
peaks = []
for song in sys.argv[2:]:
    peaks.append(0)
    options = Options(Path(sys.argv[1]), entries={"vocals": entry(0.5, shift=True, output="mean")})
    (result,) = separate_songs([Path(song)], separator, options, anonymous)
    assert result.state == "done", result.error
print(*peaks)
"""


def test_memory_does_not_grow_with_the_songs_length(tmp_path: Path) -> None:
    lengths = (30, 240)
    rng = np.random.default_rng(0)
    for seconds in lengths:
        noise = rng.uniform(-0.5, 0.5, seconds * 8_000).astype(np.float32)
        soundfile.write(tmp_path / f"{seconds}.flac", noise, 8_000)
    songs = [str(tmp_path / f"{seconds}.flac") for seconds in lengths]
    command = [sys.executable, "-c", PEAK, str(tmp_path / "out"), *songs]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    short, long = map(int, done.stdout.split())
    # 210 s more are 74 MB in float32, for each of a dozen arrays; freed memory of some tens stays in pieces.
    assert long - short < 140, f"{short} → {long} MiB"
    assert len(list((tmp_path / "out" / "tiny" / "240").iterdir())) == 4


def test_the_preset_of_the_toy_model_says_what_it_is(tmp_path: Path, capsys: Capture) -> None:
    song = write_song(tmp_path / "song.wav", 0.3)
    assert call(["separate", str(song), "--schedule", "demo", "-o", str(tmp_path / "out")]) == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "toy model" in line]
    assert "schedopt init --model htdemucs" in said
    assert call(["separate", str(song), "-n", "demo", "-o", str(tmp_path / "out2")]) == 0
    assert "toy model" not in capsys.readouterr().err
