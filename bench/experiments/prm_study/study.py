"""The study: trains the models that its tables need, measures them, and writes the report."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.experiments.prm_study import labelling, models, report
from bench.experiments.prm_study.models import SUPERVISIONS, UNLABELLED, Sizes
from bench.experiments.prm_study.tables import TABLES, open_study
from prm.command_line import command_line

MODULE = "bench.prm_study"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRequest:
    """Which tables to produce.

    work: the folder of the stages and the report. tables: names of `TABLES`.
    limit: at most this many problems, solutions and training steps, for a trial.
    """

    work: Path = Path("runs/prm-study")
    tables: tuple[str, ...] = tuple(TABLES)
    limit: int | None = None


def run(request: StudyRequest) -> None:
    """Produce the tables of the request. The report also contains tables of earlier calls."""
    folder = request.work / "report"
    sizes = Sizes() if request.limit is None else Sizes().at_most(request.limit)
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        if name in request.tables:
            train(name, request.work, sizes)
            table = asyncio.run(measure(name, request.work, sizes))
            (folder / f"{name}.json").write_text(json.dumps(table, indent=2) + "\n")
    tables = {name: json.loads(path.read_text()) for name in TABLES if (path := _file(folder, name)).exists()}
    report.write(folder, tables, command_line(MODULE, request, omit=("work", "tables")))
    print(f"written: {folder / 'report.md'}")


def _file(folder: Path, table: str) -> Path:
    """The file of a table. The table "params" of an earlier version is in knobs.json."""
    path = folder / f"{table}.json"
    return path if table != "params" or path.exists() else folder / "knobs.json"


def train(table: str, work: Path, sizes: Sizes) -> None:
    """Train those models of a table that are not there yet."""
    models.labels(work, sizes)
    if table == "capability":
        stages = {"early": models.early, "late": models.late, "prm-early": models.prm_on_early}
        for name, stage in stages.items():
            if not models.done(work / name):
                stage(work, sizes)
    if table == "supervision":
        if not (work / "agreement.json").exists():
            asyncio.run(labelling.label(work, sizes))
        if not models.done(work / f"prm-{UNLABELLED}"):
            models.train_unlabelled(work, sizes)
        for name in SUPERVISIONS:
            if not models.done(work / f"prm-{name}"):
                models.train_prm(name, work, sizes)


async def measure(table: str, work: Path, sizes: Sizes) -> dict[str, Any]:
    """Run everything that a table compares, except for what is recorded already."""
    async with open_study(work, sizes, Console(stderr=True)) as study:
        return await TABLES[table](study)
