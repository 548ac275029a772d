"""Campaigns of faults against autoreel; `benchmarks/faults.py` runs them, `tests/faults` a sample of each."""
