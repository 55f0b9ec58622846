"""Generated songs: four stems, a few seconds to write down, nothing to download.

The songs are meant to be hard for the reasons real ones are: stems share the spectrum, the beat and the harmony, the
timbres change from song to song, and single stems rest for a while.
"""

from schedopt.demo.synth._mix import SAMPLE_RATE, synthesize
from schedopt.demo.synth._song import STEMS

__all__ = ["SAMPLE_RATE", "STEMS", "synthesize"]
