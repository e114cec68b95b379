"""`make results`: the proof on real datasets, and docs/results.md written from its reports."""
