"""A study's database: opening it, its faults, and who owns a running trial."""
