"""The training problems that preference trees are collected for, with their gold solutions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.grading.equality import WORKER
from bench.grading.extract import boxed_answer
from bench.grading.sentences import unbox
from bench.runner.problem_rows import question_and_answer, solutions
from bench.tasks import CODE_TASKS, TEXT_TASKS
from bench.tasks.base import Example, Task, TextTask
from bench.tasks.builtin_code import BuiltinCode, case_of
from bench.tasks.code import SANDBOX
from bench.tasks.generated.problems import generate
from bench.tasks.generated.programs import generate_programs
from prm.data.left_out import LeftOut
from prm.data.rows import parsed, read_rows
from prm.preference.counts import Decontamination
from prm.preference.schemas import masked
from prm.preference.tree import instruction_id
from search.errors import UsageError
from search.types import Problem

SEED = 400
"""Of the built-in tasks' training problems."""
DEFAULT_SIZE = 100
"""Built-in problems without --limit."""
TASK_NAMES = ("builtin", "builtin-code", "gsm8k", "jsonl", "math")
"""Tasks with training problems: the built-in ones, and those whose problems are read from a file."""

EXAMPLE = '{"problem": "What is 2 + 2?", "answer": "4", "solutions": ["2 + 2 = 4. The answer is 4."]}'


@dataclass(frozen=True, slots=True)
class Instruction:
    """A problem to collect a tree for.

    gold: solutions to show an actor: programs as they are, others with their answers masked.
    """

    problem: Problem
    gold: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """task: can grade the instructions. kind: UltraInteract's name of such tasks. is_program: of the answers.

    notes: what was left out, for the terminal.
    """

    task: Task
    kind: str
    instructions: list[Instruction]
    is_program: bool
    notes: tuple[str, ...]


def read_source(task: str, problems: str | None, limit: int | None) -> Source:
    """The first `limit` training problems of a task, without those of evaluation sets. Raises UsageError.

    problems: a file or hub data set, for the tasks that have no problems of their own.
    """
    if task not in TASK_NAMES:
        raise UsageError(f"--task {task}: there are no training problems; choose {', '.join(TASK_NAMES)}")
    notes: tuple[str, ...] = ()
    if task == "builtin-code":
        _refuse_problems(task, problems)
        made: Task = CODE_TASKS[task]()
        found = _programs(made, limit or DEFAULT_SIZE)
    else:
        made = TEXT_TASKS[task]()
        if task == "builtin":
            _refuse_problems(task, problems)
            found = _stories(made, limit or DEFAULT_SIZE)
        elif problems is None:
            raise UsageError(f"--task {task} needs --problems FILE: training problems with answers")
        else:
            found, notes = _from_file(made, problems, limit)
    guard = Decontamination()
    kept = [i for i in found if guard.allows(instruction_id(i.problem.question), i.problem.question)]
    if not kept:
        raise UsageError(f"nothing is left to collect; {guard.describe()}")
    code = task in CODE_TASKS
    return Source(made, "Coding" if code else "Math_CoT", kept, code, (*notes, guard.describe()))


def _refuse_problems(task: str, problems: str | None) -> None:
    if problems is not None:
        raise UsageError(f"--task {task} makes its problems itself: it takes no --problems")


def _stories(task: TextTask, n: int) -> list[Instruction]:
    stories = list(generate("train", SEED, n))
    task.add(Example(Problem(s.id, s.question), str(s.answer)) for s in stories)
    return [
        Instruction(Problem(s.id, s.question), (masked("\n".join(s.steps), str(s.answer)),)) for s in stories
    ]


def _programs(task: Task, n: int) -> list[Instruction]:
    assert isinstance(task, BuiltinCode)
    SANDBOX.get()  # refused now rather than at the first grade
    programs = generate_programs("train", SEED, n)
    task.cases |= {p.id: case_of(p) for p in programs}
    return [Instruction(Problem(p.id, p.question), (p.function.reference,)) for p in programs]


def _from_file(task: TextTask, problems: str, limit: int | None) -> tuple[list[Instruction], tuple[str, ...]]:
    """The instructions of a file's questions, each with the gold solutions of all its rows."""
    left_out = LeftOut()
    hint = f"; a row looks like this: {EXAMPLE}"
    answers: dict[str, str] = {}

    def parse(row: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
        question, answer = question_and_answer(row)
        if not task.equal(answers.setdefault(question, answer), answer):
            raise UsageError("another answer than in an earlier row with this question")
        yield question, [masked(text, answer) for text in _gold(row, answer)]

    read: dict[str, dict[str, None]] = {}
    for question, gold in parsed(read_rows(problems), parse, source=problems, left_out=left_out, hint=hint):
        if question not in read and 0 < len(read) == limit:
            break
        read.setdefault(question, {}).update(dict.fromkeys(gold))
    if not read:
        raise UsageError(f"{problems}: nothing to collect{hint}; {left_out.first_of(problems)}")
    if task.name != "gsm8k":
        WORKER.start()
    instructions = []
    for question, golds in read.items():
        problem = Problem(f"{task.name}/{instruction_id(question)[:16]}", question)
        task.add([Example(problem, answers[question])])
        instructions.append(Instruction(problem, tuple(golds)))
    return instructions, (left_out.describe(),) if left_out else ()


def _gold(row: Mapping[str, Any], answer: str) -> list[str]:
    """The worked solutions of a row: those it names, else the one that its answer ends, as in GSM8K."""
    if given := solutions(row):
        return given
    text = str(row["answer"])
    worked = text.rpartition("####")[0] if boxed_answer(text) is None else text
    worked = re.sub(r"<<.*?>>", "", worked).strip()
    return [worked] if worked and unbox(worked) != answer else []
