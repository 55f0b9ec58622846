"""`evaluate` and the metrics: items 4, 5 and 40 of the list of reported faults, and stems of any name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from schedopt.cli import call
from schedopt.metrics import METRICS, csdr, sdr, si_sdr, si_sir, snr
from tests.metrics.signals import mir_eval_sdr, noise

Capture = pytest.CaptureFixture[str]
Array = NDArray[np.float32]


def write(folder: Path, rate: int, **stems: Any) -> Path:
    """Float WAVs of (samples, channels) each."""
    folder.mkdir(parents=True)
    for stem, samples in stems.items():
        soundfile.write(folder / f"{stem}.wav", np.asarray(samples), rate, subtype="FLOAT")
    return folder


def evaluated(capsys: Capture, *arguments: object) -> tuple[dict[str, Any], str]:
    """What `evaluate --json` prints, and its notes."""
    assert call(["evaluate", *map(str, arguments), "--json"]) == 0
    printed = capsys.readouterr()
    document: dict[str, Any] = json.loads(printed.out)
    return document, printed.err


def pair(samples: int, channels: int = 2) -> tuple[Array, Array]:
    """A coloured reference and an estimate of it, (samples, channels)."""
    reference = noise(channels, samples).numpy().T * 0.1
    reference = np.cumsum(reference - 0.2 * reference.mean(axis=0), axis=0, dtype=np.float32) * 0.1
    return reference, (reference + 0.05 * noise(channels, samples, seed=1).numpy().T).astype(np.float32)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (48_000, 2), (96_000, 1)])
def test_files_are_scored_at_their_own_rate(tmp_path: Path, capsys: Capture, rate: int, channels: int) -> None:
    """Item 5. mir_eval's own test vectors have 8 kHz; at 44.1 kHz the same files' SDR was up to 1.7 dB off."""
    reference, estimate = pair(rate, channels)
    true, guess = (write(tmp_path / name, rate, vocals=x) for name, x in (("true", reference), ("guess", estimate)))
    document, notes = evaluated(capsys, true, guess)
    expected = mir_eval_sdr(torch.from_numpy(reference.T), torch.from_numpy(estimate.T))
    assert document["stems"]["vocals"]["sdr"] == pytest.approx(expected, abs=1e-6)
    assert "resampled" not in notes


def test_estimates_of_another_rate_are_resampled_with_a_note(tmp_path: Path, capsys: Capture) -> None:
    """Item 5."""
    reference, estimate = pair(44_100)
    true = write(tmp_path / "true", 44_100, vocals=reference, bass=reference)
    guess = write(
        tmp_path / "guess",
        44_100,
        vocals=estimate,
    )
    write(tmp_path / "48000", 48_000, bass=soxr.resample(estimate, 44_100, 48_000, quality="VHQ"))
    (tmp_path / "48000" / "bass.wav").rename(guess / "bass.wav")
    document, notes = evaluated(capsys, true, guess)
    assert f"{guess / 'bass.wav'}: 48000 Hz, resampled to its reference's 44100 Hz" in notes
    assert notes.count("resampled") == 1
    stems = document["stems"]
    assert stems["bass"]["snr"] == pytest.approx(stems["vocals"]["snr"], abs=0.5)


@pytest.mark.parametrize("difference", [1, -1, 3, -12])
def test_a_few_samples_more_or_less(tmp_path: Path, capsys: Capture, difference: int) -> None:
    """Item 4: a song of 96001 frames at 48 kHz gives stems of 88201 samples, of which 88200 were expected."""
    reference, estimate = pair(22_050)
    longer = [np.concatenate([x, x[:50]]) for x in (reference, estimate)]
    cut = longer[0][: 22_050 + max(0, -difference)], longer[1][: 22_050 + max(0, difference)]
    true, guess = write(tmp_path / "true", 44_100, other=cut[0]), write(tmp_path / "guess", 44_100, other=cut[1])
    document, notes = evaluated(capsys, true, guess)
    expected = snr(torch.from_numpy(reference.T.copy()), torch.from_numpy(estimate.T.copy())).item()
    assert document["stems"]["other"]["snr"] == pytest.approx(expected, abs=1e-9)
    which = guess if difference > 0 else true
    assert f"{which / 'other.wav'}: {abs(difference)} samples longer" in notes


def test_stems_of_a_song_at_48_khz(tmp_path: Path, capsys: Capture) -> None:
    """Item 4: the song's own stems at 48 kHz against those that a separator wrote at 44.1 kHz, one sample longer."""
    reference, estimate = pair(96_001)
    true = write(tmp_path / "true", 48_000, drums=reference)
    resampled = soxr.resample(estimate, 48_000, 44_100, quality="VHQ")
    guess = write(tmp_path / "guess", 44_100, drums=np.pad(resampled, ((0, 88_202 - len(resampled)), (0, 0))))
    document, notes = evaluated(capsys, true, guess)
    assert "resampled" in notes
    assert document["stems"]["drums"]["snr"] > 5


