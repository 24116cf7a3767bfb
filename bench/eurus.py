"""python -m bench.eurus: preference trees, tuned policies, reward models, and the loop between them.

Everything is on the built-in code task, whose training, validation and test problems share no function.
Stages, each kept in --work. The same command continues after Ctrl-C or kill -9:
  own        the built-in policy samples programs for training problems; the tests say which are right
  hindsight  wrong ones, verdicts and critiques, then a right one: episodes put together from these
  start      SFT on them teaches the policy to read feedback; everything below begins with this policy
  trees-1    preference trees of up to five turns
  tuned      SFT, DPO, KTO and NCA; learning rates are chosen on validation problems
  rewards    reward models: Bradley-Terry and direct rewards, and either of them
  turns      success at turns 1 to 5 on test problems
  candidates sampled solutions of test problems, reranked
  rounds     trees of the tuned policy, which is tuned on them, three times; greedy and under HGS
The page and its pictures are written at the end.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.experiments.eurus import FULL, QUICK, RATES, EurusRequest, run
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> EurusRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.eurus", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--quick", action="store_true", help="few problems, one learning rate each: some minutes on 2 cores")
    add("--problems", metavar="N", type=int,
        help=f"training problems (default: {FULL.problems:,}; {QUICK.problems} with --quick)")  # fmt: skip
    add("--test", metavar="N", type=int,
        help=f"test problems (default: {FULL.test}; {QUICK.test} with --quick)")  # fmt: skip
    add("--validation", metavar="N", type=int, help="problems that learning rates are chosen on "
        f"(default: {FULL.validation}; {QUICK.validation} with --quick)")  # fmt: skip
    add("--rounds", metavar="N", type=int, default=3, help="rounds of the loop (default: %(default)s)")
    add("--work", metavar="DIR", type=Path, help="folder of the stages (default: runs/eurus[-quick])")
    add("--page", metavar="FILE", type=Path,
        help="the page (default: docs/results/eurus.md; with --quick, page.md in --work)")  # fmt: skip
    words = list(sys.argv[1:] if arguments is None else arguments)
    args = parser.parse_args(words)
    sizes = QUICK if args.quick else FULL
    sizes = replace(
        sizes, problems=args.problems or sizes.problems, test=args.test or sizes.test,
        validation=args.validation or sizes.validation,
    )  # fmt: skip
    work = args.work or Path("runs/eurus-quick" if args.quick else "runs/eurus")
    return EurusRequest(
        sizes=sizes, work=work, rounds=args.rounds,
        page=args.page or (work / "page.md" if args.quick else Path("docs/results/eurus.md")),
        rates={name: rates[-1:] for name, rates in RATES.items()} if args.quick else RATES,
        command=shlex.join(["python", "-m", "bench.eurus", *words]),
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
