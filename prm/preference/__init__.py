"""Preference trees, as in Eurus (Yuan et al. 2024, arXiv:2404.02078): types, files, and how they are made."""