def test_other_lengths_are_refused(tmp_path: Path, capsys: Capture) -> None:
    reference, estimate = pair(22_050)
    true, guess = (write(tmp_path / name, 44_100, other=x) for name, x in (("a", reference), ("b", estimate[:-2000])))
    assert call(["evaluate", str(true), str(guess)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{guess / 'other.wav'}: is 20050 samples long, its reference 22050 (at 44100 Hz)" in line


@pytest.mark.parametrize("channels", [1, 2])
def test_an_estimate_of_1e_20_scores_as_if_it_were_louder(channels: int) -> None:
    """Item 40: 12.8 dB, where mir_eval says −47 by its own rounding: amplified, the estimate has 12.8 there, too."""
    reference = noise(channels, 8000)
    estimate = (reference + 0.23 * noise(channels, 8000, seed=1)).double()
    assert sdr(reference, 1e-20 * estimate).item() == pytest.approx(mir_eval_sdr(reference, estimate), abs=1e-6)
    assert mir_eval_sdr(reference, 1e-20 * estimate) < -30
    assert si_sdr(reference, 1e-20 * estimate).item() == pytest.approx(si_sdr(reference, estimate).item(), abs=1e-9)
    assert snr(reference, 1e-20 * estimate).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("gain", [1e-20, 1e-9])
def test_evaluate_tells_of_an_inaudible_estimate(tmp_path: Path, capsys: Capture, gain: float) -> None:
    """Item 40: the score is a number like any other, so a note says that nothing can be heard."""
    reference, estimate = pair(22_050)
    true = write(tmp_path / "true", 44_100, bass=reference, drums=reference)
    guess = write(tmp_path / "guess", 44_100, bass=gain * estimate, drums=estimate)
    document, notes = evaluated(capsys, true, guess)
    assert f"{guess / 'bass.wav'}: its peak is" in notes
    assert notes.count("inaudible") == 1
    scores = document["stems"]
    assert scores["bass"]["sdr"] == pytest.approx(scores["drums"]["sdr"], abs=1e-3)
    assert scores["bass"]["snr"] == pytest.approx(0, abs=1e-6)


def test_stems_of_any_name(tmp_path: Path, capsys: Capture) -> None:
    """Six stems, names that no model has, a mixture that is no stem."""
    reference, estimate = pair(11_025)
    names = ("drums", "bass", "other", "vocals", "guitar", "piano", "Kazoo solo")
    stems = {name: (k + 1) * 0.1 * noise(2, 11_025, seed=k).numpy().T for k, name in enumerate(names)}
    for track in ("one", "two"):
        write(tmp_path / "true" / track, 44_100, **stems, mixture=reference, strings=reference)
        write(
            tmp_path / "guess" / track,
            44_100,
            **{name: x + 0.01 * estimate for name, x in stems.items()},
            mixture=estimate,
        )
    document, _ = evaluated(capsys, tmp_path / "true", tmp_path / "guess")
    assert set(document["stems"]) == {name.lower() for name in names}
    assert document["unmatched"] == [
        f"{track}: strings is only in {tmp_path / 'true' / track}" for track in ("one", "two")
    ]
    assert call(["evaluate", str(tmp_path / "true" / "one"), str(tmp_path / "guess" / "one")]) == 0
    assert "kazoo solo" in capsys.readouterr().out


def test_metrics_on_request(tmp_path: Path, capsys: Capture) -> None:
    references = 0.1 * noise(3, 2, 3 * 8000).numpy()
    estimate = references[0] + 0.2 * references[1] + 0.01 * noise(2, 3 * 8000, seed=9).numpy()
    named = dict(zip(("bass", "drums", "vocals"), references, strict=True))
    true = write(tmp_path / "true", 8000, **{stem: x.T for stem, x in named.items()})
    guess = write(tmp_path / "guess", 8000, bass=estimate.T)
    document, _ = evaluated(capsys, true, guess, "--metrics", ",".join(METRICS))
    scores = document["stems"]["bass"]
    assert set(scores) == set(METRICS)
    stems, guessed = torch.from_numpy(references).float(), torch.from_numpy(estimate).float()
    assert scores["csdr"] == pytest.approx(csdr(stems, 0, guessed, 8000).item(), abs=1e-6)
    assert scores["si_sir"] == pytest.approx(si_sir(stems, 0, guessed).item(), abs=1e-6)
    assert call(["evaluate", str(true), str(guess), "--metrics", "csdr, fullness,snr"]) == 0
    table = capsys.readouterr().out
    assert "mean (cSDR: median) over 1 track(s) stem cSDR fullness SNR bass" in " ".join(table.split())
    assert call(["evaluate", str(true), str(guess), "--metrics", "sdr,sdri"]) == 1
    assert "there is no metric 'sdri' (did you mean sdr?)" in capsys.readouterr().err


def test_csdr_is_the_median_over_songs(tmp_path: Path, capsys: Capture) -> None:
    errors = (0.5, 0.1, 0.01)
    for k, error in enumerate(errors):
        reference = 0.1 * noise(2, 16_000, seed=k).numpy().T
        write(tmp_path / "true" / str(k), 8000, bass=reference)
        estimate = reference + 0.1 * error * noise(2, 16_000, seed=9).numpy().T
        write(tmp_path / "guess" / str(k), 8000, bass=estimate)
    document, _ = evaluated(capsys, tmp_path / "true", tmp_path / "guess", "--metrics", "csdr,snr")
    by_track = [document["tracks"][str(k)]["bass"] for k in range(3)]
    assert document["stems"]["bass"]["csdr"] == by_track[1]["csdr"] == pytest.approx(20, abs=0.5)
    assert document["stems"]["bass"]["snr"] == pytest.approx(sum(scores["snr"] for scores in by_track) / 3)


def test_a_score_that_cannot_be_had_is_left_out(tmp_path: Path, capsys: Capture) -> None:
    """Bass and drums never sound in the same second."""
    reference, estimate = pair(16_000)
    early, late = (np.concatenate([x, 0 * x]) for x in (reference, estimate)), (0 * reference, reference)
    bass, guessed = early
    true = write(tmp_path / "true", 8000, bass=bass, drums=np.concatenate(late))
    guess = write(tmp_path / "guess", 8000, bass=guessed)
    document, notes = evaluated(capsys, true, guess, "--metrics", "csdr,snr")
    assert set(document["stems"]["bass"]) == {"snr"}
    assert f"{true / 'bass.wav'}: no csdr: there is no second in which all stems sound" in notes
    assert call(["evaluate", str(true), str(guess), "--metrics", "csdr,snr"]) == 0
    assert "–" in capsys.readouterr().out
