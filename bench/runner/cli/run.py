"""python -m search.run: one strategy, or several, over a task's problems."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from rich.console import Console

from bench.report.summary import Summary
from bench.runner.checkpoints import BUILTIN_POLICIES
from bench.runner.cli.display import ProgressLines, Transcript, progress
from bench.runner.cli.options import CommandLine, parse
from bench.runner.cli.recorded import write_command
from bench.runner.cli.report import report, resume_command, say
from bench.runner.cli.session import loaded, run_command, solving
from bench.runner.execute import answer, execute, replay
from bench.runner.request import Run
from search.command import Exit
from search.errors import UnavailableError

BUILTIN_KNOWS = "the built-in models know only problems like those that their task generates"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code; see --help."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    console = Console()
    return run_command(lambda notes: _run(parse(words), console, notes))


def _run(line: CommandLine, console: Console, notes: Console) -> int:
    run = line.request.validate()
    if line.print_prompt:
        sys.stdout.write(run.policy.shown_prompt(run.examples[0].problem))
        return Exit.DONE
    if not line.engine_named and run.policy.engine == "hf":
        say(notes, "vLLM is not installed: running on transformers, which is slower", "yellow")
    for warning in run.warnings:
        say(notes, f"warning: {warning}", "yellow")
    is_question = line.request.question is not None
    try:
        if is_question:
            return asyncio.run(_answer(run, console, notes))
        return report(line, run, asyncio.run(_execute(line, run, notes)), console, notes)
    except (KeyboardInterrupt, UnavailableError) as error:
        resume = "" if is_question else f"; to continue where it stopped:\n{resume_command(run)}"
        say(notes, f"\n{'stopped' if isinstance(error, UnavailableError) else 'interrupted'}{resume}")
        raise


async def _execute(line: CommandLine, run: Run, notes: Console) -> list[Summary]:
    if run.request.resume and (recorded := await replay(run)):
        say(notes, "all of it is recorded: no model was loaded")
        return recorded
    async with solving(run, notes) as models:
        write_command(run.out, line.words)  # not before: a run whose models do not load leaves nothing behind
        with progress(notes) as shown:
            return await execute(run, models, ProgressLines(shown))


async def _answer(run: Run, console: Console, notes: Console) -> int:
    """Solve the one question, printing the search as it happens."""
    builtin = run.policy.name in BUILTIN_POLICIES
    transcript = Transcript(console, BUILTIN_KNOWS if builtin else "")
    async with loaded(run, notes) as models:
        transcript.question(run.examples[0].problem)
        outcome = await answer(run, models, transcript)
        fallback = outcome.answer is not None and run.task.falls_back(outcome.answer_text)
        transcript.end(outcome, fallback=fallback)
    return Exit.DONE if outcome.error is None else Exit.FAILED
