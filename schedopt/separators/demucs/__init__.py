"""Demucs behind the separator protocol: segments, bags, weights, the hub, devices."""
