"""python -m prm.rollouts: label steps by where they lead.

A policy samples on from prefixes of solutions, and a step is labelled by how many of the completions are
right. --how estimate completes every prefix of sampled solutions: hard labels (+1 if any completion is
right) and soft ones (the share that is right) in one file. --how bisect finds first errors by binary
search and reuses the tree. Everything sampled is kept in OUT.trace, so --resume continues at no cost.
Problems of evaluation sets are refused. On the built-in task, the labels are compared with the exact
checker.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.runner.checkpoints import ENGINES
from bench.runner.rollouts import RolloutsRequest, label_problems
from bench.runner.specs import PolicySpec
from bench.tasks import TEXT_TASKS
from search.command import exit_code
from search.errors import UsageError
from search.limits import LengthLimits
from search.policies.stepping import Sampling
from search.segment import SEGMENTERS


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: label_problems(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> RolloutsRequest:
    parser = argparse.ArgumentParser(
        prog="python -m prm.rollouts", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FILE", help="where the labels are written")
    add("--resume", action="store_true", help="continue OUT.trace")
    add("--how", choices=("estimate", "bisect"), default="estimate", help="see above (default: %(default)s)")
    add("--rollouts", type=int, default=8, metavar="N", help="completions per prefix (default: %(default)s)")
    add("--solutions", type=int, default=1, metavar="N",
        help="estimate: solutions per problem (default: %(default)s)")  # fmt: skip
    add("--searches", type=int, default=8, metavar="N",
        help="bisect: searches per problem (default: %(default)s)")  # fmt: skip
    add("--task", choices=sorted(TEXT_TASKS), default="builtin",
        help="how answers are read (default: %(default)s)")  # fmt: skip
    add("--problems", metavar="FILE",
        help='training problems, one {"problem", "answer"} per line (default: built-in ones)')  # fmt: skip
    add("--limit", type=int, metavar="N", help="only the first N problems (default: all; 100 built-in ones)")
    add("--policy", default="builtin", metavar="MODEL", help="path or hub id (default: %(default)s)")
    add("--engine", choices=ENGINES, help="what samples (default: vllm if it is installed, else hf)")
    add("--server", nargs="+", default=[], metavar="URL", help="for --engine server")
    add("--segment", choices=sorted(SEGMENTERS), default="newline",
        help="where steps end (default: %(default)s)")  # fmt: skip
    add("--step-tokens", metavar="N", type=int, default=LengthLimits().step_tokens,
        help="longest step, in tokens (default: %(default)s)")  # fmt: skip
    add("--solution-tokens", metavar="N", type=int, default=LengthLimits().solution_tokens,
        help="longest solution, in tokens; longer ones count as wrong (default: %(default)s)")  # fmt: skip
    add("--temperature", type=float, default=0.8, help="(default: %(default)s)")
    add("--seed", type=int, default=0, help="(default: %(default)s)")
    args = parser.parse_args(arguments)
    return RolloutsRequest(
        out=args.out, resume=args.resume, how=args.how, rollouts=args.rollouts, solutions=args.solutions,
        searches=args.searches, task=args.task, problems=args.problems, limit=args.limit,
        policy=PolicySpec(
            name=args.policy, engine=args.engine, servers=tuple(args.server), segment=args.segment,
            sampling=Sampling(args.temperature),
        ),
        seed=args.seed, lengths=_lengths(args.step_tokens, args.solution_tokens),
    )


def _lengths(step: int, solution: int) -> LengthLimits:
    if min(step, solution) < 1:
        raise UsageError(f"--step-tokens {step} --solution-tokens {solution}: both must be at least 1")
    return LengthLimits(step, solution)
