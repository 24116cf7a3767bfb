"""python -m search.run: one strategy, or several, over a task's problems."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, strftime
from typing import Any

from rich.console import Console

from bench.models import ENGINES, Models, Settings, choose_prompt, load_models, resolve
from bench.summary import Graded, Summary, group_table, table
from bench.tasks import TASKS
from bench.tasks.base import Example, Task
from search.display import Live, Transcript, progress
from search.engine import solve
from search.errors import UsageError
from search.knobs import describe, has_knob, knobs, make_strategy, nearest
from search.limits import Limits
from search.segment import SEGMENTERS
from search.policies.stepping import Sampling
from search.strategies import STRATEGIES, UNGUIDED
from search.trace import Trace
from search.tree import Budget
from search.types import Problem, Strategy

BASELINE = "cot"
HELP = f"""
Search for solutions with a policy, a process reward model and a strategy, and compare what it
brings with plain greedy chain of thought. Without options: HGS-PRM with the built-in models on
the built-in test problems.

strategies and their knobs (--set knob=value):
{describe()}
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A checked request: everything that could be wrong with it without loading a model was looked at."""

    strategies: dict[str, Strategy]
    task: Task
    examples: list[Example]
    models: Settings
    budget: Budget
    limits: Limits
    seed: int
    concurrency: int
    out: Path
    resume: bool
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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 2 for a wrong request, before anything is spent; 130
    when interrupted."""
    asked = _parser().parse_args(arguments)
    console, notes = Console(), Console(stderr=True)
    if not os.environ.get("PRM_SEARCH_DEBUG"):
        logging.disable(logging.WARNING)
    try:
        run = _check(asked, notes)
        if asked.print_prompt:
            console.print(run.models.shown_prompt(run.examples[0].problem), markup=False, highlight=False, soft_wrap=True)
            return 0
        summaries = asyncio.run(_execute(run, asked, console, notes))
    except UsageError as error:
        notes.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        if asked.question is None:
            notes.print(f"\ninterrupted; nothing is lost. To go on: {_resume_command(run)}", soft_wrap=True, markup=False)
        return 130
    if asked.question is not None:
        return 0 if summaries[-1].graded[0].outcome.error is None else 1
    baseline = next((s for s in summaries if s.strategy == BASELINE and s.knobs.get("temperature") == 0), None)
    wide = Console(width=max(console.width, 170)) if not console.is_terminal else console
    wide.print(table(summaries, baseline))
    if (groups := group_table(summaries)) is not None:
        wide.print(groups)
    for summary in summaries:
        if failed := [g.outcome for g in summary.graded if g.outcome.error]:
            notes.print(f"{summary.strategy}: {len(failed)} failed, the first ({failed[0].problem.id}): {failed[0].error}", markup=False)
    notes.print(f"trace: {run.out}", highlight=False)
    if asked.json is not None:
        _write_json(asked.json, summaries, baseline, asked.strategy)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m search.run", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_argument_group("what to solve")
    which = what.add_mutually_exclusive_group()
    which.add_argument("--task", metavar="NAME", default="builtin", help=f"{', '.join(TASKS)} (default builtin)")
    which.add_argument("--problems", metavar="FILE", type=Path, help="a JSONL of your own: {problem, answer} a line")
    which.add_argument("--question", metavar="TEXT", help="solve this one, printing the search as it happens")
    what.add_argument("--data", metavar="PATH", type=Path, help="the task's data in its original format (default: the hub)")
    what.add_argument("--limit", metavar="N", type=_positive, help="only the first N problems (built-in task: 200 unless told)")

    how = parser.add_argument_group("how to search")
    how.add_argument("--strategy", metavar="NAME", default="hgs", help=f"{', '.join(STRATEGIES)}; several with commas; or all (default hgs)")
    how.add_argument("--set", metavar="KNOB=VALUE", nargs="+", action="extend", default=[], help="knobs of the strategy; with several strategies, of those that have the knob")
    how.add_argument("--segment", metavar="NAME", default="newline", help=f"where steps end: {', '.join(SEGMENTERS)} (default newline)")
    how.add_argument("--step-tokens", metavar="N", type=_positive, default=256, help="longest step, in tokens (default 256)")
    how.add_argument("--solution-tokens", metavar="N", type=_positive, default=1024, help="longest solution, in tokens (default 1024)")
    how.add_argument("--max-tokens", metavar="N", type=_positive, help="policy tokens a problem may cost; over it, the problem ends with an error")
    how.add_argument("--seed", metavar="S", type=int, default=0, help="the same seed gives the same trees (default 0)")
    how.add_argument("--no-baseline", action="store_true", help="do not run greedy chain of thought for comparison")

    models = parser.add_argument_group("models")
    models.add_argument("--policy", metavar="PATH_OR_ID", default="builtin", help="a causal language model (default: the built-in one)")
    models.add_argument("--prm", metavar="PATH_OR_ID", default="builtin", help="a reward model with prm.json; builtin or weak (default builtin)")
    models.add_argument("--engine", metavar="NAME", help=f"{', '.join(ENGINES)} (default: vllm if it is installed, else hf)")
    models.add_argument("--server", metavar="URL", action="append", default=[], help="base URL of an OpenAI-compatible server, for --engine server; may be repeated")
    models.add_argument("--prompt", metavar="NAME_OR_FILE", help="a prompt of the task, or a template file with {question} (default: the chat template if the model has one)")
    models.add_argument("--print-prompt", action="store_true", help="print the first problem's prompt and stop")
    models.add_argument("--temperature", metavar="T", type=float, default=0.8, help="of sampled solutions; knobs override it (default 0.8)")
    models.add_argument("--top-p", metavar="P", type=float, default=1.0, help="nucleus sampling (default 1: off)")
    models.add_argument("--dtype", metavar="NAME", default="auto", help="precision of the weights: auto, bfloat16, float32 (default auto)")
    models.add_argument("--no-seeded", action="store_true", help="vLLM: sample without a seed per request; may be faster, cannot be repeated")

    output = parser.add_argument_group("output")
    output.add_argument("--concurrency", metavar="C", type=_positive, default=64, help="problems worked on at a time (default 64)")
    output.add_argument("--out", metavar="DIR", type=Path, help="where traces go (default runs/TASK-TIME)")
    output.add_argument("--resume", action="store_true", help="go on with the run in --out")
    output.add_argument("--json", metavar="PATH", type=Path, help="write the closing table there as JSON; one object, or a list for several strategies")
    return parser


