from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.builtin.programs import HIDDEN, PUBLIC, SPLITS, generate_programs, split_of
from bench.tasks import TASKS
from bench.tasks.builtin_code import BuiltinCode, case_of
from mutation.mutate import mutants
from mutation.sandbox import Sandbox
from search.errors import UsageError
from search.segment import SEGMENTERS
from tests.sandboxed import why_not


def test_the_same_seed_gives_the_same_problems_and_splits_share_none() -> None:
    programs: dict[str, set[str]] = {}
    for split in SPLITS:
        problems = generate_programs(split, 0, 150)
        assert problems == generate_programs(split, 0, 150)[:150]
        assert [p.id for p in generate_programs(split, 0, 30)] == [p.id for p in problems[:30]]
        assert all(split_of(p.function) == split for p in problems)
        programs[split] = {p.function.reference for p in problems}
        assert len(programs[split]) == 150
    other = {p.function.reference for p in generate_programs("train", 1, 150)}
    assert not programs["test"] & (programs["train"] | other | programs["validation"])
    with pytest.raises(ValueError, match="split"):
        generate_programs("all", 0, 1)


def test_there_are_enough_test_problems_of_every_length() -> None:
    problems = generate_programs("test", 0, 500)
    assert len({p.id for p in problems}) == 500
    assert min(Counter(p.n_steps for p in problems).values()) > 20


def test_a_problem_reads_like_this() -> None:
    problem = generate_programs("train", 0, 1)[0]
    assert problem.question.startswith("Write f(xs, n): of the numbers in xs")
    (xs, n), want = problem.public[0]
    assert f"f({xs}, {n}) is {want}." in problem.question
    assert len(problem.public) == PUBLIC and len(problem.hidden) == HIDDEN
    shown = {str(arguments) for arguments, _ in problem.public}
    assert not shown & {str(arguments) for arguments, _ in problem.hidden}
    assert len(SEGMENTERS["python"].split(problem.function.reference)) == problem.n_steps


def test_references_pass_and_most_mutants_do_not() -> None:
    if reason := why_not():
        pytest.skip(reason)
    problems = generate_programs("train", 0, 60)
    suites = [case_of(p).hidden[""] for p in problems]
    with Sandbox(workers=2) as box:
        verdicts = list(box.run_all(zip([p.function.reference for p in problems], suites, strict=True)))
        assert all(v.passed for v in verdicts)
        jobs = [
            (mutant.code, suite) for p, suite in zip(problems[:10], suites, strict=False)
            for mutant in mutants(p.function.reference, most=15)
        ]  # fmt: skip
        passed = [v.passed for v in box.run_all(jobs)]
    assert sum(passed) < 0.25 * len(passed)


def test_the_task() -> None:
    if reason := why_not():
        pytest.skip(reason)
    task = TASKS["builtin-code"]()
    assert isinstance(task, BuiltinCode)
    examples = task.load(None, 5)
    problems = generate_programs("test", 0, 5)
    assert [e.problem.question for e in examples] == [p.question for p in problems]
    for example, problem in zip(examples, problems, strict=True):
        answers = task.about(example.problem)
        program = answers.extract(problem.function.reference)
        assert task.grade(program, example.reference).correct
        assert not task.grade("def f(xs, n):\n    return 0\n", example.reference).correct
        assert example.group == f"{problem.n_steps} steps"
    with pytest.raises(UsageError, match="--data"):
        task.load(Path("problems.jsonl"), None)
