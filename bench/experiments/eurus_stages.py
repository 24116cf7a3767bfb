"""The stages of the Eurus loop, each kept in a folder of its own: what is there whole is not made again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.report.candidates import Candidates
from bench.report.recorded import read_trace
from bench.report.reranking import Reranking, rerank
from bench.report.rescoring import score_candidates
from bench.report.sides import Graders
from bench.report.subsets import Pool
from bench.report.summary import Summary
from bench.runner.attempts import recorded_attempts
from bench.runner.collect import ATTEMPTS, CollectRequest, collect_trees
from bench.runner.collect_problems import read_source
from bench.runner.episodes import EpisodeSpec
from bench.runner.finished import finished
from bench.runner.request import Run, RunRequest
from bench.runner.specs import PolicySpec
from bench.tasks.base import Example
from bench.tasks.builtin_code import BuiltinCode, case_of
from bench.tasks.generated.programs import generate_programs
from prm.preference.collection import Attempt, Status
from prm.preference.files import AUGMENTED, PAIRS, SUMMARY, write_trees
from prm.preference.tree import MAX_DEPTH, PreferenceTree, Turn, instruction_id, tree_id
from prm.training import request as training
from prm.training.request import TrainRequest
from prm.training.train import train
from prm.tuning import request as tuning
from prm.tuning.request import Method, TuneRequest
from prm.tuning.tune import tune
from search.limits import LengthLimits
from search.tree import Strategy
from search.types import Answers, Problem

TASK, ENGINE = "builtin-code", "hf"
TURNS = MAX_DEPTH
TOKENS = 96
"""Of an action, at most: the longest reference takes 75."""
TOGETHER = 256
"""Problems at a time: the policy is so small that batches cost little."""
EPISODES = EpisodeSpec(turns=TURNS, verdicts=True, critic="checker")
VALIDATION_SEED = 0
CARD = "README.md"
"""Written last by a training run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """problems: for training. validation: problems that learning rates are chosen on. test: test problems.

    samples: of a turn, at most, when trees are collected. candidates: of a test problem, to be reranked.
    start_epochs: of the start, which is stopped early, so that trees are left to learn from.
    epochs, batch: of every other training; pairs in a step. every: steps between measurements on pairs
        held out.
    held_out: the share of the instructions that those are of.
    """

    problems: int
    validation: int
    test: int
    samples: int
    candidates: int
    start_epochs: float
    epochs: float
    batch: int
    every: int
    held_out: float


@dataclass(frozen=True, slots=True)
class Stages:
    """Makes what is not in `work` yet, and continues what was interrupted."""

    work: Path
    sizes: Sizes

    def collect(self, name: str, policy: str, *, depth: int = MAX_DEPTH, seed: int = 0) -> Path:
        """Preference trees of the training problems, with verdicts and the checker's critiques."""
        out, sizes = self.work / name, self.sizes
        if not self._is_done(out / SUMMARY):
            request = CollectRequest(
                out=out, resume=(out / ATTEMPTS).exists(), task=TASK, limit=sizes.problems,
                actor=PolicySpec(name=policy, engine=ENGINE), samples=sizes.samples, gold_samples=0,
                depth=depth, critic="checker", tokens=TOKENS, seed=seed, concurrency=TOGETHER,
            )  # fmt: skip
            collect_trees(request)
        return out

    def hindsight(self, name: str, collected: Path) -> Path:
        """Trees of several turns, put together from the first turns that a collection recorded."""
        out = self.work / name
        if not self._is_done(out / SUMMARY):
            source = read_source(TASK, None, self.sizes.problems)
            attempts = recorded_attempts(collected / ATTEMPTS)
            made = (hindsight_tree(i.problem, attempts.get(i.problem.id, [])) for i in source.instructions)
            print(write_trees(out, (tree for tree in made if tree is not None), {}).describe())
        return out

    def tune(
        self, name: str, method: Method, base: str, trees: Path, lr: float, *, epochs: float | None = None,
        history: bool = False, turns: int = TURNS,
    ) -> Path:  # fmt: skip
        """A tuned policy. epochs: None is that of all trainings. For the others see `TuneRequest`."""
        out, sizes = self.work / name, self.sizes
        if not self._is_done(out / CARD):
            request = TuneRequest(
                method=method, base=base, data=(str(trees),), out=out, resume=(out / tuning.RUN).exists(),
                turns=turns, history=history, validation_share=sizes.held_out,
                epochs=sizes.epochs if epochs is None else epochs,
                batch=sizes.batch, lr=lr, every=sizes.every,
            )  # fmt: skip
            tune(request)
        return out

    def reward_model(
        self, name: str, base: Path, trees: Path, lr: float, *, direct: Sequence[str] = ("all",),
        direct_only: bool = False,
    ) -> Path:  # fmt: skip
        """A reward model on the pairs of trees, those across turns among them. See `TrainRequest`."""
        out, sizes = self.work / name, self.sizes
        if not self._is_done(out / CARD):
            files = [trees / file for file in (PAIRS, AUGMENTED)]
            request = TrainRequest(
                form="pairs", base=str(base), data=tuple(f"pairs:{file}" for file in files if file.exists()),
                out=out, resume=(out / training.RUN).exists(), direct=tuple(direct), direct_only=direct_only,
                validation_share=sizes.held_out, epochs=sizes.epochs, batch=sizes.batch, lr=lr,
                every=sizes.every,
            )  # fmt: skip
            train(request)
        return out

    def episodes(self, name: str, policy: str, strategy: Strategy, *, validation: bool = False) -> Summary:
        """Episodes of several turns, on test problems or on those that settings are chosen on."""
        lengths = LengthLimits(step_tokens=TOKENS, solution_tokens=TURNS * TOKENS)
        return asyncio.run(self._solved(name, policy, {"cot": strategy}, lengths, EPISODES, validation))

    def searched(self, name: str, policy: str, strategies: dict[str, Strategy]) -> Summary:
        """One message for each test problem, found by a search."""
        return asyncio.run(self._solved(name, policy, strategies, LengthLimits(), None, False))

    async def _solved(
        self, name: str, policy: str, strategies: dict[str, Strategy], lengths: LengthLimits,
        episodes: EpisodeSpec | None, validation: bool,
    ) -> Summary:  # fmt: skip
        out = self.work / name
        run = RunRequest(
            strategies=strategies, task=TASK, limit=1 if validation else self.sizes.test,
            policy=PolicySpec(name=policy, engine=ENGINE), lengths=lengths, episodes=episodes, out=out,
            resume=out.is_dir(), concurrency=TOGETHER,
        ).validate()  # fmt: skip
        if validation:
            run = on_validation(run, self.sizes.validation)
        return await finished(run)

    def reranked(self, trace: Path, prm: Path | None) -> Reranking:
        """The candidates of a trace by N, chosen by a reward model; None: by their votes alone."""
        rows, numbers = candidates_of(trace)
        values: Sequence[Sequence[float | None] | None] = [None] * len(rows)
        if prm is not None:
            scores = self.work / "scores" / f"{prm.name}.jsonl"
            scores.parent.mkdir(exist_ok=True)
            values = score_candidates(rows, str(prm), scores)
        pools = [
            Pool(row.right, number, None if own is None else [-float("inf") if v is None else v for v in own])
            for row, number, own in zip(rows, numbers, values, strict=True)
        ]
        return rerank(pools)

    def _is_done(self, file: Path) -> bool:
        done = file.exists()
        print(f"{file.parent.relative_to(self.work)}: {'already done' if done else 'begins or continues'}")
        return done


