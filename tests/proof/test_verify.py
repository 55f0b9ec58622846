"""`schedopt verify`: an untouched benchmark adds up; of an edited one the edit is named."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schedopt.cli import call
from schedopt.files.benchmark_file import checksums
from schedopt.proof import findings
from schedopt.proof.statistics import Comparison, compare
from schedopt.proof.verify import verify
from tests.view.figures.benchmarks import made_document

Capture = pytest.CaptureFixture[str]
Document = dict[str, Any]
Edit = Callable[[Document], object]

DOCUMENT: Document = json.loads(json.dumps(made_document(tracks=12)))
OURS = "<b>ours"


COMPARED: dict[bytes, list[Comparison]] = {}


@pytest.fixture(autouse=True)
def _compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal differences are compared once for all tests here: most edits leave most of a document as it is."""

    def compare_once(differences: Sequence[Mapping[str, float]], rng: np.random.Generator) -> list[Comparison]:
        key = pickle.dumps((differences, rng.bit_generator.state))
        if key not in COMPARED:
            COMPARED[key] = compare(differences, rng)
        return COMPARED[key]

    monkeypatch.setattr(findings, "compare", compare_once)


def row(document: Document) -> Document:
    """The finding of ours for vocals."""
    (found,) = (one for one in document["findings"] if (one["method"], one["stem"]) == (OURS, "vocals"))
    return found  # type: ignore[no-any-return]


def part(document: Document) -> Document:
    """The measurements of ours for vocals."""
    (found,) = (one for one in document["methods"] if one["name"] == OURS)
    return found["stems"]["vocals"]  # type: ignore[no-any-return]


def put(where: Any, key: Any, value: Any) -> None:
    assert where[key] != value, "an edit must change something"
    where[key] = value


def faults(tmp_path: Path, document: Document) -> list[str]:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return verify(path)[1]


EDITS: dict[str, tuple[Edit, str]] = {
    "a score": (
        lambda d: put(part(d)["tracks"]["track-3"]["sdr"], 2, 9.5),
        "methods[1].stems.vocals.tracks.track-3.sdr: not as it was written",
    ),
    "a score, in its last decimal": (
        lambda d: put(part(d)["tracks"]["track-3"]["snr"], 1, part(d)["tracks"]["track-3"]["snr"][1] + 1e-7),
        "methods[1].stems.vocals.tracks.track-3.snr: not as it was written",
    ),
    "scores of two tracks exchanged": (
        lambda d: part(d)["tracks"].update({"track-0": part(d)["tracks"]["track-1"]}),
        "methods[1].stems.vocals.tracks.track-0.sdr: not as it was written",
    ),
    "a track's name in the excerpts": (
        lambda d: put(d["data"]["excerpts"][2], "track", "track-99"),
        "data.excerpts[2].track: not as it was written",
    ),
    "a fingerprint": (
        lambda d: put(d["data"]["excerpts"][0], "fingerprint", "0" * 16),
        "data.excerpts[0].fingerprint: not as it was written",
    ),
    "a silence": (
        lambda d: put(d["data"]["excerpts"][0], "silent", ["vocals"]),
        "data.left_out.vocals: not the excerpts that name it as silent",
    ),
    "an excerpt taken out": (
        lambda d: d["data"]["excerpts"].pop(4),
        "methods, vocals: the scored tracks are not those of the excerpts in which it sounds",
    ),
    "the weights": (lambda d: put(d["model"], "weights", "f" * 16), "model.weights: not as it was written"),
    "the overlap": (lambda d: put(d["model"], "overlap", 0.5), "model.overlap: not as it was written"),
    "a beta": (
        lambda d: put(part(d)["betas"], 0, 0.31),
        "methods[1].stems.vocals.betas: not as it was written",
    ),
    "the rule": (lambda d: put(part(d), "rule", "resum"), "methods[1].stems.vocals.rule: not as it was written"),
    "the passes": (lambda d: put(part(d), "passes", 2), f"{OURS}, vocals: passes is 2, 2 steps cost 3"),
    "a ceiling taken for a method": (
        lambda d: put(d["methods"][-1], "needs_references", False),
        "needs_references does not fit kind greedy",
    ),
    "a mean": (
        lambda d: put(row(d)["levels"]["sdr"], "mean", 7.0),
        f"findings of {OURS}, vocals: levels.sdr.mean is 7, the scores give",
    ),
    "a median": (
        lambda d: put(row(d)["levels"]["si_sdr"], "median", 7.0),
        f"findings of {OURS}, vocals: levels.si_sdr.median is 7, the scores give",
    ),
    "a gain": (
        lambda d: put(row(d)["versus"]["shift"]["sdr"], "mean", 0.3),
        f"findings of {OURS}, vocals: versus.shift.sdr.mean is 0.3, the scores give",
    ),
    "an interval": (
        lambda d: put(row(d)["versus"]["baseline"]["sdr"]["interval"], 0, 0.01),
        f"findings of {OURS}, vocals: versus.baseline.sdr.interval is 0.01 … ",
    ),
    "a p": (
        lambda d: put(row(d)["versus"]["baseline"]["snr"], "p", 0.004),
        f"findings of {OURS}, vocals: versus.baseline.snr.p is 0.004, the scores give",
    ),
    "the wins": (
        lambda d: put(row(d)["versus"]["baseline"]["sdr"], "wins", 12),
        f"findings of {OURS}, vocals: versus.baseline.sdr.wins is 12, the scores give",
    ),
    "a verdict": (
        lambda d: put(row(d)["verdicts"], "shift", "better"),
        f"findings of {OURS}, vocals: verdicts.shift is better, the scores give no measurable difference",
    ),
    "a sentence": (
        lambda d: put(d["sentences"], 0, d["sentences"][0].replace("no measurable difference from", "better than")),
        "sentences: not those that follow from the scores",
    ),
    "a finding taken out of its place": (
        lambda d: put(d["findings"][-1], "stem", "drums"),
        "all stems: method is missing, the scores give",
    ),
    "the seed": (lambda d: put(d, "seed", 1), "seed: not as it was written"),
    "the date": (lambda d: put(d, "created", "2020-01-01T00:00:00+00:00"), "created: not as it was written"),
    "a version": (lambda d: put(d["versions"], "torch", "1.0"), "versions.torch: not as it was written"),
    "a field added": (lambda d: d.update({"note": "!"}), "the document has been added, or has"),
    "the time of a pass": (
        lambda d: put(d, "seconds_per_pass", 0.5),
        "vocals: seconds is 0, passes times seconds_per_pass is 1.5",
    ),
}


