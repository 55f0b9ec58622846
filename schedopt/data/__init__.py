"""Music with known stems: tracks from three kinds of source, excerpts cut from them, mixtures made of those.

    source ─► load_tracks ─► tracks ─► cut_excerpts ─► excerpts ─► mix ─► mixture

Audio is float32 at 44.1 kHz, full scale ±1, axes (stems, channels, samples), stems in the order of
`schedopt.types.STEMS`. Tracks are read piece by piece: memory does not grow with their length. What cannot
be used is refused with a `DataError` that names the file; what had to be converted is said once a file, as
a warning of the logger `schedopt`.
"""

from schedopt.data._resample import SAMPLE_RATE
from schedopt.data.audio import Audio, open_audio, read_audio
from schedopt.data.excerpts import audible_stems, cut_excerpts
from schedopt.data.folder import is_track_folder, open_stem_folder, stem_files, track_folders
from schedopt.data.mixing import mix
from schedopt.data.sources import load_tracks
from schedopt.data.splits import Split
from schedopt.data.stems import StemTrack

__all__ = [
    "SAMPLE_RATE",
    "Audio",
    "Split",
    "StemTrack",
    "audible_stems",
    "cut_excerpts",
    "is_track_folder",
    "load_tracks",
    "mix",
    "open_audio",
    "open_stem_folder",
    "read_audio",
    "stem_files",
    "track_folders",
]
