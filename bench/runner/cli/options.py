"""The options of `python -m search.run`: from words to a `RunRequest`."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import NoReturn

from bench.runner.budget import Budget, is_scaled, parse_budget
from bench.runner.checkpoints import BUILTIN_POLICIES
from bench.runner.cli.episode_options import add_episode_options, episode_spec, length_limits
from bench.runner.cli.model_options import add_model_options, policy_spec, prm_spec
from bench.runner.cli.recorded import COMMAND, read_command
from bench.runner.cli.spread_options import add_spread_options, cluster_spec
from bench.runner.episodes import EpisodeSpec
from bench.runner.faults import Faults
from bench.runner.ray.spec import ClusterSpec
from bench.runner.request import BASELINE, RunRequest, greedy_baseline
from bench.runner.shards import folder_of
from bench.tasks import TASKS
from bench.tasks.oracle import guided_name
from search.errors import UsageError
from search.limits import CostLimits
from search.params import describe, has_param, make_strategy, nearest, params
from search.segment import SEGMENTERS, Repetition
from search.speculation import Speculate
from search.strategies import STRATEGIES
from search.tree import Strategy

DEBUG = "PRM_SEARCH_DEBUG"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command line, understood.

    words: as given. strategy: the value of --strategy. json: where results are also written.
    print_prompt: print the first problem's prompt instead of running.
    """

    words: tuple[str, ...]
    request: RunRequest
    strategy: str
    json: Path | None
    print_prompt: bool
    engine_named: bool

ABOUT = """\
Solve problems step by step: a policy (a language model) proposes steps, a process reward model
(PRM) scores each of them, and a strategy decides where to continue. Without options: HGS-PRM on
the built-in problems with the built-in models, next to plain greedy chain of thought.
"""
MORE = f"""\
strategies with their parameters and defaults (change them with --set PARAM=VALUE ...):

{describe()}

examples:
  python -m search.run --strategy hgs --set width=8 max_samples=100
  python -m search.run --strategy all --limit 100 --json results.json
  python -m search.run --question "Ann has 5 coins. Ben owns 3 more coins than Ann. How many
      coins does Ben have?"
  python -m search.run --task gsm8k --data test.jsonl --policy PATH_OR_ID --prm PATH_OR_ID
  python -m search.run --out runs/mine --resume        continue an interrupted run

exit codes: 0 done; 1 every problem of a strategy failed, or the reward model's servers are lost
(--resume continues then); 2 the request is wrong, nothing was spent; 130 interrupted.
{DEBUG}=1 shows the libraries' own messages, and tracebacks of errors.
"""


def parse(words: Sequence[str]) -> CommandLine:
    """Understand a command line. Raises UsageError for what is wrong with the words themselves.

    With --resume, options that are not given are those of the run that is resumed.
    """
    args = _parse_args(words)
    faults = Faults()
    strategies: dict[str, Strategy] = {}
    settings: dict[str, str] = {}
    cluster: ClusterSpec | None = None
    with faults.collected():
        cluster = cluster_spec(args)
    episodes: EpisodeSpec | None = None
    with faults.collected():
        episodes = episode_spec(args)
    with faults.collected():
        settings = dict(map(_setting, args.set))
        strategies = _strategies(args, settings)
    with faults.collected():
        _check_combination(args)
        _check_scaled(args.budget, strategies, settings)
    faults.raise_if_any()
    source = TASKS.get(args.task)
    foreign = args.policy is not None and args.policy not in BUILTIN_POLICIES
    plain = args.problems is not None or (args.question is not None and source is not None and foreign)
    request = RunRequest(
        strategies=strategies,
        task="jsonl" if plain else args.task,
        strict=args.strict,
        data=args.data if args.problems is None else args.problems,
        limit=args.limit,
        question=args.question,
        policy=policy_spec(args),
        prm=prm_spec(args),
        fitted_thresholds=settings.keys().isdisjoint(("accept", "reject")),
        budget=args.budget,
        limits=CostLimits(policy_tokens=args.max_tokens),
        lengths=length_limits(args),
        seed=args.seed,
        deadline=args.deadline,
        concurrency=args.concurrency,
        speculate=args.speculate if args.speculate is not None else 0 if args.question is None else "auto",
        out=args.out,
        resume=args.resume,
        shard=args.shard,
        cluster=cluster,
        episodes=episodes,
    )
    return CommandLine(
        tuple(words), request, args.strategy.strip(), args.json, args.print_prompt, args.engine is not None
    )


