"""Ours and the peers in turn, in one run: `python -m benchmarks.bench`, `--quick` for what takes five minutes."""
