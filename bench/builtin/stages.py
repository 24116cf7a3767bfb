"""Stages of making the built-in models: each is run once, and its results are kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.reading.layout import Layout, save_layout

HERE = Path(__file__).parent
Stage = Callable[[Path, Path], None]
"""Called with the `work` and `out` folders of the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeRequest:
    """Which models to make, and where.

    work: the folder of checkpoints, labels and logs. out: the folder of the finished models.
    stage: run this stage alone, even if it has been run before; None runs all that have not.
    """

    work: Path
    out: Path = HERE
    stage: str | None = None


def run_stages(stages: Mapping[str, Stage], request: MakeRequest) -> None:
    """Run the stages of the request in order. A finished stage is marked by a file in `request.work`."""
    request.work.mkdir(parents=True, exist_ok=True)
    for name in [request.stage] if request.stage else stages:
        done = request.work / f"{name}.done"
        if done.exists() and not request.stage:
            print(f"{name}: done before, kept in {request.work}")
            continue
        stages[name](request.work, request.out)
        done.touch()


def save(model: Any, folder: Path, tokenizer: Any, layout: Layout | None = None) -> None:
    """Save a standard checkpoint in bfloat16 with its tokenizer. The model itself stays in float32."""
    shutil.rmtree(folder, ignore_errors=True)
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if layout is not None:
        save_layout(layout, folder)
    model.float()
