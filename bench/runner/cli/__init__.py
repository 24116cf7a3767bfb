"""The parts of `python -m search.run`: its options, the checking of a request, the report."""
