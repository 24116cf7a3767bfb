"""How wide tables are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 200
"""Columns where nobody says how wide the paper is."""


def widened(console: Console) -> Console:
    """The console, given WIDE columns where neither a terminal nor COLUMNS says how many there are."""
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console
