"""python -m bench.peers: compare with LLM Reasoners, TreeQuest and its_hub.

reasoners  `mcts` and its MCTS expand the same nodes of random trees, with the same visits and Q values
treequest  `ab_mcts` and its AB-MCTS-A have the same posteriors, draws and trees
speed      problems per second of its_hub, TreeQuest and this engine with the built-in models

The packages are installed into runs/peers/ the first time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from bench.experiments.peers import reasoners, treequest
from bench.experiments.peers.speed import SpeedRequest, measure
from search.command import Exit, exit_code


def _work(arguments: Sequence[str] | None) -> Callable[[], int | None]:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("what", choices=["reasoners", "treequest", "speed"])
    add("--trees", metavar="N", type=int, default=200, help="number of random trees (default: %(default)s)")
    add("--strategy", choices=["particle", "beam", "ab_mcts"], default="particle",
        help="speed: beside its_hub, or TreeQuest for ab_mcts (default: %(default)s)")  # fmt: skip
    add("--limit", metavar="N", type=int, default=16,
        help="speed: number of problems (default: %(default)s)")  # fmt: skip
    add("--engine", choices=["vllm", "hf"], help="speed: default: vLLM if it is installed")
    args = parser.parse_args(arguments)
    if args.what == "speed":
        request = SpeedRequest(strategy=args.strategy, limit=args.limit, engine=args.engine)
        return lambda: measure(request)
    compare = {"reasoners": reasoners.compare, "treequest": treequest.compare}[args.what]
    return lambda: Exit.DONE if compare(args.trees) else Exit.FAILED


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(_work(arguments))


if __name__ == "__main__":
    sys.exit(main())
