"""python -m search.run: one strategy, or several, over a task's problems."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from time import perf_counter, strftime
from typing import Any, NoReturn

from rich.console import Console

from bench.models import DTYPES, Models, Settings, choose_prompt, load_models, resolve
from bench.summary import Graded, Summary, closing_tables
from bench.tasks import TASKS
from bench.tasks.base import Example, Task
from search.display import Live, Transcript, progress
from search.engine import Outcome, solve
from search.errors import UsageError
from search.knobs import describe, has_knob, knobs, make_strategy, nearest
from search.limits import Limits
from search.policies.stepping import Sampling
from search.segment import SEGMENTERS
from search.strategies import STRATEGIES, UNGUIDED
from search.trace import Trace
from search.tree import Budget
from search.types import Problem, Strategy

BASELINE = "cot"
DEBUG = "PRM_SEARCH_DEBUG"
NOT_A_TERMINAL = 200
"""Columns of the closing tables where nobody says how wide the paper is."""

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


@dataclass(frozen=True, slots=True)
class Run:
    """A checked request: all that can be wrong with it and seen without loading a model was looked at."""

    strategies: dict[str, Strategy]
    task: Task
    examples: list[Example]
    models: Settings
    budget: Budget
    limits: Limits
    seed: int
    concurrency: int
    out: Path
    data: str

    def identity(self, name: str) -> dict[str, Any]:
        """What makes two runs the same run: resuming needs all of it to be equal."""
        return {
            "strategy": name,
            "knobs": knobs(self.strategies[name]),
            "task": self.task.name,
            "data": self.data,
            "seed": self.seed,
            "budget": [self.budget.step_tokens, self.budget.solution_tokens],
            "limits": [self.limits.samples, self.limits.policy_tokens, self.limits.judgements],
            **self.models.identity(),
        }

    def trace(self, name: str) -> Trace:
        """The trace of a strategy; close it. Raises TraceError if it is another run's."""
        return Trace(self.out / f"{name}.jsonl", self.identity(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code; see `MORE`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    console, notes = Console(), Console(stderr=True)
    run: Run | None = None
    with _quiet_libraries():
        try:
            asked = _parser().parse_args(words)
            run = _check(asked, notes)
            if asked.print_prompt:
                sys.stdout.write(run.models.shown_prompt(run.examples[0].problem))
                return 0
            if asked.question is not None:
                outcome = asyncio.run(_answer(run, console, notes))
                return 0 if outcome.error is None else 1
            summaries = asyncio.run(_solve_all(run, notes))
            return _report(run, asked, summaries, console, notes)
        except UsageError as error:
            if os.environ.get(DEBUG):
                notes.print_exception()
            _say(notes, f"error: {_one_line(error)}", "red")
            return 2
        except KeyboardInterrupt:
            if run is None or asked.question is not None:
                _say(notes, "\ninterrupted")
            else:
                _say(notes, f"\ninterrupted; to go on where it stopped:\n{_resume_command(words, run.out)}")
            return 130


class _Parser(argparse.ArgumentParser):
    """One line for what is wrong, like every other error here."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (--help lists the options)")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Does not break words at hyphens."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(text, width, break_on_hyphens=False)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m search.run", description=ABOUT, epilog=MORE, allow_abbrev=False,
        formatter_class=lambda prog: _Help(prog, max_help_position=28, width=100),
        usage="%(prog)s [--strategy NAME] [--set KNOB=VALUE ...]\n"
        "           [--task NAME | --problems FILE | --question TEXT] [--policy PATH_OR_ID]\n"
        "           [--prm PATH_OR_ID] [--engine NAME] [--limit N] [--seed S] [--out DIR] [--resume]\n"
        "           [--json PATH] [more options, below]",
    )
    what = parser.add_argument_group("what to solve")
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

    how = parser.add_argument_group("how to search")
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
        "--segment", metavar="NAME", default="newline",
        help=f"what ends a step: {', '.join(SEGMENTERS)} (default: newline)",
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

    models = parser.add_argument_group("models")
    models.add_argument(
        "--policy", metavar="PATH_OR_ID", default="builtin",
        help="a causal language model, in a folder or on the hub (default: the built-in one)",
    )
    models.add_argument(
        "--prm", metavar="PATH_OR_ID", default="builtin",
        help="a reward model with its prm.json, in a folder or on the hub; or weak, the built-in one that "
        "knows no more than the policy (default: the built-in one that does)",
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
        "--prompt", metavar="NAME_OR_FILE",
        help="a prompt of the task, or a text file with {question} in it (default: the model's chat "
        "template if it has one, else the task's first prompt)",
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
        help=f"precision of the weights: {', '.join(DTYPES)} (default: auto, as they are stored)",
    )
    models.add_argument(
        "--no-seeded", action="store_true",
        help="sample without a seed of each request's own: may be faster, but cannot be repeated",
    )

    output = parser.add_argument_group("running and output")
    output.add_argument(
        "--concurrency", metavar="C", type=_positive, default=64, help="problems at a time (default: 64)",
    )
    output.add_argument(
        "--out", metavar="DIR", type=Path, help="where the run is recorded (default: runs/TASK-DATE-TIME)",
    )
    output.add_argument(
        "--resume", action="store_true", help="go on with the run in --out, where it was interrupted",
    )
    output.add_argument(
        "--json", metavar="PATH", type=Path,
        help="write the results there as well: an object, or a list of them for several strategies",
    )
    return parser


# -- checking ------------------------------------------------------------------------------------------


def _check(asked: argparse.Namespace, notes: Console) -> Run:
    """Find everything that is wrong with the request. Raises UsageError; loads no model."""
    _check_options(asked)
    strategies = _strategies(asked)
    if asked.segment not in SEGMENTERS:
        raise UsageError(f"unknown segmentation {asked.segment!r}{nearest(asked.segment, SEGMENTERS)}")
    out = _check_output(asked, strategies)
    task, examples, data = _problems(asked)
    models = resolve(
        policy=asked.policy,
        prm=asked.prm,
        engine=asked.engine,
        servers=asked.server,
        dtype=asked.dtype,
        sampling=Sampling(asked.temperature, asked.top_p),
        seeded=not asked.no_seeded,
        segmenter=SEGMENTERS[asked.segment],
        guided=not UNGUIDED.issuperset(strategies),
    )
    if asked.engine is None and models.engine == "hf":
        _say(notes, "vLLM is not installed: running on transformers, which is slower", "yellow")
    models = choose_prompt(models, task.prompts, asked.prompt, [example.problem for example in examples])
    run = Run(
        strategies, task, examples, models, Budget(asked.step_tokens, asked.solution_tokens),
        Limits(policy_tokens=asked.max_tokens), asked.seed, asked.concurrency, out, data,
    )
    if asked.resume:
        for name in strategies:
            if (out / f"{name}.jsonl").exists():
                run.trace(name).close()
    return run


def _check_options(asked: argparse.Namespace) -> None:
    """Options that exclude each other, and values out of range."""
    if not (math.isfinite(asked.temperature) and asked.temperature >= 0):
        raise UsageError(f"--temperature must be 0 or more, not {asked.temperature}")
    if not 0 < asked.top_p <= 1:
        raise UsageError(f"--top-p must be above 0 and at most 1, not {asked.top_p}")
    if asked.question is not None:
        if not asked.question.strip():
            raise UsageError("--question is empty")
        for option in ("out", "json", "data"):
            if getattr(asked, option) is not None:
                raise UsageError(f"--{option} does not go with --question: one question keeps no record")
    if asked.problems is not None and asked.data is not None:
        raise UsageError("--data is for --task; --problems names its file already")
    if asked.resume and asked.out is None:
        raise UsageError("--resume needs --out DIR, the run to go on with")


def _strategies(asked: argparse.Namespace) -> dict[str, Strategy]:
    """The strategies with their knobs, the baseline before them."""
    names = list(STRATEGIES) if asked.strategy == "all" else [n.strip() for n in asked.strategy.split(",")]
    settings = dict(map(_setting, asked.set))
    strategies = {}
    for name in names:
        alone = len(names) == 1 or name not in STRATEGIES
        own = {knob: text for knob, text in settings.items() if alone or has_knob(name, knob)}
        strategies[name] = make_strategy(name, own)
    for knob in settings:
        if not any(has_knob(name, knob) for name in names):
            known = {known for name in names for known in knobs(strategies[name])}
            raise UsageError(f"none of {', '.join(names)} has a knob {knob!r}{nearest(knob, known)}")
    if asked.question is not None:
        if len(names) > 1:
            raise UsageError(f"--question takes one strategy, not {', '.join(names)}")
    elif not asked.no_baseline and BASELINE not in strategies:
        strategies = {BASELINE: make_strategy(BASELINE), **strategies}
    return strategies


def _check_output(asked: argparse.Namespace, strategies: dict[str, Strategy]) -> Path:
    """The folder that the run is recorded in, made if it is not there."""
    out: Path = asked.out or Path("runs") / f"{asked.task}-{strftime('%Y%m%d-%H%M%S')}"
    if asked.question is not None or asked.print_prompt:
        return out
    existing = [name for name in strategies if (out / f"{name}.jsonl").exists()]
    if existing and not asked.resume:
        there = ", ".join(existing)
        raise UsageError(f"{out} holds a run of {there} already: add --resume, or give another --out")
    if asked.resume and not out.is_dir():
        raise UsageError(f"--resume: there is no run in {out}")
    if asked.json is not None and (asked.json.is_dir() or not os.access(asked.json.parent, os.W_OK)):
        raise UsageError(f"--json: cannot write {asked.json}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: cannot write to {out}: {error.strerror}") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise UsageError(f"--out: cannot write to {out}: Permission denied")
    return out


def _problems(asked: argparse.Namespace) -> tuple[Task, list[Example], str]:
    """The task, its problems, and where they are from. Raises UsageError."""
    if asked.question is not None:
        name = asked.task if asked.policy == "builtin" else "jsonl"
        return TASKS[name](), [Example(Problem("question", asked.question), "")], ""
    if asked.problems is not None:
        task, data = TASKS["jsonl"](), asked.problems
    elif asked.task not in TASKS:
        raise UsageError(f"unknown task {asked.task!r}{nearest(asked.task, TASKS)}")
    else:
        task, data = TASKS[asked.task](), asked.data
    return task, task.load(data, asked.limit), "" if data is None else str(data.resolve())


def _setting(text: str) -> tuple[str, str]:
    knob, equals, value = text.partition("=")
    if not equals or not knob or not value:
        raise UsageError(f"--set takes KNOB=VALUE, not {text!r}")
    return knob.strip(), value.strip()


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of at least 1, not {text!r}")
    return number


# -- running -------------------------------------------------------------------------------------------


@asynccontextmanager
async def _loaded(run: Run, notes: Console) -> AsyncIterator[Models]:
    """The models, closed at the end; with a word on how long they took."""
    start = perf_counter()
    with notes.status(f"loading {run.models.described}"):
        models = await load_models(run.models)
    try:
        _say(notes, f"{run.models.described}: ready in {perf_counter() - start:.0f} s")
        yield models
    finally:
        await models.close()


async def _solve_all(run: Run, notes: Console) -> list[Summary]:
    async with _loaded(run, notes) as models:
        return [await _solve(run, name, models, notes) for name in run.strategies]


async def _solve(run: Run, name: str, models: Models, notes: Console) -> Summary:
    """Run one strategy over all problems; grade what is finished while the others go on."""
    by_id = {example.problem.id: example for example in run.examples}
    start = perf_counter()
    trace = run.trace(name)

    async def grade(outcome: Outcome) -> Graded:
        example = by_id[outcome.problem.id]
        grade = await asyncio.to_thread(run.task.grade, outcome.answer, example.reference)
        live.finished(grade.correct)
        return Graded(outcome, grade.correct, example.group)

    try:
        with progress(notes) as shown:
            live = Live(shown, name, len(by_id))
            outcomes = solve(
                [example.problem for example in run.examples], run.strategies[name], models.policy,
                models.scorer, seed=run.seed, limits=run.limits, budget=run.budget, answers=run.task,
                concurrency=run.concurrency, trace=trace, watch=live.watch,
            )
            async with aclosing(outcomes):
                grading = [asyncio.create_task(grade(outcome)) async for outcome in outcomes]
            graded = await asyncio.gather(*grading)
    finally:
        trace.close()
    return Summary(
        name, knobs(run.strategies[name]), run.task.name, run.seed, run.models.policy_name,
        run.models.prm_name, run.models.revision, perf_counter() - start, graded,
    )


async def _answer(run: Run, console: Console, notes: Console) -> Outcome:
    """Solve the one question, printing the search as it happens."""
    [strategy] = run.strategies.values()
    [example] = run.examples
    transcript = Transcript(console)
    async with _loaded(run, notes) as models:
        transcript.begin(example.problem)
        outcomes = solve(
            [example.problem], strategy, models.policy, models.scorer, seed=run.seed,
            limits=run.limits, budget=run.budget, answers=run.task, watch=transcript.watch,
        )
        [outcome] = [outcome async for outcome in outcomes]
        transcript.end(outcome)
    return outcome


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep the libraries' warnings to themselves: what a user must know is said here."""
    if os.environ.get(DEBUG):
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# -- reporting -----------------------------------------------------------------------------------------


def _report(
    run: Run, asked: argparse.Namespace, summaries: Sequence[Summary], console: Console, notes: Console
) -> int:
    """Print the closing tables, write the JSON, name what failed. Returns the exit code."""
    baseline = next((s for s in summaries if s.strategy == BASELINE and s.knobs["temperature"] == 0), None)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = NOT_A_TERMINAL
    for part in closing_tables(summaries, baseline, console.width):
        console.print(part, highlight=False)
    code = 0
    for summary in summaries:
        failed = [g.outcome for g in summary.graded if g.outcome.error]
        if failed:
            first = f"{failed[0].problem.id}: {failed[0].error}"
            count = f"{len(failed)} of {len(summary.graded)} problems failed"
            _say(notes, f"{summary.strategy}: {count}; the first, {first}", "red")
        if len(failed) == len(summary.graded):
            code = 1
    _say(notes, f"recorded in {run.out}")
    if asked.json is not None:
        _write_json(asked.json, summaries, baseline, asked.strategy)
    return code


def _write_json(path: Path, summaries: Sequence[Summary], baseline: Summary | None, asked: str) -> None:
    """One object for one strategy, the baseline inside it; a list for several."""
    rows = {summary.strategy: summary.as_json(baseline) for summary in summaries}
    written: Any = list(rows.values())
    if asked.strip() in rows:
        written = rows[asked.strip()]
        if baseline is not None and asked.strip() != baseline.strategy:
            written["baseline"] = rows[baseline.strategy]
    try:
        path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--json: cannot write {path}: {error.strerror}") from error


def _resume_command(words: Sequence[str], out: Path) -> str:
    kept = [word for word in words if word != "--resume"]
    if not any(word == "--out" or word.startswith("--out=") for word in words):
        kept += ["--out", str(out)]
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    return shlex.join([python, "-m", "search.run", *kept, "--resume"])


def _say(console: Console, text: str, style: str = "") -> None:
    """Print `text` as it is: paths and commands are neither wrapped nor coloured."""
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
