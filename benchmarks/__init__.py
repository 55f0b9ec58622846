"""Speed and quality, measured: each module prints a table, keeps JSON on request, and asserts nothing.

Run one with `python -m benchmarks.NAME [--json [FILE]]` in the root of the repository.
"""
