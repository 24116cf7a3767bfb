"""How fast a large report opens: traces of many problems and cells, their report.html, and Chromium."""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from bench.report.diagnosed import diagnosed
from bench.report.html import write_html
from bench.report.html.folder import read_folder
from bench.tasks.generated.problems import WordProblem, generate
from search.errors import UsageError
from search.strategies import STRATEGIES

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TRIES = 5


@dataclass(frozen=True, slots=True)
class HtmlSizeRequest:
    """problems: of the built-in task. cells: traces. solutions: sampled for a problem in each of them."""

    problems: int = 1319
    cells: int = 20
    solutions: int = 2


@dataclass(frozen=True, slots=True)
class Opened:
    """Megabytes of the traces and of the report; seconds to write it.

    opened: seconds to open it, beyond an empty page, on the clock and of the processor, each the median of
        some tries; None without a browser.
    """

    traces_mb: float
    report_mb: float
    written: float
    opened: tuple[float, float] | None


def measure(request: HtmlSizeRequest) -> Opened:
    """Make the traces in a temporary folder, write their report, open it. Raises UsageError."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        make_traces(folder, request)
        size = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
        report, start = folder / "report.html", perf_counter()
        write_html(diagnosed(read_folder(folder)), report)
        written = perf_counter() - start
        return Opened(size / 1e6, report.stat().st_size / 1e6, written, _seconds_to_open(report))


def make_traces(folder: Path, request: HtmlSizeRequest) -> None:
    """Write one trace for each cell. Texts are worked solutions, some with mistakes; scores are random."""
    problems = list(generate("test", 0, request.problems))
    for cell in range(request.cells):
        _write_trace(folder / f"{_name(cell)}.jsonl", problems, cell, request.solutions)


def _name(cell: int) -> str:
    names = list(STRATEGIES)
    return names[cell] if cell < len(names) else f"{names[cell % len(names)]}-{cell // len(names) + 1}"


def _write_trace(path: Path, problems: Sequence[WordProblem], cell: int, solutions: int) -> None:
    """A trace as best-of-N writes it; the larger the number of the cell, the fewer mistakes."""
    rng = random.Random(cell)
    config = {
        "strategy": path.stem, "task": "builtin", "data": "", "seed": 0, "params": {}, "policy": "made up",
    }  # fmt: skip
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"event": "run", "config": config}) + "\n")
        for event in _events(problems, rng, 0.02 + 0.2 / (1 + cell), solutions):
            file.write(json.dumps(event) + "\n")


def _events(
    problems: Sequence[WordProblem], rng: random.Random, mistakes: float, solutions: int
) -> Iterator[dict[str, Any]]:
    for problem in problems:
        yield {"event": "problem", "problem": problem.id, "digest": "0"}
        for number in range(solutions):
            at = [number] + [0] * (len(problem.steps) - 1)
            steps = [_with_mistakes(step, rng, mistakes) for step in problem.steps]
            rows = [
                [f"{text}\n", [rng.randrange(32_000) for _ in range(23)], -rng.random(), "step", 23]
                for text in steps
            ]
            rows[-1][3] = "end"
            scores = [[1 - p, 0.0, p] for p in (round(rng.random(), 4) for _ in steps)]
            yield {"event": "sample", "problem": problem.id, "at": [number], "steps": rows,
                   "spent": {"policy_tokens": 23 * len(rows)}}  # fmt: skip
            yield {"event": "score", "problem": problem.id, "at": at, "num_scored": 0, "scores": scores,
                   "spent": {"prm_tokens": 23 * len(rows)}}  # fmt: skip
        answer = steps[-1].removeprefix("The answer is ").removesuffix(".")
        yield {"event": "chosen", "problem": problem.id, "at": at, "answer": answer}


def _with_mistakes(step: str, rng: random.Random, mistakes: float) -> str:
    return "".join(
        str(rng.randrange(10)) if letter.isdigit() and rng.random() < mistakes else letter for letter in step
    )


def _seconds_to_open(report: Path) -> tuple[float, float] | None:
    """Until Chromium has drawn the page, without what it takes to start and to draw an empty one.

    A busy machine makes the clock's seconds long and leaves those of the processor as they are.
    """
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        return None
    empty = report.with_name("empty.html")
    empty.write_text("<!doctype html><title>empty</title>\n", encoding="utf-8")
    pairs = [(_draw(program, report), _draw(program, empty)) for _ in range(TRIES)]
    clock, processor = (median(page[n] - blank[n] for page, blank in pairs) for n in (0, 1))
    return clock, processor


def _draw(program: str, page: Path) -> tuple[float, float]:
    picture, start, used = page.with_name("page.png"), perf_counter(), _processor_seconds()
    with TemporaryDirectory() as profile:
        done = subprocess.run(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={profile}", f"--screenshot={picture}", page.as_uri()],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = perf_counter() - start, _processor_seconds() - used
    if done.returncode or not picture.exists():
        raise UsageError(f"{program} does not draw a page: {done.stderr[-300:]}")
    return seconds


def _processor_seconds() -> float:
    """Of the programs that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
