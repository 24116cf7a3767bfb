"""Recipes that train small networks in this process: processes of their own would cost more than training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.experiments import recipe


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that are trained side by side are trained one after the other, here."""

    def run_in_turn(function: Callable[[Any], None], requests: Mapping[Path, Any]) -> None:
        for request in requests.values():
            function(request)

    monkeypatch.setattr(recipe, "run_side_by_side", run_in_turn)
