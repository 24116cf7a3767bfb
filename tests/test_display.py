"""What a person sees while a search runs: the transcript of one problem, and the progress lines."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from bench.report.summary import Graded
from bench.runner.cli.display import ProgressLines, Transcript, progress
from search.engine import Outcome, solve_all
from search.limits import Cost, Events
from search.node import Node, TreeEvent
from search.strategies.hgs import HGS
from search.types import Problem
from tests.fakes import BAD, MEH, ScriptedPolicy, ScriptedScorer


def test_the_transcript_is_a_picture_of_the_search() -> None:
    script = {"": ["go [1],", "no,", "yes."], "go [1],": ["x,", "x,", "y~"], "no,": ["stop."]}
    scores = {"x,": BAD, "no,": MEH, "stop.": BAD}
    console = Console(width=60, file=StringIO(), record=True)
    transcript = Transcript(console)
    policy, scorer = ScriptedPolicy(script), ScriptedScorer(scores)
    [outcome] = solve_all([Problem("q", "?")], HGS(width=3), policy, scorer, watch=transcript.event)
    assert outcome.text == "yes."
    assert [line.rstrip() for line in console.export_text().splitlines()] == [
        "  + go [1],  (0.90)",
        "    - x,  (0.10, rejected)",
        "    - x,  (0.10, duplicate)",
        "    + y~  (0.90, cut: length)",
        "  <- nothing left to try after step 1: back",
        "  0 no,  (0.80)",
        "  + yes.  (0.90)",
    ]
    transcript.end(outcome)
    assert "answer: yes.\n" in console.export_text()
    transcript.end(outcome, fallback=True)
    assert "answer: yes. (by fallback: the solution states no answer)" in " ".join(
        console.export_text().split()
    )
    console = Console(width=60, file=StringIO(), record=True)
    script = {"": ["no,", "bad,"], "no,": ["bad.", "bad."], "bad,": ["end."]}
    policy, scorer = ScriptedPolicy(script), ScriptedScorer({"no,": MEH, "bad,": BAD, "bad.": BAD})
    [outcome] = solve_all([Problem("q", "?")], HGS(width=2), policy, scorer, watch=Transcript(console).event)
    assert outcome.text == "no,bad."
    assert [line.rstrip() for line in console.export_text().splitlines()] == [
        "  0 no,  (0.80)",
        "  - bad,  (0.10, rejected)",
        "  -> continue from: no,",
        "    - bad.  (0.10, rejected)",
        "    - bad.  (0.10, duplicate)",
        "  <- nothing left to try after step 1: back",
        "<- nothing left to try after the question: back",
    ]


def test_a_solution_without_an_accepted_step_is_said_to_be_one() -> None:
    for score, last in ((BAD, "of this solution as wrong; they know sums"), (MEH, " s")):
        console = Console(width=200, file=StringIO(), record=True)
        transcript = Transcript(console, "they know sums")
        policy, scorer = ScriptedPolicy({"": ["8."] * 2}), ScriptedScorer({"8.": score})
        [outcome] = solve_all([Problem("q", "?")], HGS(width=2), policy, scorer, watch=transcript.event)
        transcript.end(outcome)
        assert console.export_text().strip().endswith(last)


def graded(correct: bool) -> Graded:
    return Graded(Outcome(Problem("", ""), (), None, None, Cost(), Events(), 0.0), correct)


def test_the_progress_line_fits_a_terminal_and_is_quiet_elsewhere() -> None:
    terminal = Console(width=80, force_terminal=True, record=True, file=StringIO())
    with progress(terminal) as shown:
        lines = ProgressLines(shown)
        lines.begin("self_consistency", 1000)
        for index in range(999):
            lines.event(Problem("", ""), TreeEvent.BACKTRACK, Node((), None, None))
            lines.graded(graded(index % 2 == 0))
        shown.refresh()
    [*_, drawn] = terminal.export_text().strip().split("self_consistency")  # it draws over itself
    assert "999/1000 50.1% right, 0 tok/s, 999 backtracks" in drawn
    assert len("self_consistency" + drawn) <= 80
    pipe = Console(width=80, force_terminal=False, record=True, file=StringIO())
    with progress(pipe) as shown:
        lines = ProgressLines(shown)
        lines.begin("cot", 2)
        lines.graded(graded(True))
    assert pipe.export_text() == ""
