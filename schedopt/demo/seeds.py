"""Which generated songs serve which purpose; the ranges never overlap.

A song is fixed by its seed, so a split by seed is a split by track: nothing that was learned or chosen on one range
has heard a song of another.
"""

TRAIN_SEEDS = range(600)
"""Songs that the bundled separator was trained on."""

SEARCH_SEEDS = range(10_000, 10_064)
"""Songs on which schedules are searched."""

HELD_OUT_SEEDS = range(20_000, 20_064)
"""Songs on which a found schedule is judged; neither training nor search may touch them."""

VALIDATION_SEEDS = range(30_000, 30_024)
"""Songs on which the training record states the separator's figures."""