def _parse_args(words: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    args = parser.parse_args(words)
    if not args.resume or args.out is None:
        return args
    folder = folder_of(args.out, args.shard)
    if not (folder / COMMAND).is_file():
        return args
    before = parser.parse_args(read_command(folder))
    given = {word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    if given & {"task", "problems", "question"}:  # one of them replaces another
        given |= {"task", "problems", "question"}
    return argparse.Namespace(**{**vars(before), **{name: getattr(args, name) for name in given}})


def _strategies(args: argparse.Namespace, settings: dict[str, str]) -> dict[str, Strategy]:
    """The strategies with their parameters, the baseline before them."""
    names = list(STRATEGIES) if args.strategy == "all" else [n.strip() for n in args.strategy.split(",")]
    strategies = {}
    for name in names:
        plain = guided_name(name)
        alone = len(names) == 1 or plain not in STRATEGIES
        own = {param: text for param, text in settings.items() if alone or has_param(plain, param)}
        strategies[name] = make_strategy(plain, own)
    for param in settings:
        if not any(has_param(guided_name(name), param) for name in names):
            known = {known for name in names for known in params(strategies[name])}
            raise UsageError(f"none of {', '.join(names)} has a parameter {param!r}{nearest(param, known)}")
    if args.question is not None:
        if len(names) > 1:
            raise UsageError(f"--question takes one strategy, not {', '.join(names)}")
    elif not args.no_baseline and BASELINE not in strategies:
        strategies = {**greedy_baseline(), **strategies}
    return strategies


def _setting(text: str) -> tuple[str, str]:
    param, equals, value = text.partition("=")
    if not equals or not param or not value:
        raise UsageError(f"--set takes PARAM=VALUE, not {text!r}")
    return param.strip(), value.strip()


def _check_combination(args: argparse.Namespace) -> None:
    """Options that exclude each other. Raises UsageError."""
    if args.question is not None:
        for option in ("out", "json", "data"):
            if getattr(args, option) is not None:
                raise UsageError(f"--{option} does not go with --question: one question keeps no record")
    if args.problems is not None and args.data is not None:
        raise UsageError("--data is for --task; --problems names its file already")
    if args.json is not None and (args.json.is_dir() or not os.access(args.json.parent, os.W_OK)):
        raise UsageError(f"--json: cannot write {args.json}")


def _check_scaled(budget: Budget | None, strategies: Iterable[str], settings: Iterable[str]) -> None:
    """Raise UsageError for a setting of what the budget sets."""
    for param in settings if budget is not None else ():
        if scaled := [name for name in strategies if is_scaled(name, param)]:
            raise UsageError(f"--set {param}: it is what --budget scales {', '.join(scaled)} by")


class Parser(argparse.ArgumentParser):
    """One line for what is wrong, like every other error here."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (--help lists the options)")


def parse_beside(
    parser: argparse.ArgumentParser, words: Sequence[str], options: Collection[str]
) -> tuple[argparse.Namespace, list[str]]:
    """What a command's own parser reads, and the words that it leaves to `parse`.

    options: of search.run, which those words may name. Raises UsageError.
    """
    args, rest = parser.parse_known_args(words)
    for word in rest:
        if word.startswith("--") and word.partition("=")[0] not in options:
            raise UsageError(f"unrecognized arguments: {word} (--help lists the options)")
    return args, rest


class _Help(argparse.RawDescriptionHelpFormatter):
    """Does not break words at hyphens."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(text, width, break_on_hyphens=False)


def _parser() -> argparse.ArgumentParser:
    options = Parser(
        prog="python -m search.run", description=ABOUT, epilog=MORE, allow_abbrev=False,
        formatter_class=lambda prog: _Help(prog, max_help_position=28, width=100),
        usage="%(prog)s [--strategy NAME] [--set PARAM=VALUE ...]\n"
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
        help='your own problems, one {"problem": "2 + 2?", "answer": "4"} per line',
    )
    which.add_argument(
        "--question", metavar="TEXT", help="solve this one question and print the search as it happens",
    )
    what.add_argument(
        "--data", metavar="PATH", type=Path,
        help="the task's data in its original format (default: from the Hugging Face hub)",
    )
    what.add_argument(
        "--limit", metavar="N", type=_positive,
        help="only the first N problems (default: all; 100 of the built-in tasks)",
    )
    what.add_argument("--strict", action="store_true",
        help="count only answers that a solution states, not the last mathematics it holds")  # fmt: skip

    how = options.add_argument_group("how to search")
    how.add_argument(
        "--strategy", metavar="NAME", default="hgs",
        help=f"{', '.join(STRATEGIES)}; several with commas between them; or all (default: hgs)",
    )
    how.add_argument(
        "--set", metavar="PARAM=VALUE", nargs="+", action="extend", default=[],
        help="parameters of the strategy (listed below); with several strategies, of those that have them",
    )
    how.add_argument(
        "--seed", metavar="S", type=int, default=0, help="the same seed gives the same results (default: 0)",
    )
    how.add_argument(
        "--no-baseline", action="store_true", help=f"do not also run greedy chain of thought ({BASELINE})",
    )
    how.add_argument(
        "--segment", metavar="NAME",
        help=f"what ends a step: {', '.join(SEGMENTERS)} (default: newline; for the built-in code task, "
        "python)",
    )
    how.add_argument(
        "--repetition", metavar="N[,CHARS]", type=_repetition,
        help="cut a solution after the same step, of at least CHARS characters, N times in a row; 0 never "
        "does (default: 4,20; for code 0)",
    )
    how.add_argument(
        "--step-tokens", metavar="N", type=_positive,
        help="longest step, in tokens (default: 256; 1024 for a turn of --episodes)",
    )
    how.add_argument(
        "--solution-tokens", metavar="N", type=_positive,
        help="longest solution, in tokens (default: 1024; 4096 for all turns of --episodes)",
    )
    how.add_argument(
        "--max-tokens", metavar="N", type=_positive,
        help="policy tokens that one problem may cost in all; where they end, the best solution so far is "
        "the answer",
    )
    how.add_argument(
        "--budget", metavar="AMOUNT", type=_budget,
        help="run every strategy at the same cost per problem, by scaling its main parameter: 8x (times the "
        f"mean cost of greedy {BASELINE}), tokens=N or seconds=S; tokens of scored steps count as many times "
        "as the reward model has the policy's parameters",
    )
    how.add_argument(
        "--deadline", metavar="SECONDS", type=_seconds,
        help="what one problem may take; then the best solution so far is the answer",
    )

    add_episode_options(options)
    add_model_options(options)
    add_spread_options(options)

    output = options.add_argument_group("running and output")
    output.add_argument(
        "--concurrency", metavar="C", type=_positive, default=64,
        help="problems worked on at a time; with --engine server, also requests in flight (default: 64)",
    )
    output.add_argument(
        "--speculate", metavar="N", type=_speculate,
        help="draw up to N samples of a problem ahead of what its search asks for; auto: as many as keep the "
        "policy busy; 0: none. Answers are the same, sooner; the tokens of samples that were not asked for "
        "are counted (default: auto for --question, else 0, so that equal runs have equal costs)",
    )
    output.add_argument(
        "--out", metavar="DIR", type=Path,
        help="folder that the run is recorded in (default: runs/TASK-DATE-TIME)",
    )
    output.add_argument(
        "--resume", action="store_true",
        help="continue the interrupted run in --out, with its options; a finished run is shown again",
    )
    output.add_argument(
        "--json", metavar="PATH", type=Path,
        help="also write the results there: one object, or a list for several strategies",
    )
    return options


def _repetition(text: str) -> Repetition:
    times, _, chars = text.partition(",")
    try:
        return Repetition(int(times), int(chars)) if chars else Repetition(int(times))
    except (ValueError, UsageError):
        raise argparse.ArgumentTypeError(f"takes N or N,CHARS with N 0 or at least 2, not {text!r}") from None


def _budget(text: str) -> Budget:
    try:
        return parse_budget(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--budget ")) from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"takes a number of seconds above 0, not {text!r}")
    return seconds


def _speculate(text: str) -> Speculate:
    if text == "auto" or text.isdecimal():
        return "auto" if text == "auto" else int(text)
    raise argparse.ArgumentTypeError(f"takes a whole number or auto, not {text!r}")


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of at least 1, not {text!r}")
    return number
