"""A run of one strategy as a stage of a recipe: finished, or else an error that says how to go on."""

from __future__ import annotations

from bench.report.summary import Summary
from bench.runner.execute import RunWatch, execute, replay
from bench.runner.models import load_run
from bench.runner.request import Run
from search.errors import UnavailableError


async def finished(run: Run) -> Summary:
    """Execute what the run's trace does not hold whole yet; models are loaded only for that.

    Raises UnavailableError if problems failed: the same command tries them again.
    """
    summaries = await replay(run) if run.request.resume else None
    name = run.out.name
    print(f"{name}: {'solving' if summaries is None else 'already done'}")
    if summaries is None:
        async with load_run(run) as models:
            summaries = await execute(run, models, RunWatch())
    [summary] = summaries
    if failed := summary.failed:
        raise UnavailableError(
            f"{run.out}: {len(failed)} problems failed, the first with: {failed[0].error}; the same command "
            "tries them again"
        )
    return summary
