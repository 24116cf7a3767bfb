"""python -m prm.evaluate: measure how well reward models score steps, beside baselines.

Writes report.md, report.json and plots to --out, together with the scores, which are reused if the
evaluation is interrupted and started again. Intervals are 95 %, from a bootstrap over problems. The
baselines (majority, position, n-grams) are trained on --baselines, which should be what the reward
models were trained on.

To locate first errors, a scalar model uses the threshold that is best on ProcessBench's GSM8K part, as its
authors do, if that is among the data, else 0.5. A model with classes reports an error where P(wrong) > 0.5.
ProcessBench's figure is the mean of the F1 of its subsets.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prm.command_line import defaults, field_values, urls
from prm.data import HELP, STRICT_HELP
from prm.evaluation.evaluate import evaluate
from prm.evaluation.report import figures
from prm.evaluation.request import EvaluateRequest
from search.command import exit_code


def request_from(arguments: Sequence[str] | None = None) -> EvaluateRequest:
    """The request that a command line makes. Exits if it cannot be parsed."""
    parser = argparse.ArgumentParser(
        prog="python -m prm.evaluate", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--prm", dest="prms", nargs="+", metavar="MODEL",
        help="zoo models, NAME=PATH, specifications, checkpoints, ensembles, or builtin")  # fmt: skip
    add("--prm-server", dest="servers", type=urls, metavar="URL[,URL]",
        help="score on servers: of python -m prm.serve, or vLLM's own, which need --prm, too")  # fmt: skip
    add("--data", nargs="+", required=True, metavar="SPEC", help=HELP)
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the report and the scores")
    add("--baselines", nargs="+", metavar="SPEC", help="training data of the baselines (no baselines)")
    add("--strict", action="store_true", help=STRICT_HELP)
    add("--limit", type=int, metavar="N", help="use the first N records of each data set (all)")
    add("--engine", choices=("hf", "vllm"), help="what runs the models (%(default)s)")
    add("--dtype", help="precision (as stored; float32 on a CPU without bfloat16)")
    parser.set_defaults(**defaults(EvaluateRequest))
    return EvaluateRequest(**field_values(vars(parser.parse_args(arguments))))


def _evaluate(request: EvaluateRequest) -> None:
    evaluation = evaluate(request)
    print("\n".join(figures(evaluation.results)))
    if evaluation.left_out:
        print(evaluation.left_out.describe())
    print(f"written: {evaluation.report}")


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: _evaluate(request_from(arguments)))


if __name__ == "__main__":
    sys.exit(main())
