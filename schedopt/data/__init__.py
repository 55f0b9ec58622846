"""Music with known stems: tracks from three kinds of source, excerpts cut from them, mixtures made of those.

    source ─► load_tracks ─► tracks ─► cut_excerpts ─► excerpts ─► mix ─► mixture

Excerpts are float32 at 44.1 kHz, full scale ±1, axes (stems, channels, samples). `plan_stems` says which of their stems
a model can extract. Tracks are read piece by piece: memory does not grow with their length. What cannot
be used is refused with a `DataError` that names the file; what had to be converted is said once a file, as
a warning of the logger `schedopt`.
"""

from schedopt.data._resample import SAMPLE_RATE
from schedopt.data.audio import Audio, open_audio, read_audio, read_song
from schedopt.data.decoding import SUFFIXES, check_file
from schedopt.data.excerpts import SILENCE_RULE, audible_stems, cut_excerpts
from schedopt.data.folder import is_track_folder, stem_files, track_folders
from schedopt.data.mixing import mix
from schedopt.data.sources import check_source, load_tracks, stems_of
from schedopt.data.splits import Split
from schedopt.data.stems import StemPlan, plan_stems
from schedopt.data.tracks import StemTrack

__all__ = [
    "SAMPLE_RATE",
    "SILENCE_RULE",
    "SUFFIXES",
    "Audio",
    "Split",
    "StemPlan",
    "StemTrack",
    "audible_stems",
    "check_file",
    "check_source",
    "cut_excerpts",
    "is_track_folder",
    "load_tracks",
    "mix",
    "open_audio",
    "plan_stems",
    "read_audio",
    "read_song",
    "stem_files",
    "stems_of",
    "track_folders",
]
