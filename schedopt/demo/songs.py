"""Rendered training songs on disk, and the batches that are cut from them."""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schedopt.demo.synth import SAMPLE_RATE, STEMS, synthesize

Songs = npt.NDArray[np.float16]  # (songs, stems, channels, samples); half precision is 66 dB below the signal
Batch = npt.NDArray[np.float32]  # (batch, stems, channels, samples)


def load_songs(folder: Path, seeds: Sequence[int], seconds: float, processes: int | None = None) -> Songs:
    """The songs of `seeds`, each cut to `seconds`; rendered on first use and kept as one file a song in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    render = partial(_render_song, folder, seconds)
    if processes == 1:
        paths = [render(seed) for seed in seeds]
    else:
        # Spawned, not forked: a fork of a process in which torch has started its threads can hang.
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            paths = list(pool.map(render, seeds, chunksize=4))
    songs = np.empty((len(seeds), len(STEMS), 2, round(seconds * SAMPLE_RATE)), dtype=np.float16)
    for song, path in zip(songs, paths, strict=True):
        song[...] = np.load(path)
    return songs


def _render_song(folder: Path, seconds: float, seed: int) -> Path:
    path = folder / f"{seed}-{seconds:g}s.npy"
    if not path.exists():
        part = folder / f"{path.stem}.{os.getpid()}.part.npy"
        np.save(part, synthesize(seed, seconds).astype(np.float16))
        os.replace(part, path)  # a render that is cut short leaves no half a song behind
    return path


def draw_batch(songs: Songs, rng: np.random.Generator, size: int, samples: int) -> Batch:
    """Crops of the references, (size, stems, channels, samples).

    Half of them have stems of different songs, so that harmony and beat do not tell stems apart; gains, signs and
    channels are drawn for each stem. Gains go down further than up, since a schedule's later steps hold back all but
    the target.
    """
    batch = np.empty((size, *songs.shape[1:3], samples), dtype=np.float32)
    last = songs.shape[-1] - samples
    for example in batch:
        mixed = rng.random() < 0.5
        song, start = rng.integers(len(songs)), rng.integers(last + 1)
        for index, stem in enumerate(example):
            if mixed:
                song, start = rng.integers(len(songs)), rng.integers(last + 1)
            gain = rng.choice([-1, 1]) * 10 ** (rng.uniform(-8, 4) / 20)
            sides = slice(None, None, rng.choice([-1, 1]))  # the channels, possibly swapped
            stem[...] = songs[song, index, sides, start : start + samples]
            stem *= gain
    return batch
