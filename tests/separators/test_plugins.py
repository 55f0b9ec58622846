"""Separators of other packages: a class that wraps Open-Unmix, in studies, benchmarks and songs."""

from __future__ import annotations
