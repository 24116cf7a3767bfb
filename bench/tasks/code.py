"""What HumanEval and MBPP have in common: a solution is a program, and its tests decide.

A solution's text is read as a program for one problem (`CodeTask.answers`), graded by running the hidden
tests in the sandbox (`CodeTask.grade`), and compared with other solutions by their outputs for generated
inputs, as in AlphaCode (Li et al. 2022, arXiv:2203.07814) and CodeT (Chen et al. 2022, arXiv:2207.10397).
"""

from __future__ import annotations

import ast
import atexit
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bench.grading.grade import Grade
from bench.tasks.base import PublicTests, Task
from bench.tasks.code_inputs import generated_inputs
from bench.tasks.code_text import may_become_program, read_program
from mutation.parsing import parse
from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits, Suite
from search.errors import ScorerError
from search.prompts import Prompt
from search.tree import TextAnswers
from search.types import Answers, Problem, Step, StepScore, Stop, since_observation

INPUTS = 20
"""Generated inputs that two programs are compared on."""

FUNCTION_ENDS = ("\nclass ", "\ndef ", "\n#", "\n@", "\nif ", "\nprint(", "\nassert ", "\n```", "\n'''")
"""A function's body is over: something begins in the first column (Chen et al. 2021, arXiv:2107.03374)."""
INSTRUCT = Prompt(
    "{question}", chat=True,
    system="You are an expert Python programmer. Answer with the complete program in one ```python block, "
    "and nothing after it.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CodeCase:
    """A problem as its tests see it.

    preamble: text that a solution goes on with, "" if it stands alone. entry_point: the function asked for.
    provides: names that are the program's even where Python has them. hidden: each must pass.
    public: what the question itself shows, "" if it shows none. examples: arguments of calls, as literals.
    """

    id: str
    preamble: str
    entry_point: str
    provides: tuple[str, ...]
    hidden: Mapping[str, Suite]
    public: Suite | None
    examples: tuple[tuple[object, ...], ...]


class SharedSandbox:
    """One for the process, made when it is first needed and ended with it."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._lock = limits, threading.Lock()
        self._sandbox: Sandbox | None = None

    def get(self) -> Sandbox:
        """Raises SandboxError where programs cannot be shut in: a model's code runs nowhere else."""
        with self._lock:
            if self._sandbox is None:
                self._sandbox = Sandbox(self._limits)
                atexit.register(self._sandbox.close)
            return self._sandbox


SANDBOX = SharedSandbox(Limits(cpu_s=5))


def program_of(case: CodeCase, text: str) -> str | None:
    """The program that a solution's text makes; None if there is none that defines the function.

    A block in a fence is taken before the text around it. A program that the token limit or a stray remark
    cut short is taken as far as it can be read.
    """
    return read_program(with_def(text), case.preamble, case.entry_point)


def with_def(text: str) -> str:
    """A text that goes on behind a "def" of the prompt (`bench.tasks.prompts.eurus`), with that word."""
    return "def" + text if re.match(r" [^\W\d]\w* *\(", text) else text


class CodeTask(Task):
    """Reads, compares and grades programs; a subclass says where its problems come from.

    cases: by problem id; filled by `load`.
    """

    def __init__(self) -> None:
        self.cases: dict[str, CodeCase] = {}

    @property
    def public_tests(self) -> PublicTests:
        return ShownTests(self.name, self.cases)

    def answers(self, problem: Problem) -> Answers:
        """Programs for the problem; of a problem that was not loaded, only the text is known."""
        case = self.cases.get(problem.id)
        return TextAnswers() if case is None else CodeAnswers(case)

    def grade(self, problem: Problem, answer: str | None) -> Grade:
        """Run the problem's hidden tests; `how` is the first bad verdict."""
        if answer is None:
            return Grade(False, "no program")
        for kind, suite in self.cases[problem.id].hidden.items():
            verdict = SANDBOX.get().run(answer, suite)
            if not verdict.passed:
                return Grade(False, f"{verdict.outcome}{f' ({kind})' if kind else ''}")
        return Grade(True, "passed")


class CodeAnswers:
    """Programs for one problem. Two are equal if they answer alike to every generated input.

    The answer of a call that returns None is what it has made of its arguments.
    """

    def __init__(self, case: CodeCase) -> None:
        self._case = case
        self._inputs = generated_inputs(case.examples, INPUTS, case.id)
        self._behaviour = lru_cache(256)(self._run)

    def extract(self, text: str) -> str | None:
        return program_of(self._case, text)

    def equal(self, a: str, b: str) -> bool:
        """As text, else by behaviour; without an example to make inputs from, by syntax tree."""
        if a == b:
            return True
        if not self._inputs:
            return ast.dump(parse(a)) == ast.dump(parse(b))
        return self._behaviour(a) == self._behaviour(b)

    def _run(self, program: str) -> str:
        verdict = SANDBOX.get().outputs(program, self._case.entry_point, self._inputs, in_place=True)
        return repr((verdict.outcome, verdict.recorded))


PASSED = StepScore(0.0, 0.0, 1.0)
OPEN = StepScore(0.0, 1.0, 0.0)
FAILED = StepScore(1.0, 0.0, 0.0)


class ShownTests:
    """The tests that the questions show, run on programs. The hidden tests are never run here.

    An unfinished program is not run: it is neutral while it can still become a program, else negative.
    """

    def __init__(self, task: str, cases: Mapping[str, CodeCase]) -> None:
        self._task, self._cases = task, cases

    def score(self, problem: Problem, steps: Sequence[Step]) -> StepScore:
        """The score of the last step, given those before it. Raises ScorerError for an unknown problem."""
        case = self._cases.get(problem.id)
        if case is None:
            raise ScorerError(f"{problem.id} is no problem of the task {self._task}: no tests to run")
        message = "".join(step.text for step in (*since_observation(steps[:-1]), steps[-1]))  # the last one
        text = with_def(message)
        if steps[-1].stop is not Stop.END:
            return OPEN if may_become_program(text, case.preamble, case.entry_point) else FAILED
        program = program_of(case, text)
        if program is None:
            return FAILED
        if case.public is None:
            return OPEN
        return PASSED if SANDBOX.get().run(program, case.public).passed else FAILED


def literal_calls(code: str, name: str) -> Iterable[tuple[object, ...]]:
    """The arguments of the calls of `name` in a text, where they are literals and given by position."""
    try:
        tree = parse(code)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            try:
                if not node.keywords:
                    yield tuple(ast.literal_eval(argument) for argument in node.args)
            except ValueError:
                continue