def _check(asked: argparse.Namespace, notes: Console) -> Run:
    """Find everything that is wrong with the request. Raises UsageError; loads no model."""
    names = list(STRATEGIES) if asked.strategy == "all" else asked.strategy.split(",")
    settings = dict(_setting(text) for text in asked.set)
    strategies = {}
    for name in names:
        own = {k: v for k, v in settings.items() if len(names) == 1 or (name in STRATEGIES and has_knob(name, k))}
        strategies[name] = make_strategy(name, own)
    for knob in settings:
        if not any(has_knob(name, knob) for name in names):
            raise UsageError(f"none of {', '.join(names)} has the knob {knob!r}")
    if asked.question is None and not asked.no_baseline and BASELINE not in strategies:
        strategies = {BASELINE: make_strategy(BASELINE), **strategies}
    if asked.segment not in SEGMENTERS:
        raise UsageError(f"unknown segmentation {asked.segment!r}{nearest(asked.segment, SEGMENTERS)}")
    if asked.temperature < 0 or not 0 < asked.top_p <= 1:
        raise UsageError("--temperature must be 0 or more, --top-p above 0 and at most 1")
    task, examples, data = _problems(asked)
    models = resolve(
        policy=asked.policy, prm=asked.prm, engine=asked.engine, servers=asked.server, dtype=asked.dtype,
        sampling=Sampling(asked.temperature, asked.top_p), seeded=not asked.no_seeded,
        segmenter=SEGMENTERS[asked.segment], guided=not UNGUIDED.issuperset(strategies),
    )
    if asked.engine is None and models.engine == "hf":
        notes.print("vLLM is not installed: running on transformers, which is slower", style="yellow")
    models = choose_prompt(models, task.prompts, asked.prompt, [e.problem for e in examples])
    out = asked.out or Path("runs") / f"{task.name}-{strftime('%Y%m%d-%H%M%S')}"
    existing = [name for name in strategies if (out / f"{name}.jsonl").exists()]
    if existing and not asked.resume:
        raise UsageError(f"{out} holds a run of {', '.join(existing)} already: add --resume, or choose another --out")
    if asked.resume and asked.out is None:
        raise UsageError("--resume needs --out DIR, the run to go on with")
    if asked.resume and not out.is_dir():
        raise UsageError(f"--resume: there is no run in {out}")
    run = Run(
        strategies, task, examples, models, Budget(asked.step_tokens, asked.solution_tokens),
        Limits(policy_tokens=asked.max_tokens), asked.seed, asked.concurrency, out, asked.resume, data,
    )
    if not asked.print_prompt and asked.question is None:
        _open_traces(run)
    return run


def _problems(asked: argparse.Namespace) -> tuple[Task, list[Example], str]:
    """The task, its problems, and where they are from. Raises UsageError."""
    if asked.question is not None:
        task = TASKS["jsonl"]()
        return task, [Example(Problem("question", asked.question), "")], ""
    if asked.problems is not None:
        task, data = TASKS["jsonl"](), asked.problems
    elif asked.task not in TASKS:
        raise UsageError(f"unknown task {asked.task!r}{nearest(asked.task, TASKS)}")
    else:
        task, data = TASKS[asked.task](), asked.data
    return task, task.load(data, asked.limit), "" if data is None else str(data.resolve())


