"""Comparisons with other packages: the same search on the same trees, and speed on the same engine."""
