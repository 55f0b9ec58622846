"""Schedule files: what is written can be read; what is wrong is refused in one line that names file and field."""

from __future__ import annotations

import copy
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedopt.cli import call
from schedopt.errors import ScheduleError
from schedopt.files.presets import is_preset, open_schedule, preset_names
from schedopt.files.schedule_file import (
    FORMAT,
    MAX_BYTES,
    READABLE,
    Entry,
    ScheduleFile,
    check_separator,
    json_schema,
    load_schedule_file,
)
from schedopt.refinement import Refinement
from schedopt.search.export import as_json, schedule_file
from schedopt.separators import load_separator
from schedopt.storage.opening import open_storage
from schedopt.workers.run import run
from tests.models import tiny_separator
from tests.songs.songs import write_song
from tests.studies import make_study, write_study

FILES = Path(__file__).parent / "files"

MINIMAL: dict[str, Any] = {
    "format": 1,
    "kind": "schedopt schedule",
    "model": {"model": "demo"},
    "schedules": {"vocals": {"rule": "remix", "betas": [0.5, 0.25]}},
}


def read(folder: Path, document: object) -> ScheduleFile:
    path = folder / "a.schedule.json"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return load_schedule_file(path)


def changed(key: str, value: Any) -> dict[str, Any]:
    """The minimal file with the value at a dotted key replaced; None removes it."""
    document = copy.deepcopy(MINIMAL)
    table = document
    *parents, last = key.split(".")
    for parent in parents:
        table = table[parent]
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value
    return document


def test_a_file_written_by_hand_needs_little(tmp_path: Path) -> None:
    entries = read(tmp_path, MINIMAL).entries()
    assert list(entries) == ["vocals"]
    assert entries["vocals"].betas == (0.5, 0.25)
    assert entries["vocals"].refinement("vocals") == Refinement("vocals")


def test_a_shared_schedule_serves_every_stem_but_those_with_their_own(tmp_path: Path) -> None:
    document = changed("schedules.all", {"rule": "resum", "betas": [1], "shift": True, "output": "mean", "seed": 3})
    entries = read(tmp_path, document).entries()
    assert list(entries) == ["drums", "bass", "other", "vocals"]
    assert entries["vocals"].rule == "remix"
    assert entries["bass"].refinement("bass") == Refinement("bass", rule="resum", shift=True, output="mean", seed=3)


@pytest.mark.slow
def test_an_exported_study_keeps_every_option_of_its_refinement(tmp_path: Path) -> None:
    options = {"rule": "ddpm", "reverse": True, "sigma": 0.1, "peak_guard": True, "residual": 0.25, "output": "mean"}
    config = make_study(
        tmp_path,
        study={"trials": 2, "storage": f"sqlite:///{tmp_path}/s.db"},
        refinement={"steps": 2, "choose_steps": False, "shift": True, **options},
    )
    run(config)
    (entry,) = schedule_file(config, open_storage(config.study.storage)).schedules.values()
    assert entry.refinement("vocals") == config.refinement.for_target("vocals", config.study.seed)


@pytest.mark.slow
def test_an_exported_study_reads_back_and_fits_its_model_only(tmp_path: Path) -> None:
    config = make_study(tmp_path, study={"trials": 2, "storage": f"sqlite:///{tmp_path}/s.db"})
    run(config)
    file = schedule_file(config, open_storage(config.study.storage))
    assert read(tmp_path, as_json(file).encode()) == file
    jsonschema.validate(json.loads(as_json(file)), json_schema())
    assert file.format == FORMAT
    assert file.data is not None
    assert (file.data.source, file.data.excerpt) == (config.data.source, 0.4)
    # Other settings of the same weights are fine: a benchmark is float32 whatever the search was.
    check_separator(file, load_separator(config.separator.model, device="cpu", overlap=0.1), "a.json")
    with pytest.raises(ScheduleError, match=r"a\.json: searched with other weights .*--model"):
        check_separator(file, tiny_separator(seed=1), "a.json")


