"""Preference trees from the traces of searches, with solutions graded by the task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.report.recorded import RecordedRun, RecordedTree, read_trace
from bench.report.sides import Graders
from bench.runner.collect import parses
from bench.tasks import CODE_TASKS
from bench.tasks.code import with_def
from prm.preference.counts import Decontamination
from prm.preference.files import write_trees
from prm.preference.from_episodes import turns_of_episodes
from prm.preference.from_search import Tally, turns_of
from prm.preference.tree import PreferenceTree, Turn, instruction_id, tree_id
from search.environments.messages import code_blocks
from search.errors import UsageError
from search.node import Node


@dataclass(frozen=True, slots=True)
class FromTracesRequest:
    """traces: of strategies, as `search.run` writes them. out: a folder."""

    traces: tuple[Path, ...]
    out: Path


def trees_from_traces(request: FromTracesRequest) -> None:
    """Write the preference trees of the traces, and print what there is. Raises UsageError."""
    from rich.progress import Progress

    tally, guard = Tally(), Decontamination()
    trees, searches, test_of = list[PreferenceTree](), 0, set[str]()
    with Progress(transient=True) as progress, ThreadPoolExecutor() as threads:
        for path in request.traces:
            run = read_trace(path)
            made = _Maker(run, tally, guard)
            if made.is_test:
                test_of.add(str(run.config["task"]))
            searches += len(run.trees)
            # Graded in threads, for answers to programs are run; put together in order.
            grades = threads.map(made.grades, run.trees.values())
            pairs = zip(run.trees.values(), grades, strict=True)
            for tree, graded in progress.track(pairs, total=len(run.trees), description=path.name):
                trees += made.tree(tree, graded)
    facts = {
        "searches": searches, "searches_without_a_tree": searches - len(trees),
        "left_out": tally.report(), "split_guard": guard.report(), "test_problems_of": sorted(test_of),
    }  # fmt: skip
    print(guard.describe())
    if not trees:
        raise UsageError("no fork of these searches has a right and a wrong side: there is no pair to make")
    counts = write_trees(request.out, trees, facts)
    shown = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in tally.report().items() if n)
    print(f"{searches:,} searches; left out or noted: {shown or 'nothing'}")
    print(f"\n{counts.describe()}\n\n{request.out}")
    for task in sorted(test_of):
        print(f"warning: these are test problems of the task {task}; whoever trains on them cannot report it")


class _Maker:
    """Makes the preference trees of one trace. Raises UsageError if its episodes had no verdicts."""

    def __init__(self, run: RecordedRun, tally: Tally, guard: Decontamination):
        self._run, self._tally, self._guard = run, tally, guard
        episodes = run.config.get("episodes")
        self._is_episodes = episodes is not None
        if episodes is not None and not episodes["verdicts"]:
            raise UsageError(
                f"{run.path} holds episodes without verdicts, so no turn of them is right or wrong: "
                "record them with --verdicts"
            )
        self._graders = Graders(run)
        self._task = str(run.config["task"])
        self.is_test = self._graders.task.test_only or not run.config.get("data")
        """Whether these are test problems of the task. A file of some tasks may hold training problems."""

    def grades(self, tree: RecordedTree) -> dict[Node, bool]:
        """Whether each finished solution is right; equal ones are graded once. Episodes hold verdicts."""
        if self._is_episodes:
            return {}
        answers = self._graders.task.answers(self._graders.examples[tree.problem].problem)
        leaves = [leaf for leaf in tree.solutions if leaf.duplicate_of is None]
        read = {leaf: answers.extract(leaf.answer_text) for leaf in leaves}
        known = {answer: self._graders.grade(tree.problem, answer) for answer in set(read.values())}
        return {leaf: known[answer] for leaf, answer in read.items()}

    def tree(self, tree: RecordedTree, grades: dict[Node, bool]) -> list[PreferenceTree]:
        """The tree, if there is one."""
        question = self._graders.examples[tree.problem].problem.question
        if not self._guard.allows(instruction_id(question), question):
            return []
        if self._is_episodes:
            turns = turns_of_episodes(tree.root, self._is_attempt(tree.problem), self._tally)
        else:
            turns = turns_of(tree.root, grades, self._is_wrong(tree.problem), self._tally)
        if not any(turn.is_pair for turn in turns):
            return []
        key = f"{'episodes ' if self._is_episodes else ''}{self._run.strategy} {self._run.config.get('seed')}"
        return [
            PreferenceTree(
                tree_id(question, key), instruction_id(question), self._kind(turns), self._task, question,
                turns,
            )
        ]  # fmt: skip

    def _kind(self, turns: Sequence[Turn]) -> str:
        """UltraInteract's word for the task. In episodes, code of a mathematical solution is run."""
        if self._task in CODE_TASKS:
            return "Coding"
        actions = [text for turn in turns for text in (turn.correct, turn.incorrect) if text is not None]
        return "Math_PoT" if self._is_episodes and any(map(code_blocks, actions)) else "Math_CoT"

    def _is_wrong(self, problem: str) -> Callable[[Node], bool] | None:
        """Whether a step up to a node is wrong, where the task checks steps."""
        task, example = self._graders.task, self._graders.examples[problem]
        if not task.checks_steps:
            return None
        return lambda node: min(task.step_labels(example.problem, [step.text for step in node.steps])) < 0

    def _is_attempt(self, problem: str) -> Callable[[str], bool]:
        """Whether a message is an attempt: its code is Python, and there is a program where one is asked for.

        The paper drops actions whose code is not Python.
        """
        if self._task not in CODE_TASKS:
            return lambda message: all(map(parses, code_blocks(message)))
        answers = self._graders.task.answers(self._graders.examples[problem].problem)

        def is_attempt(message: str) -> bool:
            return all(map(parses, _programs(message))) and answers.extract(message) is not None

        return is_attempt


def _programs(message: str) -> list[str]:
    """The code of a message that is to hold a program: its blocks, or else all of it.

    It may go on behind a "def" or in a block that the prompt begins.
    """
    text = with_def(message)
    whole = text.partition("\n```")[0] if text.count("```") == 1 else text
    return code_blocks(message) or [whole]
