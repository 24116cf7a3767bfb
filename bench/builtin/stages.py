"""What the commands that make the built-in models have in common: stages, kept and not repeated."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prm.reading.layout import Layout, save_layout

HERE = Path(__file__).parent
Stage = Callable[[Path, Path], None]
"""Called with the folders of --work and --out."""


def run_stages(prog: str, about: str | None, stages: Mapping[str, Stage], work: Path) -> None:
    """The command line of a `make`: every stage in order that is not marked as done in --work.

    work: the folder for checkpoints, labels and logs unless the user names another.
    """
    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument(
        "--work", metavar="DIR", type=Path, default=work,
        help="checkpoints, labels and logs (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=HERE, help="where the models go (default: this package)"
    )
    parser.add_argument("--stage", choices=stages, help="this one alone (default: all that are not done)")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    for name in [asked.stage] if asked.stage else stages:
        done = asked.work / f"{name}.done"
        if done.exists() and not asked.stage:
            print(f"{name}: done before, kept in {asked.work}")
            continue
        stages[name](asked.work, asked.out)
        done.touch()


def save(model: Any, folder: Path, tokenizer: Any, layout: Layout | None = None) -> None:
    """Save a standard checkpoint in bfloat16, its tokenizer beside it. The model stays in float32."""
    shutil.rmtree(folder, ignore_errors=True)
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if layout is not None:
        save_layout(layout, folder)
    model.float()
