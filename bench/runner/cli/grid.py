"""python -m bench.run: strategies x budgets x seeds, compared at equal cost."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from time import strftime

from rich.console import Console

from bench.report.diagnosed import diagnosed
from bench.report.grid import ASKED, DEFAULT, Grid, read_asked, read_grid
from bench.report.grid_page import write_page
from bench.report.html import write_html
from bench.report.parquet import write_parquet
from bench.runner.budget import Budget, parse_budget
from bench.runner.cli.display import progress
from bench.runner.cli.grid_display import GridLines, forecast_lines
from bench.runner.cli.options import Parser, parse, parse_beside
from bench.runner.cli.report import command_line, say
from bench.runner.cli.session import loaded, run_command, solving
from bench.runner.forecast import forecast
from bench.runner.grid import GridRequest, GridRun, execute_grid, replay_grid
from bench.runner.request import BASELINE
from search.command import Exit
from search.errors import UsageError
from search.strategies import STRATEGIES

OPTIONS = (
    "--task", "--problems", "--data", "--limit", "--strict", "--set", "--policy", "--prm", "--engine",
    "--server", "--prm-server", "--prm-engine", "--policy-args", "--prm-args", "--tokenizer", "--prompt",
    "--stop", "--segment", "--repetition", "--step-tokens", "--solution-tokens", "--max-tokens", "--deadline",
    "--temperature", "--top-p", "--dtype", "--no-seeded", "--concurrency", "--ray", "--engines",
    "--policy-gpus", "--prm-gpus", "--cpus", "--episodes", "--turns", "--verdicts", "--critic",
)  # fmt: skip
"""Of `search.run`: the problems, the models, and what holds for every cell."""
BASELINES = ("self_consistency", "best_of_n", BASELINE)
"""With which of the strategies the others are compared: the first that is there."""
WRITTEN = ("report.md", "report.html", "results.parquet")
ONCE = ("--resume", "--replay", "--dry-run", "--out")
"""Not options of the grid, but of how it is run now."""
EITHER = {"--task", "--problems"}
QUICK = ["--limit", "10", "--budget", "1x,4x", "--seeds", "1"]
ABOUT = """\
Which way of spending tokens is best for this policy and this reward model, by how much, and is it more than
noise? Runs every strategy at every budget with every seed on the same problems, and writes a folder: a page
(report.md), every search tree (report.html), one record for each answer (results.parquet), and the traces,
which all other commands read.
Models are loaded once, and solutions that several strategies sample are sampled once.
"""
MORE = f"""\
options of search.run, with the same meaning (python -m search.run --help):
  {" ".join(OPTIONS[:10])}
  {" ".join(OPTIONS[10:19])}
  {" ".join(OPTIONS[19:28])}
  {" ".join(OPTIONS[28:])}

examples:
  python -m bench.run --quick
  python -m bench.run --task gsm8k --strategies self_consistency,best_of_n,hgs --budget 1x,4x --seeds 3
  python -m bench.run --out runs/mine --resume               continue an interrupted grid
  python -m bench.run --out runs/mine --resume --seeds 5     extend it: finished cells are kept
  python -m bench.run --out runs/mine --replay               grade and report again, from the traces

exit codes: 0 done; 1 every problem of a cell failed; 2 the request is wrong, nothing was spent;
130 interrupted: nothing is lost, see --resume.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code; see --help."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda notes: _run(words, notes))


def _run(words: Sequence[str], notes: Console) -> int:
    words = _quick(words)
    now = _parser().parse_known_args(words)[0]
    if find_spec("matplotlib") is None:
        raise UsageError("the picture of the report needs matplotlib: pip install 'prm-search[train]'")
    if (now.resume or now.replay) and now.out is None:
        raise UsageError("--resume and --replay need --out DIR, the grid to continue or to read")
    if now.resume or now.replay:
        words = _merged(read_asked(now.out)["words"], words)
    elif now.out is not None and (now.out / ASKED).exists():
        raise UsageError(f"{now.out} already holds a grid: add --resume or --replay, or give another --out")
    request = _request(words, now.out)
    if now.dry_run and request.base.cluster is not None:  # before it matters whether Ray is there
        raise UsageError("--dry-run measures on this machine: leave --ray out")
    grid = request.validate()
    for warning in grid.base.warnings:
        say(notes, f"warning: {warning}", "yellow")
    out = grid.request.out
    if now.dry_run:
        return asyncio.run(_forecast(grid, notes))
    if now.replay:
        for cell in asyncio.run(replay_grid(grid)):
            say(notes, f"not recorded to its end: {cell}", "yellow")
    elif not grid.is_finished:
        try:
            asyncio.run(_execute(grid, notes))
        except KeyboardInterrupt:
            again = command_line("bench.run", "--out", str(out), "--resume")
            say(notes, f"\ninterrupted; to continue where it stopped:\n{again}")
            raise
    grid.write()  # what is reported may be asked for anew: another baseline, other cells
    return _report(read_grid(out), out, notes)


async def _execute(grid: GridRun, notes: Console) -> None:
    async with solving(grid.base, notes) as models:
        grid.write()  # not before: a grid whose models do not load leaves nothing behind
        with progress(notes) as shown:
            await execute_grid(grid, models, GridLines(grid, shown, notes))


async def _forecast(grid: GridRun, notes: Console) -> int:
    async with loaded(grid.base, notes) as models:
        found = await forecast(grid, models)
    print("\n".join(forecast_lines(grid, found)))
    return Exit.DONE