@pytest.mark.slow
def test_no_oracle_reaches_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, study={"name": "o", "trials": 2}, refinement={"rule": "oracle", "steps": 2})
    storage = f"sqlite:///{tmp_path}/o.db"
    assert call(["run", str(path), "--storage", storage]) == 0
    assert len(optuna.load_study(study_name="o", storage=storage).trials) == 2
    assert not list(tmp_path.glob("*.schedule.json"))
    capsys.readouterr()
    assert call(["export", str(path), "--storage", storage, "-o", str(tmp_path / "x.json")]) == 1
    assert "needs the true stems" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 4, "format = 4: this schedopt reads formats 1 to 3"),
        ("points", {"clean": {"bass": {"rule": "remix", "betas": [0.5]}}}, "point clean has not the targets"),
        ("points", {"Clean!": {}}, "points.Clean!"),
        ("format", True, "format = True: "),
        ("model.segment", 0, "model.segment"),
        ("model.overlap", 1, "model.overlap = 1: "),
        ("model.normalisation", "peak", "model.normalisation = 'peak': "),
        ("schedules.vocals.held_out", {"value": 1}, "schedules.vocals.held_out.source is missing"),
        ("kind", "schedopt benchmark", "kind = 'schedopt benchmark': a schedule file says 'schedopt schedule' here"),
        ("model", None, "model is missing"),
        ("extra", 1, "unknown key extra"),
        ("schedules.vocals.beta", [1], "unknown key schedules.vocals.beta (did you mean betas?)"),
        ("model.modell", 1, "unknown key model.modell (did you mean model?); known: model, precision"),
        ("schedules", {}, "schedules: "),
        ("schedules.\x1b[31m", {"rule": "remix", "betas": [1]}, r"schedules.\x1b[31m"),
        ("schedules.vocals.betas", None, "schedules.vocals.betas is missing"),
        ("schedules.vocals.betas", [], "schedules.vocals.betas: "),
        ("schedules.vocals.betas", [0.5, 1.5], "schedules.vocals.betas[1] = 1.5: "),
        ("schedules.vocals.betas", [-0.1], "schedules.vocals.betas[0] = -0.1: "),
        ("schedules.vocals.betas", ["0.5"], "schedules.vocals.betas[0] = '0.5': "),
        ("schedules.vocals.betas", [True], "schedules.vocals.betas[0] = True: "),
        ("schedules.vocals.betas", [float("nan")], "schedules.vocals.betas[0] = nan: "),
        ("schedules.vocals.betas", [0.0] * 101, "schedules.vocals.betas: "),
        ("schedules.vocals.rule", "remixx", "schedules.vocals.rule = 'remixx': there is no rule"),
        ("schedules.vocals.rule", "oracle", "schedules.vocals.rule = 'oracle': the rule oracle needs the true stems"),
        ("schedules.vocals.family", 3, "schedules.vocals.family = 3: Input should be a valid string"),
        ("schedules.vocals.steps", 3, "schedules.vocals: steps is 3, but there are 2 betas"),
        ("schedules.vocals.gains", {"a/b": 1}, "schedules.vocals.gains.a/b"),
        ("schedules.vocals.output", "median", "schedules.vocals.output = 'median': "),
        ("schedules.vocals.seed", -1, "schedules.vocals.seed = -1: "),
        ("model.weights", "../../etc", "model.weights = '../../etc': "),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, key: str, value: Any, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        read(tmp_path, changed(key, value))
    assert f"a.schedule.json: {message}" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "object"),
        (b"[" * 200_000, "not valid JSON: recursion limit"),
        (b'{"format": 1e999}', "format"),
        (b'{"format": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b'{"kind": "\xff\xfe"}', "not valid JSON"),
        (b'{"kind": "\\ud800"}', "not valid JSON"),
        (b" " * (MAX_BYTES + 1), "larger than 1 MiB"),
    ],
    ids=["empty", "cut off", "list", "nesting bomb", "infinity", "huge number", "not UTF-8", "surrogate", "huge"],
)
def test_wrong_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        read(tmp_path, content)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbf" + json.dumps(MINIMAL).encode()).entries()


@pytest.mark.parametrize("name", ["", "missing", "a\0b", "x" * 300])
def test_paths_that_are_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScheduleError, match=r"is not a regular file|no such schedule file|cannot be read"):
        load_schedule_file(tmp_path / name)


GOOD = [[0.2, 0.3, 0.5, 0.0, 0.1, 0.0, 0.25]]
"""Weights of the output mixer for two steps and a model of four stems."""


def with_weights(rows: Any, output: str = "mixer") -> dict[str, Any]:
    entry = {"rule": "remix", "betas": [0.5, 0.25], "output": output, "weights": {"vocals": rows}}
    return changed("schedules.vocals", entry) | {"format": 3}


