"""schedopt searches the β schedule of progressive inference with a pretrained Demucs."""

__version__ = "0.1.0"