def _open_traces(run: Run) -> dict[str, Trace]:
    """The traces, checked to be of this run. Raises TraceError."""
    try:
        run.out.mkdir(parents=True, exist_ok=True)
        return {name: Trace(run.out / f"{name}.jsonl", run.identity(name)) for name in run.strategies}
    except OSError as error:
        raise UsageError(f"cannot write to {run.out}: {error}") from error


async def _execute(run: Run, asked: argparse.Namespace, console: Console, notes: Console) -> list[Summary]:
    start = perf_counter()
    with notes.status(f"loading {run.models.described}"):
        models = await load_models(run.models)
    try:
        notes.print(f"{run.models.described}: ready in {perf_counter() - start:.0f} s", highlight=False)
        if asked.question is not None:
            return [await _answer(run, models, console)]
        return [await _solve(run, name, models, notes) for name in run.strategies]
    finally:
        await models.close()


async def _solve(run: Run, name: str, models: Models, notes: Console) -> Summary:
    """Run one strategy over all problems; grade as they finish."""
    by_id = {example.problem.id: example for example in run.examples}
    graded: list[Graded] = []
    trace = _open_traces(run)[name]
    start = perf_counter()
    try:
        with progress(notes) as shown:
            live = Live(shown, name, len(by_id))
            outcomes = solve(
                [example.problem for example in run.examples], run.strategies[name], models.policy, models.scorer,
                seed=run.seed, limits=run.limits, budget=run.budget, answers=run.task,
                concurrency=run.concurrency, trace=trace, watch=live.watch,
            )
            async for outcome in outcomes:
                example = by_id[outcome.problem.id]
                grade = await asyncio.to_thread(run.task.grade, outcome.answer, example.reference)
                graded.append(Graded(outcome, grade.correct, example.group))
                live.finished(outcome, grade.correct)
    finally:
        trace.close()
    return _summary(run, name, graded, perf_counter() - start)


async def _answer(run: Run, models: Models, console: Console) -> Summary:
    """Solve the one question, printing the search as it happens."""
    [name] = list(run.strategies)[-1:]
    [example] = run.examples
    console.print(example.problem.question, markup=False, highlight=False)
    start = perf_counter()
    transcript = Transcript(console)
    outcomes = solve(
        [example.problem], run.strategies[name], models.policy, models.scorer, seed=run.seed,
        limits=run.limits, budget=run.budget, answers=run.task, watch=transcript.watch,
    )
    [outcome] = [outcome async for outcome in outcomes]
    usage = outcome.usage
    if outcome.error:
        console.print(f"failed: {outcome.error}", style="red", markup=False)
    else:
        console.print(f"\n{outcome.text.strip()}", markup=False, highlight=False)
        console.print(f"\nanswer: {outcome.answer if outcome.answer is not None else 'none'}", style="bold")
    console.print(
        f"{usage.samples} samples, {usage.policy_tokens} policy tokens ({usage.policy_tokens_discarded} thrown "
        f"away), {usage.prm_tokens} reward-model tokens, {usage.backtracks} backtracks, {outcome.seconds:.1f} s",
        style="dim", highlight=False,
    )
    return _summary(run, name, [Graded(outcome, False)], perf_counter() - start)


def _summary(run: Run, name: str, graded: list[Graded], seconds: float) -> Summary:
    return Summary(
        name, knobs(run.strategies[name]), run.task.name, run.seed, run.models.policy_name,
        run.models.prm_name, run.models.revision, seconds, graded,
    )


def _write_json(path: Path, summaries: Sequence[Summary], baseline: Summary | None, asked: str) -> None:
    """One object for one strategy, the baseline inside it; a list for several."""
    rows = {summary.strategy: summary.as_json(baseline) for summary in summaries}
    written: Any = list(rows.values())
    if asked in rows:
        written = rows[asked]
        if baseline is not None and asked != baseline.strategy:
            written["baseline"] = rows[baseline.strategy]
    path.write_text(json.dumps(written, indent=2) + "\n")


def _resume_command(run: Run) -> str:
    words = [word for word in sys.argv[1:] if word != "--resume"]
    out = [] if "--out" in words else ["--out", str(run.out)]
    return " ".join(["python -m search.run", *words, *out, "--resume"])


def _setting(text: str) -> tuple[str, str]:
    knob, equals, value = text.partition("=")
    if not equals or not knob or not value:
        raise UsageError(f"--set takes KNOB=VALUE, not {text!r}")
    return knob, value


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
