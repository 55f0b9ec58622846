"""What a schedule is worth on held-out tracks: benchmark, rivals, statistics, sweep, replay of the published table."""
