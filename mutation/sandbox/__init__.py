"""Runs model-written programs against tests, in isolation. `python -m mutation.sandbox --help`."""