def hindsight_tree(problem: Problem, attempts: Iterable[Attempt]) -> PreferenceTree | None:
    """A tree of several turns from actions that were sampled without a history; None without a right one.

    Each wrong action is followed by the observation that answered it, and then by the next one. At the last
    turn the wrong action before it is repeated. So every history ends with a right action.
    """
    made = list(attempts)
    right = next((one.text for one in made if one.status is Status.CORRECT), None)
    wrong = {one.text.strip(): one for one in made if one.status is Status.WRONG}
    if right is None:
        return None
    shown = list(wrong.values())[: MAX_DEPTH - 1]
    turns = [Turn(right, one.text, one.observation) for one in shown]
    turns.append(Turn(right, shown[-1].text if shown else None))
    question = problem.question
    return PreferenceTree(tree_id(question), instruction_id(question), "Coding", TASK, question, tuple(turns))


def on_validation(run: Run, n: int) -> Run:
    """The run on problems of functions that are neither trained on nor tested."""
    assert isinstance(run.task, BuiltinCode)
    problems = generate_programs("validation", VALIDATION_SEED, n)
    run.task.cases |= {problem.id: case_of(problem) for problem in problems}
    return replace(run, examples=[Example(Problem(p.id, p.question), "") for p in problems])


def candidates_of(trace: Path) -> tuple[list[Candidates], list[list[int | None]]]:
    """The sampled solutions of each problem, graded, and by number which of them behave alike.

    One that is unfinished is wrong and has no answer.
    """
    run = read_trace(trace)
    graders = Graders(run)
    rows, numbers = list[Candidates](), list[list[int | None]]()
    for name, tree in run.trees.items():
        problem, reader = graders.examples[name].problem, graders.solutions(tree)
        leaves = sorted((sample.leaf for sample in tree.samples), key=lambda leaf: leaf.address)
        answers = [reader.answer(leaf) for leaf in leaves]
        texts = ["".join(step.text for step in leaf.steps) for leaf in leaves]
        right = [graders.grade(name, answer) for answer in answers]
        rows.append(Candidates(name, problem.question, texts, right, None))
        numbers.append(clusters(answers, graders.task.answers(problem)))
    return rows, numbers


def clusters(found: Sequence[str | None], answers: Answers) -> list[int | None]:
    """By answer, the number of the cluster of equal ones; None for none."""
    firsts, numbers = list[str](), list[int | None]()
    for answer in found:
        if answer is None:
            numbers.append(None)
            continue
        number = next((i for i, first in enumerate(firsts) if answers.equal(first, answer)), len(firsts))
        if number == len(firsts):
            firsts.append(answer)
        numbers.append(number)
    return numbers
