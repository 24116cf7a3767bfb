"""python -m bench.prm_study: compare kinds of labels, treatments of neutral steps, and reward models.

All on the built-in task, with the bundled models and with models that are trained here. The tables:
  capability   three policies by three reward models, each weaker or stronger than the others
  supervision  reward models trained on the same solutions of the policy, labelled by the exact checker, by
               rollouts, or by outcomes only. All are pretrained on synthetic mistakes in worked solutions,
               which need no labels; one is trained on nothing else
  params       the bundled reward model, with neutral steps accepted, rejected or deferred, and with step
               scores aggregated by last, min, product or mean
Best-of-N and the weighted vote use the smallest N that costs at least as many policy tokens as HGS spent.

Every stage is kept in --work and not repeated, so an interrupted study resumes. The report is written to
the folder report in --work: report.md, a JSON file per table, and capability.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.experiments.prm_study.study import MODULE, StudyRequest, run
from bench.experiments.prm_study.tables import TABLES
from prm.command_line import defaults
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> StudyRequest:
    parser = argparse.ArgumentParser(
        prog=f"python -m {MODULE}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--work", type=Path, metavar="DIR", help="folder of the stages and the report (%(default)s)")
    add("--table", choices=TABLES, action="append", help="only this table; may be repeated (all)")
    add("--limit", type=int, metavar="N",
        help="at most N problems, solutions and training steps, for a trial")  # fmt: skip
    parser.set_defaults(**defaults(StudyRequest))
    args = parser.parse_args(arguments)
    return StudyRequest(work=args.work, tables=tuple(args.table or TABLES), limit=args.limit)


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
