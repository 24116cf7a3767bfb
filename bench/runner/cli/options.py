"""The options of `python -m search.run`, and its help."""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import wrap
from typing import NoReturn

from bench.runner.models import DTYPES
from bench.tasks import TASKS
from search.errors import UsageError
from search.params import describe
from search.segment import SEGMENTERS
from search.strategies import STRATEGIES

BASELINE = "cot"
DEBUG = "PRM_SEARCH_DEBUG"

ABOUT = """\
Solve problems step by step: a policy (a language model) proposes steps, a process reward model
judges them, a strategy decides where to go. Without options: HGS-PRM on the built-in problems with
the built-in models, beside plain greedy chain of thought.
"""
MORE = f"""\
strategies, their knobs and the knobs' defaults (change them with --set KNOB=VALUE ...):

{describe()}

examples:
  python -m search.run --strategy hgs --set width=8 max_samples=100
  python -m search.run --strategy all --limit 100 --json results.json
  python -m search.run --question "Ann has 5 coins. Ben owns 3 more coins than Ann. How many
      coins does Ben have?"
  python -m search.run --task gsm8k --data test.jsonl --policy PATH_OR_ID --prm PATH_OR_ID
  python -m search.run --out runs/mine --resume        go on with an interrupted run

exit codes: 0 done; 1 every problem of a strategy failed; 2 the request is wrong, nothing was spent;
130 interrupted. {DEBUG}=1 shows the libraries' own messages, and the trace of an error.
"""


class _Parser(argparse.ArgumentParser):
    """One line for what is wrong, like every other error here."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (--help lists the options)")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Does not break words at hyphens."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(text, width, break_on_hyphens=False)


def parser() -> argparse.ArgumentParser:
    options = _Parser(
        prog="python -m search.run", description=ABOUT, epilog=MORE, allow_abbrev=False,
        formatter_class=lambda prog: _Help(prog, max_help_position=28, width=100),
        usage="%(prog)s [--strategy NAME] [--set KNOB=VALUE ...]\n"
        "           [--task NAME | --problems FILE | --question TEXT] [--policy PATH_OR_ID]\n"
        "           [--prm PATH_OR_ID] [--engine NAME] [--limit N] [--seed S] [--out DIR] [--resume]\n"
        "           [--json PATH] [more options, below]",
    )
    what = options.add_argument_group("what to solve")
    which = what.add_mutually_exclusive_group()
    which.add_argument(
        "--task", metavar="NAME", default="builtin",
        help=f"{', '.join(name for name in TASKS if name != 'jsonl')} (default: builtin)",
    )
    which.add_argument(
        "--problems", metavar="FILE", type=Path,
        help='problems of your own: a line {"problem": "2 + 2?", "answer": "4"} each',
    )
    which.add_argument(
        "--question", metavar="TEXT", help="solve this one and print the search as it happens",
    )
    what.add_argument(
        "--data", metavar="PATH", type=Path,
        help="the task's data in its original format (default: from the Hugging Face hub)",
    )
    what.add_argument(
        "--limit", metavar="N", type=_positive,
        help="the first N problems (default: all of them; of the built-in task, 100)",
    )

    how = options.add_argument_group("how to search")
    how.add_argument(
        "--strategy", metavar="NAME", default="hgs",
        help=f"{', '.join(STRATEGIES)}; several with commas between them; or all (default: hgs)",
    )
    how.add_argument(
        "--set", metavar="KNOB=VALUE", nargs="+", action="extend", default=[],
        help="knobs of the strategy (below); of several strategies, those that have the knob",
    )
    how.add_argument(
        "--seed", metavar="S", type=int, default=0, help="the same seed gives the same search (default: 0)",
    )
    how.add_argument(
        "--no-baseline", action="store_true", help=f"do not run greedy chain of thought ({BASELINE}) as well",
    )
    how.add_argument(
        "--segment", metavar="NAME",
        help=f"what ends a step: {', '.join(SEGMENTERS)} (default: newline; of the built-in code task, "
        "python)",
    )
    how.add_argument(
        "--step-tokens", metavar="N", type=_positive, default=256,
        help="longest step, in tokens (default: 256)",
    )
    how.add_argument(
        "--solution-tokens", metavar="N", type=_positive, default=1024,
        help="longest solution, in tokens (default: 1024)",
    )
    how.add_argument(
        "--max-tokens", metavar="N", type=_positive,
        help="most policy tokens a problem may cost in all; one that needs more fails",
    )

    models = options.add_argument_group("models")
    models.add_argument(
        "--policy", metavar="PATH_OR_ID",
        help="a causal language model, in a folder or on the hub (default: the built-in one; of the built-in "
        "code task, its own)",
    )
    models.add_argument(
        "--prm", metavar="PATH_OR_ID",
        help="a reward model: a name that `python -m prm.zoo` lists, a specification (YAML), or a folder or "
        "hub id with its prm.json; or weak, the built-in one that knows no more than the policy "
        "(default: the built-in one that does); or, for programs, tests: those "
        "that the question shows are run; tests+PATH_OR_ID: they overrule the model where they fail",
    )
    models.add_argument(
        "--engine", metavar="NAME",
        help="vllm; hf, which is transformers; server, any OpenAI-compatible one (default: vllm if it is "
        "installed, else hf)",
    )
    models.add_argument(
        "--server", metavar="URL", action="append", default=[],
        help="base URL for --engine server, e.g. http://localhost:8000/v1; again for more servers",
    )
    models.add_argument(
        "--tokenizer", metavar="PATH_OR_ID",
        help="of the server's model: gives the chat template, and prefixes travel as token ids "
        "(default: that of --policy if it is a folder, else none)",
    )
    models.add_argument(
        "--prompt", metavar="NAME_OR_FILE",
        help="a prompt of the task, or a text file with {question} in it (default: the model's chat "
        "template if it has one, else the task's first prompt)",
    )
    models.add_argument(
        "--stop", metavar="TEXT", action="append", default=[],
        help="what ends a solution, beside the prompt's own stop strings, \\n for a newline; again for more",
    )
    models.add_argument(
        "--print-prompt", action="store_true", help="print the first problem's prompt, and stop",
    )
    models.add_argument(
        "--temperature", metavar="T", type=float, default=0.8,
        help="at which strategies sample that do not set their own (default: 0.8)",
    )
    models.add_argument(
        "--top-p", metavar="P", type=float, default=1.0,
        help="sample from the most probable tokens that make up P (default: 1, from all)",
    )
    models.add_argument(
        "--dtype", metavar="NAME", default="auto",
        help=f"precision of the weights: {', '.join(DTYPES)} "
        "(default: auto, as they are stored; float32 on a CPU without bfloat16)",
    )
    models.add_argument(
        "--no-seeded", action="store_true",
        help="sample without a seed of each request's own: may be faster, but cannot be repeated",
    )

    output = options.add_argument_group("running and output")
    output.add_argument(
        "--concurrency", metavar="C", type=_positive, default=64, help="problems at a time (default: 64)",
    )
    output.add_argument(
        "--out", metavar="DIR", type=Path, help="where the run is recorded (default: runs/TASK-DATE-TIME)",
    )
    output.add_argument(
        "--resume", action="store_true",
        help="go on with the run in --out where it was interrupted; one that has ended is shown again",
    )
    output.add_argument(
        "--json", metavar="PATH", type=Path,
        help="write the results there as well: an object, or a list of them for several strategies",
    )
    return options


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of at least 1, not {text!r}")
    return number