def _report(grid: Grid, out: Path, notes: Console) -> int:
    if not grid.cells:
        raise UsageError(f"{out}: no cell is finished yet: continue it with --resume")
    write_parquet(grid, out / "results.parquet")
    with notes.status("reading the traces") as status:
        report = diagnosed(grid, lambda what: status.update(f"diagnosing {what}"))
        write_page(report, out)
        write_html(report, out / "report.html", watch=lambda what: status.update(f"report.html: {what}"))
    code = Exit.DONE
    for cell in grid.cells:
        failed = cell.summary.failed
        if failed:
            at = f"{cell.strategy} at {cell.budget}, seed {cell.seed}"
            count = f"{len(failed)} of {len(cell.summary.graded)} problems failed"
            say(notes, f"{at}: {count}; the first, {failed[0].problem.id}: {failed[0].error}", "red")
        if len(failed) == len(cell.summary.graded):
            code = Exit.FAILED
    say(notes, f"written: {', '.join(str(out / name) for name in WRITTEN)}")
    return code


def _request(words: Sequence[str], out: Path | None) -> GridRequest:
    """The grid that the words ask for. Raises UsageError."""
    args, rest = parse_beside(_parser(), words, OPTIONS)
    names = [name.strip() for name in args.strategies.split(",")]
    names = list(dict.fromkeys(n for name in names for n in (STRATEGIES if name == "all" else [name])))
    budgets = tuple(_budget(text.strip()) for text in args.budget.split(","))
    scaling = next((budget for budget in budgets if budget is not None), None)
    scaled = [] if scaling is None else ["--budget", scaling.text]  # so that it is checked against --set
    base = replace(parse([*rest, "--strategy", ",".join(names), *scaled]).request, budget=None)
    known = [name for name in BASELINES if name in base.strategies] or names
    kept = _without(words, set(ONCE))
    where = out or Path("runs") / f"grid-{base.task}-{strftime('%Y%m%d-%H%M%S')}"
    return GridRequest(
        base=base, budgets=tuple(dict.fromkeys(budgets)), seeds=_seeds(args.seeds),
        baseline=args.baseline or known[0], out=where, words=tuple(kept),
        command=shlex.join(["python", "-m", "bench.run", *kept, "--out", str(where)]),
    )


def _budget(text: str) -> Budget | None:
    if text == DEFAULT:
        return None
    try:
        return parse_budget(text)
    except UsageError as error:
        raise UsageError(f"{error}; or {DEFAULT}, the strategies' own parameters") from error


def _seeds(text: str) -> tuple[int, ...]:
    """3 is 0, 1, 2; a list is taken as it is. Raises UsageError."""
    try:
        seeds = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        seeds = ()
    if "," not in text and len(seeds) == 1:
        seeds = tuple(range(seeds[0]))
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds takes a number of seeds, or different ones such as 0,5,7; not {text!r}")
    return seeds


def _quick(words: Sequence[str]) -> list[str]:
    """The words with --quick replaced by what it stands for."""
    if "--quick" not in words:
        return list(words)
    given = {word.partition("=")[0] for word in words}
    return [*_without(QUICK, given), *_without(words, {"--quick"})]


def _merged(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """The words of a recorded grid, with those options replaced that are given now."""
    given = {word.partition("=")[0] for word in now if word.startswith("--")}
    return [*_without(before, given | (EITHER if given & EITHER else set())), *now]


def _without(words: Sequence[str], options: set[str]) -> list[str]:
    """The words without some options and their values."""
    kept, keeps = list[str](), True
    for word in words:
        if word.startswith("--"):
            keeps = word.partition("=")[0] not in options
        if keeps:
            kept.append(word)
    return kept


def _parser() -> argparse.ArgumentParser:
    options = Parser(
        prog="python -m bench.run", description=ABOUT, epilog=MORE, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [--strategies NAMES] [--budget AMOUNTS] [--seeds N] [--quick]\n"
        "       [--out DIR] [--resume | --replay | --dry-run] [options of search.run]",
    )  # fmt: skip
    add = options.add_argument
    add("--strategies", metavar="NAMES", default="all",
        help="with commas between them, or all (default: all); greedy cot is always added")
    add("--budget", metavar="AMOUNTS", default="1x,4x,16x",
        help="what a strategy may spend on a problem, with commas between them: 4x (times the mean cost of "
        "greedy cot), tokens=N, seconds=S, or default, the strategy's own parameters (default: %(default)s)")
    add("--seeds", metavar="N", default="3",
        help="so many seeds from 0 on, or a list such as 0,5,7 (default: %(default)s)")
    add("--baseline", metavar="NAME",
        help="the strategy that others are compared with (default: the first there is of "
        f"{', '.join(BASELINES)})")
    add("--quick", action="store_true", help=f"a first look: {' '.join(QUICK)}, where they are not given")
    add("--out", metavar="DIR", type=Path, help="folder of the grid (default: runs/grid-TASK-DATE-TIME)")
    how = options.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true",
        help="continue the grid in --out, with its options; those given now replace them, so that more "
        "strategies, budgets and seeds extend it")
    how.add_argument("--replay", action="store_true",
        help="read the grid in --out from its traces: grade again and report, without loading models")
    how.add_argument("--dry-run", action="store_true",
        help="write nothing: print how many cells there are, how many tokens they may take, and hours, "
        "measured with the models on a few problems")
    return options
