"""A person's own songs: read from any format, separated by a schedule in bounded memory, written as stems."""

from schedopt.songs.batch import Options, Result, find_songs, separate_songs
from schedopt.songs.naming import Template
from schedopt.songs.refining import Desk, Place, SegmentNews, passes, separate
from schedopt.songs.waves import MemoryShelf, MemoryWave
from schedopt.songs.writing import Encoding

__all__ = [
    "Desk",
    "Encoding",
    "MemoryShelf",
    "MemoryWave",
    "Options",
    "Place",
    "Result",
    "SegmentNews",
    "Template",
    "find_songs",
    "passes",
    "separate",
    "separate_songs",
]
