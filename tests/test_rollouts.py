"""Labels from rollouts, on scripted worlds; resumed from a trace; on the shipped task."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.grading.grade import Grade
from bench.runner import rollouts
from bench.runner.cli.rollouts import main
from bench.runner.models import NoScorer
from bench.runner.rollouts import TRAINING_SEED, agreement, label, label_each, read_examples
from bench.tasks.base import Example
from bench.tasks.builtin import Builtin
from bench.tasks.generated.problems import generate
from prm.data.estimation import Bisect, Estimate, Estimates
from prm.data.labels import read_labels
from search.errors import PolicyError, UsageError
from search.limits import charge
from search.trace import Trace
from search.types import Problem, Step, Stop, Until


class Counting(Builtin):
    """The answer is what is said after "="; "ok" is right."""

    name = "counting"

    def extract(self, text: str) -> str | None:
        return text.rpartition("=")[2].strip() if "=" in text else None

    def compare(self, answer: str | None, reference: str) -> Grade:
        return Grade(answer == reference, "exact")


class World:
    """A policy whose first sample is `solution`; from a prefix with a bad step nothing right follows,
    from any other, every second rollout is right, by its seed. A step is a letter; "x" is bad."""

    def __init__(self, solution: str):
        self.solution, self.calls = solution, 0

    async def propose(
        self, problem: Problem, steps: Any, *, until: Until, max_tokens: int, seed: int,
        temperature: float | None = None,
    ) -> list[Step]:  # fmt: skip
        self.calls += 1
        said = [step.text.strip() for step in steps]
        rest = list(self.solution[len(said) :]) if seed % 2 == 0 or "x" in said else ["g"]
        bad = "x" in [*said, *rest]
        texts = [f"{text}\n" for text in rest] + [f"={'no' if bad else 'ok'}"]
        last = len(texts) - 1
        charge(policy_tokens=len(texts))
        return [Step(t, (1,), 0.0, Stop.END if i == last else Stop.STEP) for i, t in enumerate(texts)]


class Cut(World):
    """The same, but every solution is cut before its end."""

    async def propose(self, problem: Problem, steps: Any, **how: Any) -> list[Step]:
        *begun, last = await super().propose(problem, steps, **how)
        return [*begun, replace(last, stop=Stop.LENGTH)]


EXAMPLES = [Example(Problem(f"p{i}", f"Question {i}"), "ok") for i in range(6)]


def right(id_: str, answer: str | None) -> bool:
    return answer == "ok"


async def labelled(how: Any, policy: World, trace: Trace | None = None) -> Any:
    return await label(EXAMPLES, Counting(), how, policy, NoScorer(), trace=trace or Trace(), seed=0)


async def test_estimation_labels_every_step_by_where_it_leads() -> None:
    made = await labelled(Estimate(right, solutions=2, rollouts=16), World("abxc"))
    assert made.failed == {} and made.rollouts > 0
    seen = [s for s in made.solutions if "x" in s.steps]
    assert seen
    for solution in seen:
        at = solution.steps.index("x")
        assert set(solution.labels[:at]) <= {1} and set(solution.labels[at:]) == {-1}
        assert all(0 < value < 1 for value in solution.values[:at])
        assert set(solution.values[at:]) == {0.0} and solution.outcome is False
    assert all(s.outcome is True and s.labels[-1] == 1 for s in made.solutions if "x" not in s.steps)


@pytest.mark.parametrize("how", [Estimate(right, rollouts=4), Bisect(right, searches=1, rollouts=4)])
async def test_rollouts_that_are_cut_are_wrong_and_counted(how: Any) -> None:
    made = await labelled(how, Cut("ab"))
    assert made.cut >= made.rollouts > 0 and all(set(s.labels) == {-1} for s in made.solutions)
    assert (await labelled(how, World("ab"))).cut == 0


async def test_bisection_finds_the_first_error_with_fewer_rollouts() -> None:
    long = "abcdefgxijklmnop"
    made = await labelled(Bisect(right, searches=1, rollouts=16), World(long))
    found = [s for s in made.solutions if "x" in s.steps]
    assert found and all(s.steps[-1] == "x" and s.labels[-1] == -1 for s in found)  # and no step further
    assert all(s.labels[i] == 1 for s in found for i in s.counted[:-1])
    every = await labelled(Estimate(right, solutions=1, rollouts=16), World(long))
    per_wrong = len(long) * 16  # what estimation spends on a solution that is wrong
    assert made.rollouts / len(EXAMPLES) < per_wrong / 2 and every.rollouts > 0


async def test_bisection_goes_on_with_rollouts_that_it_made_on_the_way() -> None:
    policy = World("abcxefgh")
    one = await labelled(Bisect(right, searches=1, rollouts=16), policy)
    many = await labelled(Bisect(right, searches=6, rollouts=16), World("abcxefgh"))
    assert len(many.solutions) >= len(one.solutions)
    assert many.rollouts < 6 * one.rollouts  # what was estimated is not estimated again
    for made in (one, many):
        for solution in made.solutions:
            assert len(solution.counted) >= 1
            for i in solution.counted:
                assert (solution.labels[i] > 0) == ("x" not in solution.steps[: i + 1])


@pytest.mark.parametrize("how", [Bisect(right, searches=6, rollouts=16), Estimate(right, 2, 16)])
async def test_no_blank_step_is_written(how: Bisect | Estimate) -> None:
    """A policy ends a solution right after a step: the last step is then blank."""

    class EndsWithABlankStep(World):
        async def propose(self, *args: Any, **kwargs: Any) -> list[Step]:
            steps = await super().propose(*args, **kwargs)
            charge(policy_tokens=1)
            answer = replace(steps[-1], text=f"{steps[-1].text}\r\n", stop=Stop.STEP)
            return [*steps[:-1], answer, Step("\r\n", (2,), 0.0, Stop.END)]

    made = await labelled(how, EndsWithABlankStep("abxc"))
    assert made.solutions
    for solution in made.solutions:
        assert all(step == step.strip() != "" for step in solution.steps)
        assert len(solution.steps) == len(solution.labels) == len(solution.values) and solution.counted


async def test_a_node_counts_in_one_record_only() -> None:
    how = Bisect(right, searches=6, rollouts=16)
    made = await labelled(how, World("abcxefgh"))
    for example in EXAMPLES:
        found: Estimates = how.estimates[example.problem.id]
        on_paths = {node for path in found.solutions for node in path if node in found.shares}
        of = [s for s in made.solutions if s.question == example.problem.question]
        assert sum(len(s.counted) for s in of) == len(on_paths)


async def test_a_run_is_resumed_from_its_trace_at_no_cost(tmp_path: Path) -> None:
    def trace() -> Trace:
        return Trace(tmp_path / "trace", {"a": 1})

    for new in (lambda: Estimate(right, 1, 4), lambda: Bisect(right, 3, 4)):
        (tmp_path / "trace").unlink(missing_ok=True)
        first = await labelled(new(), World("abxc"), trace())
        whole = (tmp_path / "trace").read_bytes()
        (tmp_path / "trace").write_bytes(whole[: 2 * len(whole) // 3])  # killed in the middle of a line
        again = World("abxc")
        second = await labelled(new(), again, trace())
        assert second.solutions == first.solutions
        assert second.cost.policy_tokens == first.cost.policy_tokens
        done = World("abxc")
        await labelled(new(), done, trace())
        assert done.calls == 0 < again.calls


@pytest.mark.parametrize("how", [Bisect(right, searches=6, rollouts=16), Estimate(right, 2, 16)])
async def test_a_rollout_that_fails_says_nothing_about_the_steps(how: Bisect | Estimate) -> None:
    class Flaky(World):
        async def propose(self, problem: Problem, *args: Any, **kwargs: Any) -> list[Step]:
            steps = await super().propose(problem, *args, **kwargs)
            if self.calls % 3 == 0:
                raise PolicyError("the server is busy")
            return steps

    made = await labelled(how, Flaky("ab"))  # no step is bad, and all rollouts are right
    assert made.events.failed
    assert bool(made.solutions) is isinstance(how, Estimate), "there is no wrong solution to search"
    assert all(set(solution.values) == {1.0} for solution in made.solutions)


async def test_a_problem_that_fails_is_left_out_and_said() -> None:
    class Failing(World):
        async def propose(self, problem: Problem, *args: Any, **kwargs: Any) -> list[Step]:
            if problem.id == "p3":
                raise RuntimeError("the server is gone")
            return await super().propose(problem, *args, **kwargs)

    made = await labelled(Estimate(right, 1, 4), Failing("ab"))
    assert set(made.failed) == {"p3"} and "the server is gone" in made.failed["p3"]
    assert {s.question for s in made.solutions} == {f"Question {n}" for n in range(6) if n != 3}


def test_evaluation_problems_are_not_labelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.test_prm_data import GSM8K_TEST

    path = tmp_path / "problems.jsonl"
    rows = [{"question": GSM8K_TEST, "answer": "#### 18"}, {"question": "What is 1 + 1?", "answer": "#### 2"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    [example] = read_examples(Counting(), str(path), None)
    assert (example.problem.question, example.reference) == ("What is 1 + 1?", "2")
    assert "Janet" in capsys.readouterr().out
    path.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(UsageError, match="nothing is left"):
        read_examples(Counting(), str(path), None)
    with pytest.raises(UsageError, match="needs --problems"):
        read_examples(Counting(), None, None)


def test_a_worked_solution_is_read_as_its_answer(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    rows = [
        {"question": "What is 1 + 1?", "answer": "One and one are $\\boxed{2}$."},
        {"question": "What is 1 + 2?", "answer": "Halves: \\boxed{1.5}.\n#### 3"},
        {"problem": "What is 2 + 2?", "solution": "Two and two are $\\boxed{4}$.", "level": "Level 1"},
        {"question": "What is 2 + 3?", "answer": 5, "solution": None},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [example.reference for example in read_examples(Counting(), str(path), None)] == list("2345")


def test_an_odd_problem_is_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "problems.jsonl"
    rows = ['{"question": "What is 1 + 1?", "answer": "2"}', '{"question": "What is 1 + 2?"}',
            '{"question": " ", "answer": "2"}', '{"problem": "What is 2 + 2?", "answer": null}']  # fmt: skip
    path.write_text("\n".join(rows))
    [example] = read_examples(Counting(), str(path), None)
    assert example.problem.question == "What is 1 + 1?"
    printed = capsys.readouterr().err
    assert "rows left out: 3 of 4" in printed and "1 x no field 'answer'" in printed
    path.write_text("\n".join(rows[1:]))
    with pytest.raises(UsageError, match=r"nothing is left to label: .*line 1: no field 'answer'"):
        read_examples(Counting(), str(path), None)


def test_labels_are_compared_with_the_exact_checker() -> None:
    from prm.data.labels import LabelledSolution

    problem = next(iter(generate("train", TRAINING_SEED, 1)))
    steps = tuple(problem.steps)
    good = LabelledSolution(problem.question, steps, (1,) * len(steps), "r", "train", "rollouts")
    bad = LabelledSolution(problem.question, ("nonsense",), (1,), "r", "train", "rollouts")
    assert agreement([good]) == (len(steps), len(steps))
    assert agreement([good, bad]) == (len(steps), len(steps) + 1)


# -- the command ---------------------------------------------------------------------------------------


class Answering:
    """A policy that answers a built-in problem in two steps, right or wrong by its seed.

    interrupted_at: a file; once it holds labels, the last of the problems is interrupted.
    """

    def __init__(self, interrupted_at: Path | None = None):
        self.interrupted_at = interrupted_at

    async def propose(
        self, problem: Problem, steps: Any, *, until: Until, max_tokens: int, seed: int,
        temperature: float | None = None,
    ) -> list[Step]:  # fmt: skip
        place, answer = right_answers()[problem.question]
        await asyncio.sleep(place * 5e-3)  # the first problems are finished first
        if self.interrupted_at is not None and place == len(right_answers()) - 1:
            while not (self.interrupted_at.exists() and self.interrupted_at.stat().st_size):
                await asyncio.sleep(0.01)
            raise KeyboardInterrupt
        texts = ["So it is.\n", f"The answer is {answer + seed % 2}."][len(steps) :]
        charge(policy_tokens=len(texts))
        return [Step(t, (1,), 0.0, Stop.END if t.startswith("The") else Stop.STEP) for t in texts]


@cache
def right_answers() -> dict[str, tuple[int, int]]:
    """By question: its place among the problems, and its answer."""
    return {p.question: (n, p.answer) for n, p in enumerate(generate("train", TRAINING_SEED, 40))}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`prm.rollouts` with a scripted policy."""

    def run(*more: str, policy: Answering | None = None) -> int:
        @asynccontextmanager
        async def load(*args: object, **kwargs: object) -> AsyncIterator[Answering]:
            yield policy or Answering()

        monkeypatch.setattr(rollouts, "load_policy", load)
        words = ["--engine", "hf", "--rollouts", "4", "--limit", "40"]
        return main([*words, "--out", str(tmp_path / "labels.jsonl"), *more])

    return run


