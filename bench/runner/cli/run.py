"""python -m search.run: one strategy, or several, over a task's problems."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from time import perf_counter
from typing import Any

from rich.console import Console

from bench.report.summary import Graded, Summary
from bench.runner.cli.display import Live, Transcript, progress
from bench.runner.cli.options import DEBUG
from bench.runner.cli.report import report, resume_command, say
from bench.runner.models import Models, NoScorer, load_models
from bench.runner.request import Run, check
from bench.tasks.code import CodeTask
from bench.tasks.tests_scorer import TestsScorer
from search.engine import Outcome, solve
from search.errors import PolicyError, SearchError
from search.params import params
from search.types import Problem, Step


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code; see --help."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    console = Console()
    run: Run | None = None
    with _quiet_libraries(), _notes() as notes:
        try:
            run = check(words)
            if run.asked.print_prompt:
                sys.stdout.write(run.models.shown_prompt(run.examples[0].problem))
                return 0
            if run.asked.engine is None and run.models.engine == "hf":
                say(notes, "vLLM is not installed: running on transformers, which is slower", "yellow")
            if run.asked.question is not None:
                outcome = asyncio.run(_answer(run, console, notes))
                return 0 if outcome.error is None else 1
            summaries = asyncio.run(_solve_all(run, notes))
            return report(run, summaries, console, notes)
        except SearchError as error:  # a problem's own stay with the problem: this one is everybody's
            if os.environ.get(DEBUG):
                notes.print_exception()
            say(notes, "error: " + " ".join(str(error).split()), "red")
            return 2
        except KeyboardInterrupt:
            if run is None or run.asked.question is not None:
                say(notes, "\ninterrupted")
            else:
                say(notes, f"\ninterrupted; to go on where it stopped:\n{resume_command(run)}")
            return 130


@asynccontextmanager
async def _loaded(run: Run, notes: Console) -> AsyncIterator[Models]:
    """The models, closed at the end; with a word on how long they took."""
    start = perf_counter()
    with notes.status(f"loading {run.models.described}"), _interruptible():
        models = await load_models(run.models)
    try:
        say(notes, f"{run.models.described}: ready in {perf_counter() - start:.0f} s")
        yield models
    finally:
        await models.close()


async def _solve_all(run: Run, notes: Console) -> list[Summary]:
    if run.asked.resume and (recorded := await replay(run)):
        say(notes, "all of it is recorded: no model was loaded")
        return recorded
    async with _loaded(run, notes) as models:
        return [await solve_with(models, run, name, notes) for name in run.strategies]


class _NoModels(NoScorer):
    """In place of the models while a run is replayed: what is not recorded fails."""

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        raise PolicyError("not recorded")


async def replay(run: Run) -> list[Summary] | None:
    """The run as it is recorded; None if something is missing."""
    nothing, quiet = Models(_NoModels(), _NoModels()), Console(stderr=True, quiet=True)
    summaries = []
    for name in run.strategies:
        summaries.append(await solve_with(nothing, run, name, quiet))
        if summaries[-1].failed:
            return None
    return summaries


async def solve_with(models: Models, run: Run, name: str, notes: Console) -> Summary:
    """Run the strategy `name` over all problems; grade what is finished while the others go on."""
    by_id = {example.problem.id: example for example in run.examples}
    start = perf_counter()
    trace = run.trace(name)
    scorer = models.scorer
    if run.public_tests and isinstance(run.task, CodeTask):
        scorer = TestsScorer(run.task, None if run.models.prm is None else scorer)

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
                scorer, seed=run.seed, limits=run.limits, lengths=run.lengths, answers=run.task,
                concurrency=run.asked.concurrency, trace=trace, watch=live.watch,
            )
            async with aclosing(outcomes):
                grading = [asyncio.create_task(grade(outcome)) async for outcome in outcomes]
            graded = await asyncio.gather(*grading)
    finally:
        trace.close()
    return Summary(
        name, params(run.strategies[name]), run.task.name, run.seed, run.models.policy_name,
        run.prm_name, run.models.revision, perf_counter() - start, graded,
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
            limits=run.limits, lengths=run.lengths, answers=run.task, watch=transcript.watch,
        )
        [outcome] = [outcome async for outcome in outcomes]
        transcript.end(outcome)
    return outcome


@contextmanager
def _notes() -> Iterator[Console]:
    """Standard error by another descriptor: what starts an engine turns the first ones aside meanwhile."""
    with os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding) as stream:
        yield Console(file=stream)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C through at once: asyncio would wait for its turn, and loading leaves it none."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # it is in a shell's background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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


if __name__ == "__main__":
    sys.exit(main())
