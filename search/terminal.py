"""The width of tables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 200
"""Columns to use if the output is not a terminal and COLUMNS is not set."""


def widened(console: Console) -> Console:
    """Set the console to WIDE columns if neither a terminal nor COLUMNS gives a width; return it."""
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console
