"""python -m prm.preference.collect --out DIR: collect preference trees with a policy, as for UltraInteract.

At each turn, --policy samples until one action is right and one is wrong. The right one ends. The wrong one
is answered by the task's checker ("Your answer is wrong."), and the next turn follows, up to --depth. Where
no action is right, the policies of --stronger try, in turn; then the strongest one is shown a gold
solution, with its answer masked if it is text. Where a problem needs that and has several gold solutions,
each further one gives one more pair.

DIR gets attempts.jsonl, a record of every action, from which --resume continues; sft.jsonl and pairs.jsonl,
UltraInteract's files; augmented.jsonl, pairs across the turns of a tree; and summary.json. Problems of
evaluation sets are refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.runner.checkpoints import ENGINES
from bench.runner.collect import CollectRequest, collect_trees
from bench.runner.collect_problems import DEFAULT_SIZE, EXAMPLE, TASK_NAMES
from bench.runner.specs import PolicySpec
from prm.preference.schemas import SCHEMAS
from prm.preference.tree import MAX_DEPTH
from search.command import exit_code
from search.policies.stepping import Sampling


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: collect_trees(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> CollectRequest:
    parser = argparse.ArgumentParser(
        prog="python -m prm.preference.collect", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="where the record and the files are written")
    add("--resume", action="store_true", help="continue the record in DIR")
    add("--task", choices=TASK_NAMES, default="builtin", help="(default: %(default)s)")
    add("--problems", metavar="FILE",
        help="training problems, for gsm8k, math and jsonl: rows of GSM8K or MATH, or of this kind: "
        + EXAMPLE)  # fmt: skip
    add("--limit", type=int, metavar="N",
        help=f"only the first N problems (default: all; {DEFAULT_SIZE} built-in ones)")  # fmt: skip
    add("--policy", metavar="MODEL", help="path or hub id (default: the task's built-in policy)")
    add("--stronger", nargs="+", default=[], metavar="MODEL", help="policies that try next, weakest first")
    add("--engine", choices=ENGINES, help="what samples (default: vllm if it is installed, else hf)")
    add("--server", nargs="+", default=[], metavar="URL", help="for --engine server")
    add("--samples", type=int, default=20, metavar="N",
        help="actions per policy and turn (default: %(default)s)")  # fmt: skip
    add("--gold-samples", type=int, default=20, metavar="N",
        help="actions after a gold solution; 0 shows none (default: %(default)s)")  # fmt: skip
    add("--depth", type=int, default=MAX_DEPTH, metavar="N", help="turns at most (default: %(default)s)")
    add("--critic", choices=("checker",),
        help="follow the verdict by how the tests of a program ended, as in episodes")  # fmt: skip
    add("--schemas", nargs="+", default=["plain"], metavar="NAME",
        help=f"how to reason, drawn for each action: {', '.join(SCHEMAS)} (default: plain)")  # fmt: skip
    add("--tokens", type=int, default=1024, metavar="N", help="longest action (default: %(default)s)")
    add("--temperature", type=float, default=0.8, help="(default: %(default)s)")
    add("--concurrency", type=int, default=64, metavar="N", help="problems at a time (default: %(default)s)")
    add("--seed", type=int, default=0, help="(default: %(default)s)")
    args = parser.parse_args(arguments)

    def policy(name: str | None) -> PolicySpec:
        return PolicySpec(
            name=name, engine=args.engine, servers=tuple(args.server), sampling=Sampling(args.temperature)
        )

    return CollectRequest(
        out=args.out,
        resume=args.resume,
        task=args.task,
        problems=args.problems,
        limit=args.limit,
        actor=policy(args.policy),
        stronger=tuple(map(policy, args.stronger)),
        samples=args.samples,
        gold_samples=args.gold_samples,
        depth=args.depth,
        critic=args.critic,
        schemas=tuple(args.schemas),
        tokens=args.tokens,
        seed=args.seed,
        concurrency=args.concurrency,
    )
