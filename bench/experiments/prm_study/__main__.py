"""python -m bench.prm_study: which labels, which neutral, which judge for which policy.

On the built-in task, with the models that ship and more that are trained here. Three tables:
`supervision` compares reward models that learnt from the same solutions of the policy, each as often: by
the exact checker's labels, by labels by rollouts, and by outcomes. All begin with made-up mistakes in
worked solutions, for which no label is needed; so does one that learns nothing more. `knobs` takes
the reward model that ships, and neutral steps as right, as wrong and last; and min, product, last, mean.
`capability` is three policies by three reward models, each weaker or stronger than the others.
Best-of-N and the weighted vote get the least N that costs at least what HGS spent, in policy tokens.

Every stage is kept in --work and not repeated; a run that was interrupted goes on where it was. The
report is written to --work/report: report.md, a JSON file for each table, capability.png.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.experiments.prm_study import labelling, models, report
from bench.experiments.prm_study.models import SUPERVISIONS, UNLABELLED, Sizes
from bench.experiments.prm_study.tables import TABLES, Study
from search import command


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.prm_study", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--work", type=Path, default=Path("runs/prm-study"), metavar="DIR", help="(%(default)s)")
    add("--table", choices=TABLES, action="append", help="this one alone; may be repeated (all)")
    add("--limit", type=int, metavar="N", help="at most N problems, solutions, training steps: for a trial")
    asked = parser.parse_args()
    work: Path = asked.work
    sizes = Sizes() if asked.limit is None else Sizes().at_most(asked.limit)
    names = [name for name in TABLES if asked.table is None or name in asked.table]
    (work / "report").mkdir(parents=True, exist_ok=True)
    for name in names:
        train(name, work, sizes)
        found = asyncio.run(measure(name, work, sizes))
        (work / "report" / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
    kept = {name: work / "report" / f"{name}.json" for name in TABLES}
    tables = {name: json.loads(path.read_text()) for name, path in kept.items() if path.exists()}
    said = "python -m bench.prm_study" + ("" if asked.limit is None else f" --limit {asked.limit}")
    report.write(work / "report", tables, said)
    print(f"written: {work / 'report' / 'report.md'}")


def train(table: str, work: Path, sizes: Sizes) -> None:
    """The models that a table needs, as far as they are not there yet."""
    models.labels(work, sizes)
    if table == "capability":
        stages = {"early": models.early, "late": models.late, "prm-early": models.judge_on_early}
        for made, stage in stages.items():
            if not models.done(work / made):
                stage(work, sizes)
    if table == "supervision":
        if not (work / "agreement.json").exists():
            asyncio.run(labelling.label(work, sizes))
        if not models.done(work / f"prm-{UNLABELLED}"):
            models.exercised(work, sizes)
        for name in SUPERVISIONS:
            if not models.done(work / f"prm-{name}"):
                models.train_judge(name, work, sizes)


async def measure(table: str, work: Path, sizes: Sizes) -> dict[str, Any]:
    study = Study(work, sizes, Console(stderr=True))
    try:
        return await TABLES[table](study)
    finally:
        await study.close()


if __name__ == "__main__":
    command.run(main)
