"""What a person sees while a search runs: a progress line, or one problem's search as it happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from bench.report.summary import Graded
from bench.runner.execute import RunWatch
from search.engine import Outcome
from search.node import Node, TreeEvent
from search.types import Label, Problem, Step, Stop

MARKS = {Label.POSITIVE: ("+", "green"), Label.NEUTRAL: ("0", "yellow"), Label.NEGATIVE: ("-", "red")}
REFRESH_S = 0.2


class ProgressLines(RunWatch):
    """A line for each strategy: problems done, accuracy, tokens per second, backtracks and time left."""

    def __init__(self, progress: Progress):
        self._progress = progress

    def begin(self, strategy: str, problems: int) -> None:
        self._start, self._shown = perf_counter(), 0.0
        self._task = self._progress.add_task(strategy, total=problems, facts="")
        self._done = self._correct = self._tokens = self._backtracks = 0

    def event(self, problem: Problem, event: TreeEvent, node: Node) -> None:
        if event is TreeEvent.SAMPLE and node.step is not None:
            self._tokens += node.step.n_tokens
        elif event is TreeEvent.BACKTRACK:
            self._backtracks += 1
        if perf_counter() - self._shown > REFRESH_S:
            self._show()

    def graded(self, graded: Graded) -> None:
        self._done += 1
        self._correct += graded.correct
        self._show()

    def _show(self) -> None:
        self._shown = perf_counter()
        right = f"{self._correct / self._done:.1%}" if self._done else "-"
        rate = self._tokens / max(1e-9, self._shown - self._start)
        facts = f"{right} right, {rate:,.0f} tok/s, {self._backtracks:,} backtracks"
        self._progress.update(self._task, completed=self._done, facts=facts)


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    """A progress display, quiet when `console` is not a terminal."""
    bar = BarColumn(max(4, min(24, console.width - 76)))
    columns = (
        TextColumn("{task.description}"), bar, MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"), TimeRemainingColumn(compact=True),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        yield shown


@contextmanager
def counting(console: Console, name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress line for work that counts; yields what takes the count."""
    with progress(console) as shown:
        task = shown.add_task(name, total=total, facts="")
        yield lambda done: shown.update(task, completed=done)


class Transcript(RunWatch):
    """Prints one problem's search: each step with its score, rejections and backtracks.

    knows: what the models can do, to be said if no step of the solution is accepted.
    """

    def __init__(self, console: Console, knows: str = ""):
        self._console, self._knows = console, knows
        self._waiting: dict[Node, None] = {}
        self._scored: Node | None = None
        self._accepted = True  # whether a step of the chosen solution is scored as not wrong
        self._here: set[Node] = set()  # nodes after which the next step needs no explanation

    def question(self, problem: Problem) -> None:
        """Print the question, before its search begins."""
        self._console.print(Text(problem.question, "bold"))
        self._console.print(
            Text("\n+ positive, 0 neutral, - negative; in brackets: P(the step is not wrong)\n", "dim")
        )

    def end(self, outcome: Outcome, *, fallback: bool = False) -> None:
        """Print the answer and the cost. fallback: whether the solution states no answer, see `Graded`."""
        if self._scored is not None:  # nothing followed it: the search failed
            self._print(self._scored)
        cost, events = outcome.cost, outcome.events
        if outcome.error:
            self._console.print(Text(f"\nfailed: {outcome.error}", "red"))
        else:
            self._console.print(Text.assemble("\nsolution:\n", _solution(outcome.steps)))
            answer = "none" if outcome.answer is None else outcome.answer
            read = Text(" (by fallback: the solution states no answer)", "yellow") if fallback else Text()
            self._console.print(Text.assemble("\n", (f"answer: {answer}", "bold"), read))
        facts = (
            f"{cost.samples:,} samples, {cost.policy_tokens:,} policy tokens "
            f"({cost.policy_tokens_discarded:,} discarded), {cost.prm_tokens:,} reward-model tokens "
            f"({cost.prm_tokens_cached:,} more from the cache), {events.backtracks:,} backtracks, "
            f"{outcome.seconds:.1f} s"
        )
        self._console.print(Text(facts, "dim"))
        if not self._accepted:
            fault = "no step was accepted: the reward model scores every step of this solution as wrong"
            self._console.print(Text(f"{fault}; {self._knows}" if self._knows else fault, "yellow"))

    def event(self, problem: Problem, event: TreeEvent, node: Node) -> None:
        if self._scored is not None:
            self._print(self._scored, rejected=event is TreeEvent.REJECT and node is self._scored)
            self._scored = None
        if event is TreeEvent.SAMPLE:
            self._waiting[node] = None  # printed with its score, if one follows
        elif event is TreeEvent.SCORE:
            self._waiting.pop(node, None)
            self._scored = node  # printed with what follows: it may be rejected
        elif event is TreeEvent.BACKTRACK:
            self._flush()
            at = "the question" if node.parent is None else f"step {len(node.path)}"
            self._line(node, Text(f"<- nothing left to try after {at}: back", "magenta"))
            self._here = {node.parent or node}
        elif event is TreeEvent.FAIL:
            self._waiting.pop(node, None)
            self._line(node, Text(f"x lost: {node.failed}", "red"))
        elif event is TreeEvent.CHOSEN:
            self._flush()
            scored = [n for n in node.path if n.score is not None]
            self._accepted = not scored or any(n.label is not Label.NEGATIVE for n in scored)

    def _flush(self) -> None:
        for node in self._waiting:
            self._print(node)
        self._waiting.clear()

    def _print(self, node: Node, *, rejected: bool = False) -> None:
        assert node.step is not None and node.parent is not None
        if self._here and node.parent not in self._here:
            after = "the question" if node.parent.step is None else node.parent.step.text.strip()
            self._line(node.parent, Text(f"-> continue from: {after}", "magenta"))
        self._here = {node, node.parent}
        mark, colour = (".", "dim") if node.score is None else MARKS[node.label]
        notes = [] if node.score is None else [f"{node.value:.2f}"]
        if node.step.stop not in (Stop.STEP, Stop.END):
            notes.append(f"cut: {node.step.stop.value}")
        if node.duplicate_of is not None:
            notes.append("duplicate")
        if rejected:
            notes.append("rejected")
        self._line(node, Text.assemble(
            (mark, colour), " ",
            (node.step.text.strip() or "(the end)", "dim" if rejected else ""),
            (f"  ({', '.join(notes)})" if notes else "", "dim"),
        ))  # fmt: skip
        if node.step.observation is not None and node.step.observation.text:
            self._line(node, Text.assemble("  ", (node.step.observation.text.strip(), "cyan")))

    def _line(self, node: Node, text: Text) -> None:
        depth = min(2 * len(node.path), self._console.width // 3)
        self._console.print(Padding(text, (0, 0, 0, depth), expand=False))


def _solution(steps: Sequence[Step]) -> Text:
    """A solution; if it is an episode, with what the environment answered to each turn."""
    parts = [(step.text, "" if step.observation is None else step.observation.text) for step in steps]
    if not any(answer for _, answer in parts):
        return Text("".join(text for text, _ in parts).strip() or "(none)")
    shown = Text()
    for text, answer in parts:
        shown.append(f"{text.strip()}\n").append(f"{answer.strip()}\n" if answer else "", "cyan")
    return shown
