"""python -m prm.score FILE --prm MODEL --out FILE: score every step of every solution in a file.

Each line of FILE is {"question", "steps": [...]} or {"question", "solution"}. A solution is split into
steps at line ends, or at blank lines if the model's steps may span lines. Other fields are kept. Each
line of the output adds "judgements", one {"negative", "neutral", "positive"} per step, "score", the value of
the solution, and "prm_weights", which identifies the model. The value of a solution is that of a search: the
step values (P(not wrong)) aggregated as the model's layout says (by default their product), or the one value
of an outcome model. A solution that cannot be scored has an "error" and no score, and the exit code is
then 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prm.command_line import defaults, field_values, urls
from prm.scoring.score_file import ScoreRequest, score_file
from search.command import Exit, exit_code


def request_from(arguments: Sequence[str] | None = None) -> ScoreRequest:
    """The request that a command line makes. Exits if it cannot be parsed."""
    parser = argparse.ArgumentParser(
        prog="python -m prm.score", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("solutions", metavar="FILE", help="the solutions, as JSON lines")
    add("--prm", metavar="MODEL",
        help="a zoo model, NAME=PATH, specification, checkpoint, ensemble, or builtin")  # fmt: skip
    add("--prm-server", dest="servers", type=urls, metavar="URL[,URL]",
        help="score on servers: of python -m prm.serve, or vLLM's own, which need --prm, too")  # fmt: skip
    add("--out", type=Path, required=True, metavar="FILE",
        help="the scored lines, written as they are made")  # fmt: skip
    add("--resume", action="store_true", help="continue an interrupted --out")
    add("--engine", choices=("hf", "vllm"), help="what runs the model (%(default)s)")
    add("--dtype", help="precision (as stored; float32 on a CPU without bfloat16)")
    parser.set_defaults(**defaults(ScoreRequest))
    return ScoreRequest(**field_values(vars(parser.parse_args(arguments))))


def _score(request: ScoreRequest) -> int:
    summary = score_file(request)
    print(f"{summary.total} solutions, {summary.failed} of them could not be scored: {request.out}")
    return Exit.FAILED if summary.failed else Exit.DONE


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: _score(request_from(arguments)))


if __name__ == "__main__":
    sys.exit(main())