def test_weights_of_a_mixer_are_read_and_checked_against_the_model(tmp_path: Path) -> None:
    document = with_weights(GOOD)
    jsonschema.validate(document, json_schema())
    file = read(tmp_path, document)
    assert file.schedules["vocals"].refinement("vocals").weights == tuple(map(tuple, GOOD))
    check_separator(file, tiny_separator(), "a.json")
    one_short = read(tmp_path, with_weights([GOOD[0][:-1]]))
    with pytest.raises(
        ScheduleError, match=r"a\.json: schedules\.vocals\.weights of vocals: .* 6 numbers in a row, not 7"
    ):
        check_separator(one_short, tiny_separator(), "a.json")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            with_weights(GOOD, "mean"),
            "schedules.vocals: weights go with the outputs mixer, mixer-bands, mixer-wiener, not with mean",
        ),
        (with_weights(GOOD * 2), "schedules.vocals: weights of vocals have 2 rows, but mixer has 1 bands"),
        (with_weights(GOOD, "mixer-bands"), "schedules.vocals: weights of vocals have 1 rows, but mixer-bands has 5"),
        (
            with_weights(GOOD) | {"schedules": {"bass": with_weights(GOOD)["schedules"]["vocals"]}},
            "needs weights of bass",
        ),
        (changed("schedules.vocals.output", "mixer") | {"format": 3}, "needs weights of vocals; there are nothing"),
        (with_weights([]), "schedules.vocals: weights of vocals have 0 rows, but mixer has 1 bands"),
        (
            with_weights([[0.5, 0.5, 0.1]]),
            "weights of vocals: rows are equally long, with a number each for steps 0 … 2",
        ),
        (with_weights([*GOOD[:1], *GOOD[:3]] * 2 + [[1.0] * 6], "mixer-bands"), "rows are equally long"),
        (with_weights([[*GOOD[0][:-1], 1e9]]), "schedules.vocals.weights.vocals[0][6] = 1000000000.0: "),
        (with_weights([[*GOOD[0][:-1], float("nan")]]), "schedules.vocals.weights.vocals[0][6] = nan: "),
        (with_weights([[*GOOD[0][:-1], "1"]]), "schedules.vocals.weights.vocals[0][6] = '1': "),
        (with_weights(7), "schedules.vocals.weights.vocals = 7: "),
        (changed("schedules.vocals.weights", {"a/b": GOOD}), "schedules.vocals.weights"),
    ],
)
def test_wrong_weights_are_named(tmp_path: Path, document: dict[str, Any], message: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        read(tmp_path, document)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_weights_of_another_model_are_one_line_of_separate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.schedule.json").write_text(json.dumps(with_weights([GOOD[0][:-1]])))
    song = write_song(tmp_path / "song.wav")
    assert call(["separate", str(song), "--schedule", str(tmp_path / "a.schedule.json"), "-o", str(tmp_path)]) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert (
        "weights have 6 numbers in a row, not 7: one each for steps 0 … 2, for the 3 other stems of the model" in line
    )


def test_a_file_of_the_first_format_is_read() -> None:
    """As `schedopt run` of the day wrote it."""
    file = load_schedule_file(FILES / "format-1.schedule.json")
    assert file.format == 1
    assert list(file.entries()) == ["drums", "bass", "other", "vocals"]
    assert (file.model.weights, file.model.segment) == ("5001748f761099c4", "model")
    assert file.schedules["bass"].held_out is None


def test_the_shipped_schema_is_that_of_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = resources.files("schedopt.files").joinpath("schedule.schema.json").read_text(encoding="utf-8")
    assert json.loads(shipped) == json_schema(), "schedopt export --schema > schedopt/files/schedule.schema.json"
    assert call(["export", "--schema"]) == 0
    assert capsys.readouterr().out == shipped
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("name", ["format-1.schedule.json", "demo", "minimal"])
def test_schedule_files_follow_the_schema(name: str) -> None:
    if name == "minimal":
        document = MINIMAL
    elif name == "demo":
        document = json.loads(as_json(open_schedule("demo")))
    else:
        document = json.loads((FILES / name).read_text(encoding="utf-8"))
    jsonschema.validate(document, json_schema())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 4),
        ("kind", "x"),
        ("extra", 1),
        ("schedules", {}),
        ("schedules.a/b", {"rule": "remix", "betas": [1]}),
        ("schedules.vocals.betas", [1.5]),
        ("schedules.vocals.betas", []),
        ("schedules.vocals.rule", "oracle"),
        ("schedules.vocals.family", 3),
        ("schedules.vocals.gains", {"a/b": 1}),
        ("model.weights", "x"),
        ("model.segment", -1),
    ],
)
def test_the_schema_refuses_what_loading_refuses(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed(key, value), json_schema())
    with pytest.raises(ScheduleError):
        read(tmp_path, changed(key, value))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [*MINIMAL, "created", "data", "versions", "model.model", "model.overlap", "model.segment", "model.weights"]
    + [f"schedules.vocals.{field}" for field in Entry.model_fields]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(KEYS, JSON)
def test_any_value_anywhere_loads_or_is_one_line(tmp_path: Path, key: str, value: Any) -> None:
    said = ""
    try:
        read(tmp_path, changed(key, value))
    except ScheduleError as error:
        said = str(error)
    assert said.isprintable()


def test_presets_fit_the_demo_and_files_of_their_name_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = open_schedule("demo")
    assert preset.format in READABLE
    assert list(preset.entries()) == ["drums", "bass", "other", "vocals"]
    check_separator(preset, load_separator("demo", device="cpu"), "demo")
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text(json.dumps(MINIMAL))
    assert open_schedule("demo") == preset
    assert open_schedule("./demo").entries()["vocals"].betas == (0.5, 0.25)
    assert all(is_preset(name) for name in preset_names())
    with pytest.raises(ScheduleError, match="demos: there is no such schedule file; presets: demo"):
        open_schedule("demos")


@pytest.mark.parametrize("key", ["betas", "schedules"])
def test_a_key_that_stands_twice_is_refused(key: str, tmp_path: Path) -> None:
    text = json.dumps(MINIMAL)
    path = tmp_path / "a.json"
    path.write_text(text.replace(f'"{key}": ', f'"{key}": [1], "{key}": ', 1))
    with pytest.raises(ScheduleError, match=rf"a\.json: the key '{key}' stands twice in one object"):
        load_schedule_file(path)
