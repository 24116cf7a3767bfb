"""Collecting preference trees: the ladder on scripted attempts, then the command with scripted policies."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.runner import collect as runner
from bench.runner.cli.collect import main
from bench.runner.collect import Checker, CollectRequest, parses
from bench.runner.collect_problems import SEED, read_source
from bench.runner.resolve import ResolvedPolicy
from bench.runner.specs import PolicySpec
from bench.tasks import TASKS
from bench.tasks.generated.problems import generate
from prm.preference.collection import Attempt, Collected, History, Ladder, Place, Status, collect
from prm.preference.conversation import conversation
from prm.preference.files import read_trees
from prm.preference.schemas import SCHEMAS, asked, masked, schema_for
from prm.preference.tree import Observation, Turn
from search.errors import PolicyError, UnavailableError, UsageError
from search.limits import charge
from search.prompts import Conversation, Prompt
from search.segment import SEGMENTERS
from search.types import Problem, Step, Stop, Until
from tests.sandboxed import why_not

WRONG = Observation.of(False)

# -- the ladder ----------------------------------------------------------------------------------------


class Attempts:
    """script: place -> text. "+" is correct, "-" wrong, "?" invalid; what is not scripted fails."""

    def __init__(self, script: dict[str, str]):
        self.script, self.asked = script, list[str]()

    async def __call__(self, place: Place, history: History) -> Attempt | None:
        self.asked.append(str(place))
        self.histories = [text for text, _ in history]
        text = self.script.get(str(place))
        if text is None:
            return None
        status = {"+": Status.CORRECT, "-": Status.WRONG, "?": Status.INVALID}[text[0]]
        return Attempt(text, status, Observation.of(status is Status.CORRECT))


def climbed(script: dict[str, str], n_gold: int = 0, **ladder: int) -> tuple[Collected, Attempts]:
    attempts = Attempts(script)
    rungs = Ladder(**{"samples": 3, "gold_samples": 2, **ladder})
    return asyncio.run(collect(attempts, n_gold, rungs)), attempts


def test_a_turn_is_over_with_a_correct_and_a_wrong_action() -> None:
    made, attempts = climbed({"1/0/-1/0": "-a", "1/0/-1/1": "+b", "2/0/-1/0": "+c", "2/0/-1/1": "+d"})
    assert made.turns == (Turn("+b", "-a"), Turn("+c"))
    assert attempts.asked == ["1/0/-1/0", "1/0/-1/1", "2/0/-1/0", "2/0/-1/1", "2/0/-1/2"]
    assert made.rungs == ("actor", "actor") and attempts.histories == ["-a"]


def test_the_wrong_action_is_expanded_to_the_last_turn() -> None:
    script = {f"{turn}/0/-1/{n}": f"{sign}{turn}" for turn in range(1, 6) for n, sign in enumerate("-+")}
    made, attempts = climbed(script)
    assert [turn.correct for turn in made.turns] == ["+1", "+2", "+3", "+4", "+5"]
    assert [turn.observation for turn in made.turns] == [WRONG] * 4 + [None]
    assert attempts.histories == ["-1", "-2", "-3", "-4"] and len(attempts.asked) == 10
    assert len(climbed(script, depth=2)[0].turns) == 2


def test_stronger_actors_try_in_turn_then_a_gold_solution_is_shown() -> None:
    wrong = {f"1/{actor}/-1/{n}": f"-{actor}{n}" for actor in range(3) for n in range(3)}
    made, attempts = climbed({**wrong, "1/2/-1/1": "+b"}, n_gold=1, actors=3, depth=1)
    assert made.rungs == ("stronger 2",) and made.turns == (Turn("+b", "-00"),)
    assert attempts.asked[-1] == "1/2/-1/1" and len(attempts.asked) == 8
    made, attempts = climbed({**wrong, "1/2/0/1": "+g"}, n_gold=1, actors=3, depth=1)
    assert made.rungs == ("gold",) and made.turns == (Turn("+g", "-00"),)
    assert attempts.asked[9:] == ["1/2/0/0", "1/2/0/1"]
    made, _ = climbed(wrong, n_gold=0, actors=3, depth=1)
    assert made.rungs == (None,) and made.turns == ()


def test_further_gold_solutions_give_further_pairs() -> None:
    wrong = {f"1/0/-1/{n}": f"-{n}" for n in range(3)}
    gold = {"1/0/0/0": "+first", "1/0/1/0": "-no", "1/0/1/1": "+second", "1/0/3/0": "+fourth"}
    made, attempts = climbed({**wrong, **gold}, n_gold=4, depth=1)
    assert made.turns == (Turn("+first", "-0"),)
    assert made.extra == (Turn("+second", "-1"),)  # two wrong ones are left: for the second and the third
    assert attempts.asked[-1] == "1/0/2/1"
    assert climbed({"1/0/-1/0": "+a"}, n_gold=4, depth=1)[0].extra == ()


def test_equal_wrong_actions_and_invalid_ones_count_once_or_not() -> None:
    script = {"1/0/-1/0": "?x", "1/0/-1/1": "-a", "1/0/-1/2": "- a"}
    made, _ = climbed({**script, "1/0/0/0": "+g", "1/0/1/0": "+h"}, n_gold=2, depth=1)
    assert made.turns == (Turn("+g", "-a"),) and made.extra == (Turn("+h", "- a"),)
    made, _ = climbed({**script, "1/0/-1/2": "-a", "1/0/0/0": "+g", "1/0/1/0": "+h"}, n_gold=2, depth=1)
    assert made.extra == ()
    assert climbed({"1/0/-1/0": "?x"}, depth=1)[0].turns == ()


# -- what actors read ----------------------------------------------------------------------------------


def test_the_history_is_a_conversation_or_one_text() -> None:
    problem = Problem("p", "2 + 2?")
    history = [("5\n", WRONG), ("6", Observation.of(False, critique="Count."))]
    chat = conversation(problem, Prompt("Q: {question}", chat=True, system="Be brief."), "2 + 2?", history)
    assert [(m["role"], m["content"]) for m in chat.messages()] == [
        ("system", "Be brief."), ("user", "Q: 2 + 2?"), ("assistant", "5\n"),
        ("user", "Your answer is wrong."), ("assistant", "6"), ("user", "Your answer is wrong.\nCount."),
    ]  # fmt: skip
    plain = conversation(problem, Prompt("Q: {question}\n", stop=("Q:",)), "2 + 2?", history)
    assert plain.prompt.fill(plain.text) == (
        "Q: 2 + 2?\n5\nYour answer is wrong.\n6\nYour answer is wrong.\nCount.\n"
    )
    assert plain.prompt.stop == ("Q:",) and (plain.id, plain.question) == ("p", "2 + 2?")
    first = conversation(problem, Prompt("Q: {question}", chat=True), "2 + 2?", [])
    assert first.messages() == [{"role": "user", "content": "Q: 2 + 2?"}]


def test_gold_solutions_are_masked_or_translated() -> None:
    assert masked("2 + 2 = 4, not 14 or 4.5; so 4.", "4") == "2 + 2 = [MASKED], not 14 or 4.5; so [MASKED]."
    assert masked(r"\boxed{\frac12}", r"\frac12") == r"\boxed{[MASKED]}"
    assert asked("2 + 2?", "plain") == "2 + 2?"
    assert asked("2 + 2?", "cot").startswith("2 + 2?\n\nThink step by step.")
    assert asked("2 + 2?", "plain", gold="It is [MASKED].").endswith("to the answer:\nIt is [MASKED].")
    assert "This program is correct." in asked("Write f.", "modular", gold="def f(): ...", is_program=True)


def test_schemas_are_drawn_by_the_seed() -> None:
    drawn = [schema_for(["cot", "modular"], seed) for seed in range(40)]
    assert set(drawn) == {"cot", "modular"}
    assert drawn == [schema_for(["cot", "modular"], seed) for seed in range(40)]
    assert set(SCHEMAS) == {"plain", "cot", "modular"}


@pytest.mark.parametrize(
    ("action", "good"),
    [
        ("def f(): return 1", True), ("def f(:", False), ("Just words here.", False), ("\x00", False),
        ("Step 1: go.\n```python\nx = 1\n```\nDone.", True),
        ("```python\nx = 1\n```\nand\n```\nx = = 1\n```", False),
    ],
)  # fmt: skip
def test_actions_that_are_no_python_are_dropped(action: str, good: bool) -> None:
    assert parses(action) is good


# -- problems ------------------------------------------------------------------------------------------


def test_problems_of_the_built_in_tasks_and_their_gold_solutions() -> None:
    stories = read_source("builtin", None, 3)
    story = next(iter(generate("train", SEED, 1)))
    assert stories.instructions[0].problem.question == story.question and not stories.is_program
    assert "The answer is [MASKED]." in stories.instructions[0].gold[0]
    assert stories.task.grade(stories.instructions[0].problem, str(story.answer)).correct
    programs = read_source("builtin-code", None, 2)
    [first, _] = programs.instructions
    assert (programs.kind, programs.is_program) == ("Coding", True)
    assert programs.task.grade(first.problem, first.gold[0]).correct


def test_problems_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    rows = [
        {"question": "Ann has 2 and gets 3. How many?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"},
        {"problem": "Take 1.", "answer": "7", "solutions": ["8 - 1 = 7.", "6 + 1 = 7."]},
        {"problem": "Box it.", "solution": r"It is $\boxed{9}$."},
        {"problem": "Box an answer.", "answer": r"3 + 5 is $\boxed{8}$."},
        {"problem": "No answer."},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = read_source("jsonl", str(path), None)
    assert [i.gold for i in source.instructions] == [
        ("2 + 3 = [MASKED]",), ("8 - 1 = [MASKED].", "6 + 1 = [MASKED]."), (r"It is $\boxed{[MASKED]}$.",),
        (r"3 + 5 is $\boxed{[MASKED]}$.",),
    ]  # fmt: skip
    for instruction, answer in zip(source.instructions, "5798", strict=True):
        assert source.task.grade(instruction.problem, answer).correct
    assert "1 x no field 'answer'" in source.notes[0]
    assert len(read_source("jsonl", str(path), 2).instructions) == 2


def test_a_question_of_several_rows_is_one_problem_with_all_their_solutions(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    rows = [
        {"problem": "Halve 1.", "answer": "0.5", "solution": "1 / 2 = 0.5."},
        {"problem": "Take 1.", "answer": "7", "solution": "8 - 1 = 7."},
        {"problem": "Halve 1.", "answer": r"\frac{1}{2}", "solution": r"It is \frac{1}{2}."},
        {"problem": "Halve 1.", "answer": "2", "solution": "1 * 2 = 2."},
        {"problem": "Take 1.", "answer": "7", "solutions": ["6 + 1 = 7.", "8 - 1 = 7."]},
        {"problem": "Add 1.", "answer": "9", "solution": "8 + 1 = 9."},
        {"problem": "Take 1.", "answer": "7", "solution": "After the limit: 7."},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = read_source("jsonl", str(path), 2)
    assert [(i.problem.question, i.gold) for i in source.instructions] == [
        ("Halve 1.", ("1 / 2 = [MASKED].", "It is [MASKED].")),
        ("Take 1.", ("8 - 1 = [MASKED].", "6 + 1 = [MASKED].")),
    ]
    assert source.task.grade(source.instructions[0].problem, "1/2").correct
    assert "1 x another answer than in an earlier row with this question" in source.notes[0]


@pytest.mark.parametrize(
    ("task", "problems", "why"),
    [
        ("humaneval", None, "no training problems"), ("builtin", "x.jsonl", "takes no --problems"),
        ("gsm8k", None, "needs --problems FILE"), ("jsonl", "none.jsonl", "no such file"),
    ],
)  # fmt: skip
def test_wrong_sources_are_refused(task: str, problems: str | None, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_source(task, problems, None)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"samples": 0}, "--samples must be at least 1"), ({"gold_samples": -1}, "--gold-samples"),
        ({"schemas": ("chain",)}, "unknown schema 'chain'"),
        ({"schemas": ("modular",)}, "no environment runs the programs of the task builtin"),
    ],
)  # fmt: skip
def test_wrong_requests_are_refused(given: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why):
        CollectRequest(out=tmp_path, **given)


# -- the command ---------------------------------------------------------------------------------------

ANSWERS = {story.question: story.answer for story in generate("train", SEED, 12)}


class Guessing:
    """Answers a story, right or wrong by the seed; every third one is only right with a gold solution at
    first, and every second one is always right from the third turn on."""

    def __init__(self, stop_after: int = 10**9, fail_every: int = 0):
        self.calls, self.stop_after, self.fail_every = 0, stop_after, fail_every

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, max_tokens: int, seed: int,
        temperature: float | None = None,
    ) -> list[Step]:  # fmt: skip
        assert isinstance(problem, Conversation) and until is Until.END
        await asyncio.sleep(seed % 7 * 1e-4)  # attempts of different problems end in any order
        self.calls += 1
        if self.calls > self.stop_after:
            if self.calls == self.stop_after + 1:
                signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
        if self.fail_every and self.calls % self.fail_every == 0:
            raise PolicyError(f"{problem.id}: lost")
        charge(policy_tokens=3)
        answer = ANSWERS[problem.question]
        hard = answer % 3 == 0 and "masked" not in problem.text and not problem.turns
        off = 1 if hard else 0 if answer % 2 and len(problem.turns) > 3 else seed % 2
        text = f"So it is, {seed % 4}.\nThe answer is {answer + off * (1 + seed % 5)}."
        return [Step(text, (1, 2, 3), 0.0, Stop.END)]


def resolved(spec: PolicySpec, *_: object, turns: bool = False) -> ResolvedPolicy:
    """A chat model; nothing is looked up or read."""
    return ResolvedPolicy(
        name="scripted", path="scripted", engine="server", dtype="auto", tokenizer=None, servers=(),
        prompt=Prompt("{question}", chat=True), segmenter=SEGMENTERS["newline"], sampling=spec.sampling,
        seeded=True,
    )  # fmt: skip


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command with a scripted policy, on twelve stories."""

    def run(*more: str, policy: Guessing | None = None, out: str = "out") -> int:
        @asynccontextmanager
        async def load(*args: object) -> AsyncIterator[Guessing]:
            yield policy or Guessing()

        monkeypatch.setattr(runner, "load_policy", load)
        monkeypatch.setattr(runner, "resolve_policy", resolved)
        words = ["--engine", "hf", "--limit", "12", "--samples", "6", "--gold-samples", "4"]
        return main([*words, "--out", str(tmp_path / out), *more])

    return run


