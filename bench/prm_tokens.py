"""python -m bench.prm_tokens: reward-model tokens of every strategy, relative to its trees' distinct tokens.

1.0 means that each token of the trees was computed once. Every strategy that uses step scores or final scores
searches the first built-in problems with its default parameters, on transformers and, where it is installed,
on vLLM. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from bench.experiments.prm_tokens import TokensRequest, measure
from prm.command_line import defaults, field_values
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> TokensRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.prm_tokens", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--limit", metavar="N", type=int, help="number of problems (%(default)s)")
    add("--engines", metavar="NAME", choices=("hf", "vllm"), nargs="+", help="of the reward model (all)")
    add("--json", metavar="PATH", type=Path, help="also write the figures there")
    found = ("hf", "vllm") if find_spec("vllm") else ("hf",)
    parser.set_defaults(**(defaults(TokensRequest) | {"engines": found}))
    return TokensRequest(**field_values(vars(parser.parse_args(arguments))))


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: measure(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
