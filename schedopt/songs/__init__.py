"""A person's own songs: read from any format, separated by a schedule in bounded memory, written as stems."""

from schedopt.songs.batch import Options, Result, find_songs, separate_songs
from schedopt.songs.naming import Template
from schedopt.songs.refining import Position, SegmentNews, SongPasses, count_passes, separate
from schedopt.songs.writing import Encoding

__all__ = [
    "Encoding",
    "Options",
    "Position",
    "Result",
    "SegmentNews",
    "SongPasses",
    "Template",
    "count_passes",
    "find_songs",
    "separate",
    "separate_songs",
]
