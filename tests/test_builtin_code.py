from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.builtin.program_labels import labelled, labels_by_completion, mutated
from bench.runner.checkpoints import BUILTIN
from bench.runner.execute import RunWatch, execute_strategy
from bench.runner.models import load_run
from bench.tasks import TASKS
from bench.tasks.builtin_code import BuiltinCode, case_of
from bench.tasks.generated.programs import HIDDEN, PUBLIC, SPLITS, generate_programs, split_of
from mutation.label import LabelParams, contradictions
from mutation.mutate import mutants
from mutation.sandbox.sandbox import Sandbox
from search.errors import UsageError
from search.segment import SEGMENTERS
from search.types import Problem, Step, Stop
from tests.resumed import validated
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
        answers = task.answers(example.problem)
        program = answers.extract(problem.function.reference)
        assert task.grade(example.problem, program).correct
        assert not task.grade(example.problem, "def f(xs, n):\n    return 0\n").correct
        assert example.group == f"{problem.n_steps} steps"
    with pytest.raises(UsageError, match="--data"):
        task.load(Path("problems.jsonl"), None)


# -- labels for the policy's own programs --------------------------------------------------------------

REFERENCE = """\
def f(xs, n):
    result = 0
    for x in xs:
        result += x
    return result
""".splitlines()


def behaves(program: str) -> bool:
    """In place of the sandbox: runs only programs of these tests."""
    names: dict[str, Any] = {}
    try:
        exec(program, names)
        return bool(names["f"]([1, 4, 6], 3) == 11 and names["f"]([], 3) == 0)
    except Exception:
        return False


@pytest.mark.parametrize(
    ("changed", "labels"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({3: "        result = result + x"}, [1, 1, 1, 1, 1]),
        ({1: "    result = 7"}, [1, -1, -1, -1, -1]),  # not repaired by starting over
        ({3: "        result -= x"}, [1, 1, 1, -1, -1]),
        ({4: "    return result + n"}, [1, 1, 1, 1, -1]),
        ({3: "        result += x", 4: "    return (result"}, [1, 1, 1, 1, -1]),
        ({1: "    total = 0"}, [1, -1, -1, -1, -1]),
    ],
)
def test_a_program_is_correct_as_long_as_the_reference_can_complete_it(
    changed: dict[int, str], labels: list[int]
) -> None:
    steps = [changed.get(at, line) for at, line in enumerate(REFERENCE)]
    assert labels_by_completion(steps, REFERENCE, behaves) == labels


def test_a_passing_program_may_differ_from_the_reference() -> None:
    steps = ["def f(xs, n):", "    total = 0", "    for x in xs:", "        total += x", "    return total"]
    assert labels_by_completion(steps, REFERENCE, behaves) == [1] * 5
    assert labels_by_completion(steps[:-1], REFERENCE, behaves) == [1, -1, -1, -1]


def test_one_problem_gives_labels_of_both_kinds(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    [problem] = generate_programs("train", 0, 1)
    mutants_ = mutated([problem], "train", tmp_path / "labels.jsonl", LabelParams(most=4))
    assert {s.labels[-1] for s in mutants_} >= {-1, 1} and {s.source for s in mutants_} == {"builtin-code"}
    assert not contradictions(mutants_)
    wrong = next(s for s in mutants_ if s.labels[-1] == -1)
    with Sandbox(workers=1) as box:
        reference = problem.function.reference.splitlines()
        right = labelled(problem, reference, "train", box)
        assert right.labels == (1,) * len(reference) and right.outcome
        steps = [step.strip("\n") for step in wrong.steps]
        again = labelled(problem, [*steps, *reference[len(steps) :]], "train", box)
    assert again.labels == wrong.labels and again.outcome is False


# -- the bundled models --------------------------------------------------------------------------------


def test_every_word_of_the_task_is_one_token() -> None:
    from bench.builtin.tokenizer import build_code_tokenizer, build_tokenizer

    tokenizer = build_code_tokenizer()
    assert tokenizer("\n").input_ids == build_tokenizer()("\n").input_ids  # `prm_loss` relies on it
    for problem in generate_programs("validation", 3, 100):
        text = f"{problem.question}\n{problem.function.reference}"
        assert tokenizer.decode(tokenizer(text).input_ids) == text
        words = re.findall(r" ?[A-Za-z]+|\n|(?<=\n) +| ?[^\sA-Za-z\d]+", text)
        assert all(len(tokenizer(word).input_ids) == 1 for word in words)


def test_the_task_has_its_own_models() -> None:
    if reason := why_not():
        pytest.skip(reason)
    run = validated(["--task", "builtin-code", "--limit", "2"])
    assert Path(run.policy.path) == BUILTIN / "code-policy"
    assert run.prm is not None and run.prm.model is not None and Path(run.prm.model) == BUILTIN / "code-prm"
    assert run.policy.segmenter.name == "python" and run.prm_name == "builtin-code"
    other = validated(["--task", "builtin-code", "--limit", "2", "--segment", "newline", "--prm", "weak"])
    assert (other.policy.segmenter.name, other.prm_name) == ("newline", "weak")
    arithmetic = validated(["--limit", "2"])
    assert arithmetic.policy.name == arithmetic.prm_name == "builtin"
    assert arithmetic.policy.segmenter.name == "newline"


@pytest.mark.slow
async def test_the_bundled_models_write_programs_and_score_references_above_mutants(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    options = ["--task", "builtin-code", "--limit", "8", "--strategy", "hgs", "--engine", "hf"]
    run = validated([*options, "--out", str(tmp_path / "run")])
    async with load_run(run) as models:
        problems = generate_programs("test", 0, 8)
        summary = await execute_strategy(run, models, "cot", RunWatch())
        assert summary.correct > 0 and not summary.failed
        scores = []
        for problem in problems:
            steps = problem.function.reference.splitlines(True)
            wrong = [step.replace("result", "x") if "return" in step else step for step in steps]
            question = Problem(problem.id, problem.question)
            correct, mutated_ = [
                await models.scorer.score(question, [Step(text, (), 0.0, Stop.STEP) for text in texts])
                for texts in (steps, wrong)
            ]
            scores.append((min(score.value for score in correct), mutated_[-1].value))
    assert sum(right > wrong for right, wrong in scores) >= 7