@pytest.mark.parametrize("how", ["estimate", "bisect"])
def test_labels_are_written_as_problems_finish_and_resumed(
    how: str, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, trace = tmp_path / "labels.jsonl", tmp_path / "labels.jsonl.trace"
    assert command("--how", how) == 0
    whole, report = out.read_bytes(), capsys.readouterr().out
    assert len({solution.question for solution in read_labels(out)}) > 20
    assert command("--how", how) == 2  # there is one already
    assert command("--how", how, "--resume") == 0
    assert out.read_bytes() == whole
    assert capsys.readouterr().out.splitlines()[-1] == report.splitlines()[-1]
    out.unlink()
    trace.unlink()
    assert command("--how", how, policy=Answering(interrupted_at=out)) == 130
    cut = out.read_bytes()
    assert cut != whole and whole.startswith(cut), "in the order of the problems"
    assert command("--how", how, "--resume") == 0
    assert out.read_bytes() == whole


def test_lengths_are_limited_and_part_of_the_run(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Short(Answering):
        async def propose(self, problem: Problem, steps: Any, **how: Any) -> list[Step]:
            first, *rest = await super().propose(problem, steps, **how)
            return [first, *rest] if how["max_tokens"] > 1 else [replace(first, stop=Stop.LENGTH)]

    assert command("--solution-tokens", "1", policy=Short()) == 0
    assert "\n40 solutions were cut or repeated themselves, and count as wrong\n" in capsys.readouterr().out
    assert {label for s in read_labels(tmp_path / "labels.jsonl") for label in s.labels} == {-1}
    assert command("--resume") == 2, "that is another run"
    assert command("--step-tokens", "0") == 2
    assert "both must be at least 1" in capsys.readouterr().err


def test_what_is_there_is_kept_until_the_policy_is_loaded(
    command: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command() == 0
    before = (tmp_path / "labels.jsonl").read_bytes()

    @asynccontextmanager
    async def interrupted(*args: object, **kwargs: object) -> AsyncIterator[Answering]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(rollouts, "load_policy", interrupted)
    words = ["--engine", "hf", "--rollouts", "4", "--limit", "40", "--resume"]
    assert main([*words, "--out", str(tmp_path / "labels.jsonl")]) == 130
    assert (tmp_path / "labels.jsonl").read_bytes() == before


def test_where_there_is_nothing_to_bisect_it_is_said(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Right(Answering):
        async def propose(self, problem: Problem, steps: Any, **how: Any) -> list[Step]:
            return await super().propose(problem, steps, **{**how, "seed": 0})

    assert command("--how", "bisect", policy=Right()) == 1
    assert "no problem had both right and wrong rollouts" in capsys.readouterr().err


def test_a_file_that_is_not_of_this_run_is_not_replaced(command: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text("mine")
    assert command() == command("--resume") == 2
    assert (tmp_path / "labels.jsonl").read_text() == "mine"


async def test_no_tree_is_kept_once_its_labels_are_made() -> None:
    how = Estimate(right, 2, 4)
    parts = 0
    async for part in label_each(
        EXAMPLES, Counting(), how, World("abxc"), NoScorer(), trace=Trace(), seed=0, concurrency=2
    ):
        parts += 1
        assert part.solutions and len(how.estimates) <= 2 + 1
    assert parts == len(EXAMPLES) and not how.estimates


@pytest.mark.parametrize("how", [Estimate, Bisect])
async def test_answers_are_graded_off_the_event_loop(how: Any) -> None:
    threads = set()

    def noted(id_: str, answer: str | None) -> bool:
        threads.add(threading.current_thread())
        return answer == "ok"

    made = await labelled(how(noted), World("abxc"))
    assert made.solutions and threads and threading.current_thread() not in threads
