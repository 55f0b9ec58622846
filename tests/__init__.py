"""Tests of schedopt; see README.md beside this file."""

import os

# As the command does, before torch is imported: two test processes share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
