"""Issue 13, items 11, 25 and 28: what a terminal, a pipe or a full disk does to output, and errors that nobody foresaw.

Help that ends in `UnicodeEncodeError` in a redirected Windows terminal: pallets/click issue 2121. Work that ends with
its reader: `| head` of any Python program, python/cpython issue 55788.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from schedopt.cli import COMMANDS, call
from schedopt.cli._streams import encodable
from schedopt.errors import ConfigError, DataError
from schedopt.separators import save_safetensors
from schedopt.separators.demucs import weights
from schedopt.songs.naming import Template, model_folder
from tests.models import tiny_hdemucs
from tests.proof.schedules import write_bench, write_schedule
from tests.songs.songs import write_song
from tests.studies import make_study, write_study

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch

ENCODINGS = ("cp1252", "ascii", "cp437", "utf-16", "utf-8")


def printed(argv: list[str], encoding: str, patch: Patch) -> tuple[int, str, str]:
    """What `argv` writes to streams of this encoding, which refuse a character that they lack."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="") for _ in range(2)]
    with patch.context() as patched:
        patched.setattr(sys, "stdout", streams[0])
        patched.setattr(sys, "stderr", streams[1])
        code = call(argv)
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(stream.buffer.getvalue().decode(encoding))
    return code, texts[0], texts[1]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a study that is complete."""
    path = write_study(tmp_path_factory.mktemp("study"), study={"name": "β", "trials": 2}, refinement={"steps": 1})
    assert call(["run", str(path)]) == 0
    return path


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_item_11_help_in_any_encoding(command: str | None, encoding: str, monkeypatch: Patch) -> None:
    code, out, err = printed([*([command] if command else []), "--help"], encoding, monkeypatch)
    assert (code, err) == (0, "")
    assert "--help" in out
    if command is None:
        assert ("β schedule" if encoding.startswith("utf") else "beta schedule" if encoding != "cp437" else "") in out


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_item_11_commands_in_any_encoding(study: Path, encoding: str, monkeypatch: Patch) -> None:
    for argv in (["run", str(study)], ["status", str(study), "-v"], ["export", str(study)], ["status", "β.toml"]):
        code, out, err = printed(argv, encoding, monkeypatch)
        assert code == (1 if argv[1] == "β.toml" else 0), err
        assert out or "no such study file" in err
    code, out, _ = printed(["status", str(study), "--json"], encoding, monkeypatch)
    assert json.loads(out)["studies"][0]["study"] == "β"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_item_11_separate_goes_on_after_the_first_song(tmp_path: Path, encoding: str) -> None:
    """As reported, in a process of its own: names with what the encoding lacks."""
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    songs = [str(write_song(tmp_path / f"{name}.wav", 0.2)) for name in ("β → ∞", "日本", "ok")]
    argv = [sys.executable, "-m", "schedopt", "separate", *songs, "-n", str(tmp_path / "tiny.safetensors")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [*argv, "-o", str(tmp_path / "o")], capture_output=True, env=environment, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert rb"\u65e5\u672c.wav -> " in done.stdout
    assert len(list((tmp_path / "o").rglob("*.wav"))) == 12


def test_item_11_progress_bars_in_any_encoding(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich takes the stream for a terminal
    monkeypatch.setenv("FORCE_COLOR", "1")
    save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
    path = write_study(tmp_path, study={"trials": 2}, refinement={"steps": 1})
    song = write_song(tmp_path / "β.wav", 0.2)
    for encoding in ("ascii", "cp1252", "cp437"):
        trials = str(2 + len(encoding))  # a few more each time
        code, _, err = printed(["run", str(path), "--trials", trials], encoding, monkeypatch)
        assert (code, "\x1b[" in err) == (0, True)
        argv = ["separate", str(song), "-n", str(tmp_path / "tiny.safetensors"), "-o", str(tmp_path / encoding)]
        code, _, err = printed(argv, encoding, monkeypatch)
        assert (code, "\x1b[" in err) == (0, True)


def test_item_11_characters_that_an_encoding_lacks() -> None:
    assert encodable("β = 1 → 2, 日", "ascii") == r"beta = 1 -> 2, \u65e5"
    assert encodable("β\udcff", "utf-8") == r"β\udcff"
    assert encodable("β", None) == encodable("β", "no such encoding") == "β"


@pytest.mark.parametrize("name", ["CON", "con", "nul", "COM1", "lpt9", "CON.live", "aux .x", "PRN.", "COM²"])
def test_item_11_names_of_windows_devices(name: str) -> None:
    for template in ("{track}/{stem}.{ext}", "{track}.{stem}.{ext}", "{folder}/{stem}.{ext}"):
        path = Template(template).path(Path("/music") / name / f"{name}.wav", "vocals", "wav")
        for part in path.parts:
            assert not part.endswith((".", " "))
            stem = part.split(".")[0].rstrip().lower()
            assert stem not in ("con", "nul", "com1", "lpt9", "aux", "prn", "com²")
    assert model_folder(f"/models/{name}.safetensors").split(".")[0].rstrip().lower() != name.split(".")[0].lower()
    with pytest.raises(ConfigError, match=r"device|does not begin"):
        make_study(Path("/none"), study={"name": name})


@pytest.mark.parametrize("name", ["what...", "spaced out ", "a. .", "..."])
def test_item_11_dots_and_spaces_at_the_end_of_names(name: str) -> None:
    path = Template().path(Path(f"{name}.wav"), "vocals", "wav")
    assert len(path.parts[0]) == len(name)
    assert not path.parts[0].endswith((".", " "))


class Broken(io.TextIOBase):
    """A stream that takes so many characters, and then fails."""

    encoding = "utf-8"

    def __init__(self, code: int, room: int) -> None:
        self.code, self.room, self.text = code, room, ""

    def write(self, text: str) -> int:
        if len(self.text) + len(text) > self.room:
            raise OSError(self.code, os.strerror(self.code))
        self.text += text
        return len(text)


@pytest.mark.parametrize(
    ("code", "end", "room"), [(errno.EPIPE, 0, 0), (errno.EPIPE, 0, 10), (errno.ENOSPC, 1, 10), (errno.EIO, 1, 0)]
)
@pytest.mark.parametrize("command", ["benchmark", "sweep", "report", "run", "separate", "export", "demo", "reproduce"])
def test_item_25_files_are_written_whatever_becomes_of_the_output(
    tmp_path: Path, command: str, code: int, end: int, room: int, monkeypatch: Patch, capsys: Capture
) -> None:
    out = tmp_path / "out"
    if command == "benchmark":
        path = write_schedule(write_bench(tmp_path), "a", vocals={"betas": [0.5]})
        argv, made = [str(path), "--against", "none", "-o", f"{out}/r.json", "--figures", str(out), "--write"], 2
    elif command in ("separate", "demo"):
        songs = [str(write_song(tmp_path / f"{name}.wav", 0.2)) for name in "ab"]
        save_safetensors(tiny_hdemucs(), tmp_path / "tiny.safetensors")
        model = ["-n", str(tmp_path / "tiny.safetensors")]
        argv, made = ([str(out), "--tracks", "2"], 10) if command == "demo" else ([*songs, *model, "-o", str(out)], 8)
    else:
        path = write_study(tmp_path, tracks=1, study={"trials": 2}, refinement={"steps": 1})
        if command == "reproduce":
            shutil.move(tmp_path / "music" / "search", tmp_path / "music" / "held-out")
        if command in ("export", "report"):
            assert call(["run", str(path)]) == 0
        argv, made = [str(path)], 1
        argv += {"export": ["-o", f"{out}/x.json"], "report": ["-o", f"{out}/x.html", "--audio", "0"]}.get(command, [])
        argv += {"sweep": ["-o", f"{out}/x.json"], "reproduce": ["--figures", str(out)]}.get(command, [])
        out = tmp_path if command == "run" else out
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdout", Broken(code, room))
    assert call([command, *argv]) == end
    said = [line for line in capsys.readouterr().err.splitlines() if "standard output" in line]
    assert said == ([] if end == 0 else [f"schedopt: standard output cannot be written: {os.strerror(code).lower()}"])
    names = [
        path.name for path in out.rglob("*") if path.is_file() and path.suffix in (".json", ".html", ".png", ".wav")
    ]
    assert len(names) >= made, names
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


def test_item_25_a_reader_that_leaves_and_a_full_disk(study: Path) -> None:
    """As reported, with a real pipe and a real device, and nothing that Python itself says at its end."""
    argv = [sys.executable, "-m", "schedopt", "status", str(study), "-v"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(argv, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "schedopt: standard output cannot be written: no space left on device\n",
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KeyError("config"), "unforeseen error: KeyError: 'config' (test_terminal.py, line "),
        (RuntimeError("two\nlines \x1b[31m"), r"unforeseen error: RuntimeError: two lines \x1b[31m (test_terminal.py"),
        (AssertionError(), "unforeseen error: AssertionError (test_terminal.py"),
        (ValueError("x" * 100_000), "unforeseen error: ValueError: xxx"),
        (RecursionError("maximum recursion depth exceeded"), "unforeseen error: RecursionError: maximum"),
        (MemoryError(), "unforeseen error: MemoryError ("),
        (OSError(errno.EACCES, "Permission denied", "/x/\ny"), r"/x/\ny: permission denied (--debug shows"),
        (ValueError("cannot connect to mysql://u:s3cret@h/db"), "mysql://u:***@h/db"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@pytest.mark.parametrize("command", ["status", "evaluate"])
def test_item_28_any_error_is_one_line(
    command: str, error: Exception, says: str, monkeypatch: Patch, capsys: Capture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    module = {"status": "study", "evaluate": "audio"}[command]
    monkeypatch.setattr(f"schedopt.cli.{module}.{'_config' if command == 'status' else 'score_folders'}", fail)
    argv = [command, "a", "b"] if command == "evaluate" else [command, "a"]
    assert call(argv) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("schedopt: ")
    assert line.isprintable()
    assert says in line
    assert len(line) < 2000
    assert "s3cret" not in line
    for debugging in ([*argv, "--debug"], ["--debug", *argv]):
        assert call(debugging) == 1
        said = capsys.readouterr().err
        assert said.startswith("Traceback (most recent call last):")
        assert says in said
        assert "s3cret" not in said


def test_item_28_driver_texts_are_not_quoted(monkeypatch: Patch, capsys: Capture) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError('could not translate host name "SECRET@host"', None, Exception())

    monkeypatch.setattr("schedopt.cli.study._config", fail)
    assert call(["status", "a"]) == 1
    said = capsys.readouterr().err
    assert "unforeseen error: OperationalError (" in said
    assert "SECRET" not in said


@pytest.mark.parametrize("command", list(COMMANDS))
def test_item_28_every_command_takes_debug(command: str, capsys: Capture) -> None:
    assert call([command, "--help"]) == 0
    assert "--debug" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["report", "{study}", "--audio", "nan"], 2, "nan is not a finite number"),
        (["report", "{study}", "--audio", "inf"], 2, "inf is not in the range"),
        (["benchmark", "demo", "--excerpt", "nan"], 2, "nan is not a finite number"),
        (["run", "{study}", "--set", 'store.artifacts="~nouser/x"', "--trials", "3"], 1, "~nouser/x"),
        (["run", "{study}", "--dask", ""], 2, "it is empty"),
        (["run", "{study}", "--storage", " "], 2, "it is empty"),
        (["separate", "a.wav", "-o", ""], 2, "it is empty; name a file or folder"),
        (["separate", "", "-o", "x"], 2, "it is empty; name a file or folder"),
        (["separate", "a.wav", "-n", ""], 2, "it is empty"),
        (["benchmark", ""], 2, "it is empty"),
        (["benchmark", "./demo"], 1, "demo: there is no such schedule file"),
        (["separate", "a.wav", "--schedule", "./demo"], 1, "there is no such schedule file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_items_28_and_34_values_that_cannot_be(
    argv: list[str], code: int, says: str, study: Path, capsys: Capture
) -> None:
    assert call([argument.format(study=study) for argument in argv]) == code
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_item_34_a_file_that_is_called_like_a_preset(tmp_path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    path = write_schedule(write_bench(tmp_path), "a", vocals={"betas": [0.5]})
    monkeypatch.chdir(tmp_path)
    path.rename("demo")
    assert call(["benchmark", "./demo", "--against", "none", "--json", "--write"]) == 0
    methods = json.loads(capsys.readouterr().out)["methods"]
    assert [list(method["stems"]) for method in methods] == [["vocals"], ["vocals"]]
    assert "held_out" in Path("demo").read_text()


@pytest.mark.parametrize("levels", [150, 900, 5000, 200_000])
def test_item_28_deeply_nested_arguments_of_weights(tmp_path: Path, levels: int) -> None:
    for key in ("args", "kwargs", "structure"):
        text = "[" * levels + "]" * levels
        with pytest.raises(Exception, match="is nested deeper than 100 levels"):
            weights._json({key: text}, key, tmp_path / "x.safetensors")


def test_item_28_attributes_that_somebody_edited(study: Path, capsys: Capture) -> None:
    import optuna

    stored = optuna.load_study(study_name="β", storage=f"sqlite:///{study.parent}/studies.db")
    for key in ("config", "baseline", "versions", "separator", "excerpts"):
        before = stored.user_attrs[key]
        for value in (None, "text", 7, [], {}, {"refinement": 3}, [1]):
            stored.set_user_attr(key, value)
            code = call(["export", str(study)])
            said = capsys.readouterr()
            assert code in (0, 1)
            assert code == 0 or len(said.err.splitlines()) == 1, said.err
            assert "Traceback" not in said.err
        stored.set_user_attr(key, before)
    assert call(["export", str(study)]) == 0


def test_errors_stay_what_they_are() -> None:
    with pytest.raises(DataError):
        Template("{nothing}")