FILES = ("sft.jsonl", "pairs.jsonl", "augmented.jsonl")


def test_trees_are_collected_resumed_and_the_same_whatever_the_concurrency(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command() == 0
    printed = capsys.readouterr().out
    whole = {name: (tmp_path / "out" / name).read_bytes() for name in FILES}
    trees = read_trees(str(tmp_path / "out"))
    assert len(trees) == 12 and {len(tree.turns) for tree in trees} >= {3, 5}
    for tree in trees:
        for turn in tree.turns:
            assert turn.correct is None or turn.correct.endswith(f"is {ANSWERS[tree.instruction]}.")
            assert turn.incorrect is None or not turn.incorrect.endswith(f"is {ANSWERS[tree.instruction]}.")
            assert turn.observation in (None, WRONG)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["turns_by_rung"]["gold"] > 0 and summary["cross_turn_pairs"] > 0
    assert summary["policy_tokens"] == 3 * sum(summary["attempts"].values())
    assert "(0 actions from the record)" in printed and "12 instructions, 12 trees" in printed

    assert command() == 2 and "add --resume" in capsys.readouterr().err
    again = Guessing(stop_after=0)
    assert command("--resume", policy=again) == 0 and again.calls == 0
    assert command("--concurrency", "1", out="one") == 0
    assert command(policy=Guessing(stop_after=40), out="cut") == 130
    assert not (tmp_path / "cut" / "pairs.jsonl").exists()
    kept = (tmp_path / "cut" / "attempts.jsonl").read_bytes().count(b'"event": "attempt"')
    rest = Guessing()
    assert command("--resume", policy=rest, out="cut") == 0
    assert 20 < kept <= 40 and rest.calls == sum(summary["attempts"].values()) - kept
    for name, content in whole.items():
        assert {(tmp_path / out / name).read_bytes() for out in ("out", "one", "cut")} == {content}
    assert command("--resume", "--seed", "1") == 2
    assert "it differs in seed" in capsys.readouterr().err
    assert command("--seed", "1", out="seed") == 0
    assert (tmp_path / "seed" / "pairs.jsonl").read_bytes() != whole["pairs.jsonl"]


def test_a_failed_attempt_costs_itself_and_is_tried_again(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(policy=Guessing(fail_every=5)) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["failures"] == {"PolicyError: lost": summary["failures"]["PolicyError: lost"]}
    assert "x PolicyError: lost" in capsys.readouterr().out
    assert command("--resume") == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["failures"] == {}
    assert command("--concurrency", "1", out="clean") == 0
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "clean" / name).read_bytes()


async def test_a_checker_that_explains_says_how_the_tests_ended() -> None:
    if reason := why_not():
        pytest.skip(reason)
    task = TASKS["builtin-code"]()
    [example] = task.load(None, 1)
    for explains in (False, True):
        checker = Checker(task, is_program=True, explains=explains)
        feedback = await checker.step(example.problem, ["def f(xs, n):\n    return None\n"])
        assert not feedback.correct and ("The tests ended with: " in feedback.observation.text) is explains


def test_critiques_need_a_checker_with_tests() -> None:
    with pytest.raises(UsageError, match="the checker of builtin says no more than right or wrong"):
        CollectRequest(task="builtin", out=Path("out"), critic="checker")


class Lost(Guessing):
    """Its servers are gone."""

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        raise UnavailableError("no server answers")


def test_a_lost_model_ends_the_run(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(policy=Lost()) != 0 and "no server answers" in capsys.readouterr().err
    assert not (tmp_path / "out" / "summary.json").exists()
    assert command("--resume") == 0


def test_a_record_of_something_else_is_refused(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    record = tmp_path / "out" / "attempts.jsonl"
    record.write_text("mine")
    assert command("--resume") == 2 and record.read_text() == "mine"
    assert command() == 2 and "already exists" in capsys.readouterr().err
    record.write_text('{"event": "run", "config": {}}\n{"event": "attempt"}\n')
    assert command("--resume") == 2 and "line 2: not an attempt" in capsys.readouterr().err


class Silent(Guessing):
    """Has no answer to anything."""

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        return [Step("I do not know.", (1,), 0.0, Stop.LENGTH)]


def test_nothing_collected_is_an_error(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(policy=Silent()) == 2
    assert "no tree was collected" in capsys.readouterr().err
    assert not (tmp_path / "out" / "sft.jsonl").exists()
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["attempts"]["invalid"] == 12 * 10
