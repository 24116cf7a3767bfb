"""What a person sees while a search runs: a progress line, or one problem's search as it happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from search.engine import Outcome
from search.tree import Node
from search.types import Label, Problem, Stop

MARKS = {Label.POSITIVE: "[green]+[/]", Label.NEUTRAL: "[yellow]0[/]", Label.NEGATIVE: "[red]-[/]"}


class Live:
    """Problems done, accuracy so far, tokens a second, backtracks and time left, on one line."""

    def __init__(self, progress: Progress, name: str, total: int):
        self._progress, self._start = progress, perf_counter()
        self._task = progress.add_task(name, total=total, facts="")
        self._done = self._correct = self._tokens = self._backtracks = 0

    def watch(self, problem: Problem, event: str, node: Node) -> None:
        """To be handed to `solve`."""
        if event == "sample" and node.step is not None:
            self._tokens += node.step.n_tokens
        elif event == "backtrack":
            self._backtracks += 1

    def finished(self, outcome: Outcome, correct: bool) -> None:
        self._done += 1
        self._correct += correct
        rate = self._tokens / max(1e-9, perf_counter() - self._start)
        facts = (
            f"{self._correct / self._done:6.1%} right  {rate:,.0f} tokens/s  {self._backtracks:,} backtracks"
        )
        self._progress.update(self._task, advance=1, facts=facts)


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    """A progress display, quiet when `console` is not a terminal."""
    columns = (
        TextColumn("{task.description:<17}"), BarColumn(24), MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"), TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        yield shown


class Transcript:
    """Prints one problem's search: each step with its judgement, rejections and backtracks."""

    def __init__(self, console: Console):
        self._console = console
        self._waiting: dict[Node, None] = {}

    def watch(self, problem: Problem, event: str, node: Node) -> None:
        """To be handed to `solve`, with one problem."""
        if event == "sample":
            self._waiting[node] = None  # printed with its judgement, if one follows
        elif event == "judge":
            self._waiting.pop(node, None)
            self._print(node)
        elif event == "backtrack":
            self._flush()
            at = "the beginning" if node.parent is None else f"step {len(node.path)}"
            self._console.print(f"{self._indent(node)}[magenta]<- nothing left after {at}, going back[/]")
        elif event == "chosen":
            self._flush()

    def _flush(self) -> None:
        for node in self._waiting:
            self._print(node)
        self._waiting.clear()

    def _print(self, node: Node) -> None:
        assert node.step is not None
        text = escape(node.step.text.strip() or "(the end)")
        notes = [] if node.step.stop in (Stop.STEP, Stop.END) else [f"cut: {node.step.stop.value}"]
        if node.twin is not None:
            notes.append("said before")
        mark = "[dim].[/]"
        if node.judgement is not None:
            mark = MARKS[node.label]
            if node.label is Label.NEGATIVE:
                text = f"[dim]{text}[/]"
                notes.append("rejected")
            notes.insert(0, f"{node.value:.2f}")
        shown = f"  [dim]({', '.join(notes)})[/]" if notes else ""
        self._console.print(f"{self._indent(node)}{mark} {text}{shown}", highlight=False)

    def _indent(self, node: Node) -> str:
        return "  " * len(node.path)