def test_an_untouched_result_adds_up(tmp_path: Path) -> None:
    assert faults(tmp_path, DOCUMENT) == []


def test_rewriting_the_json_changes_nothing(tmp_path: Path) -> None:
    """Other programs sort keys and write 1 for 1.0."""

    def rewritten(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rewritten(value[key]) for key in sorted(value)}
        if isinstance(value, list):
            return [rewritten(one) for one in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    document = rewritten(DOCUMENT)
    assert json.dumps(document) != json.dumps(DOCUMENT)
    assert faults(tmp_path, document) == []


@pytest.mark.parametrize("name", list(EDITS))
def test_an_edit_is_named(tmp_path: Path, name: str) -> None:
    edit, says = EDITS[name]
    document = copy.deepcopy(DOCUMENT)
    edit(document)
    found = faults(tmp_path, document)
    assert any(says in fault for fault in found), found


@pytest.mark.parametrize(
    "name", ["a score", "a mean", "an interval", "a p", "the wins", "a verdict", "a sentence", "the passes"]
)
def test_conclusions_are_computed_not_only_compared_with_checksums(tmp_path: Path, name: str) -> None:
    edit, _ = EDITS[name]
    document = copy.deepcopy(DOCUMENT)
    edit(document)
    document["checksums"] = checksums(document)
    assert faults(tmp_path, document)


def test_the_command_names_the_edit_and_fails(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    assert call(["verify", str(path)]) == 0
    assert (
        capsys.readouterr().out == f"{path}: adds up: {len(DOCUMENT['findings'])} findings of 20 methods, 12 tracks\n"
    )
    document = copy.deepcopy(DOCUMENT)
    put(row(document)["levels"]["sdr"], "mean", 7.0)
    path.write_text(json.dumps(document), encoding="utf-8")
    assert call(["verify", str(path)]) == 1
    shown = capsys.readouterr()
    assert "levels.sdr.mean is 7, the scores give" in shown.out
    assert len(shown.err.splitlines()) == 1
    assert call(["verify", str(path), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["faults"]) == len(shown.out.splitlines())


def test_what_is_no_benchmark_is_refused_in_one_line(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(DOCUMENT | {"format": 1}), encoding="utf-8")
    assert call(["verify", str(path)]) == 1
    assert "this schedopt reads format 2; run the benchmark again" in capsys.readouterr().err
    assert call(["verify", str(tmp_path / "none.json")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("edit", "readable"),
    [
        (lambda d: put(row(d), "passes", 10**400), True),
        (lambda d: put(row(d)["versus"]["baseline"]["sdr"], "wins", 10**400), True),
        (lambda d: put(d, "seconds_per_pass", 1e308), True),
        (lambda d: put(row(d), "levels", {}), False),
    ],
)
def test_numbers_that_no_float_holds_and_levels_that_lack_are_one_line(
    edit: Edit, readable: bool, tmp_path: Path, capsys: Capture
) -> None:
    document = copy.deepcopy(DOCUMENT)
    edit(document)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(document))
    assert call(["verify", str(path)]) == 1
    assert "unforeseen" not in capsys.readouterr().err
    assert call(["report", str(path), "--audio", "0"]) == (0 if readable else 1)
    assert "unforeseen" not in capsys.readouterr().err
