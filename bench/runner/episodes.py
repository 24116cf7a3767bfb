"""Episodes of several turns in a run: from what a request says to the environment of a task."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from bench.runner.checkpoints import BUILTIN_POLICIES, tokenizer_of
from bench.runner.faults import Faults
from bench.runner.resolve import ResolvedPolicy
from bench.tasks.base import Task
from bench.tasks.code import SharedSandbox
from mutation.sandbox.cells import LIMITS, Cells
from search.environments.critics import Checked, CheckerCritic, Critic, ModelCritic
from search.environments.python import PythonEnvironment
from search.limits import LengthLimits
from search.policies.turns import turn_pieces
from search.prompts import Prompt
from search.types import Policy, Problem

ENVIRONMENTS = ("python",)
CRITICS = ("checker", "policy")
LENGTHS = LengthLimits(step_tokens=1024, solution_tokens=4096)
"""Of a turn and of all turns, where the request names none."""

TOOLS = """\
Tool available:
[1] Python interpreter
When you send a message containing Python code to python, it will be executed in a stateful Jupyter notebook \
environment.
"""
"""What stands before the question in prompts with a chat template, as in UltraInteract."""

_SANDBOX = SharedSandbox(LIMITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSpec:
    """Episodes, as a request names them.

    environment: one of `ENVIRONMENTS`. turns: at most so many messages of the policy. verdicts: whether it is
    told if its answer is correct. critic: one of `CRITICS`, None for no critiques.
    """

    environment: str = "python"
    turns: int = 5
    verdicts: bool = False
    critic: str | None = None

    def identity(self) -> dict[str, Any]:
        """What a run's results depend on; kept in its trace."""
        return asdict(self)

    def check(self, faults: Faults, task: Task | None, *, is_question: bool) -> None:
        """Note what is wrong with it. task: None if unknown."""
        if self.environment not in ENVIRONMENTS:
            faults.add(f"--episodes {self.environment}: there is only {', '.join(ENVIRONMENTS)}")
        if self.critic is not None and self.critic not in CRITICS:
            faults.add(f"--critic {self.critic}: choose {' or '.join(CRITICS)}")
        if self.turns < 1:
            faults.add(f"--turns {self.turns}: it must be at least 1")
        if self.verdicts and is_question:
            faults.add("--verdicts does not go with --question: one question has no reference answer")
        if self.critic == "checker" and not self.verdicts:
            faults.add("--critic checker needs --verdicts: it explains them")
        if self.critic == "checker" and task is not None and task.public_tests is None:
            faults.add(f"--critic checker: the checker of {task.name} says no more than right or wrong")


def with_tools(policy: ResolvedPolicy) -> ResolvedPolicy:
    """The policy with a prompt that names the interpreter, if it is a chat prompt.

    The built-in policies have learnt no other prompt than their own, and keep it.
    Raises UsageError if the chat template cannot go on after an observation.
    """
    prompt = policy.prompt
    if not prompt.chat:
        return policy
    assert policy.tokenizer is not None
    turn_pieces(tokenizer_of(policy.tokenizer), prompt)
    if policy.name in BUILTIN_POLICIES:
        return policy
    return replace(policy, prompt=replace(prompt, template=TOOLS + prompt.template))


def check_sandbox() -> None:
    """Raise SandboxError if code cannot be run here. What is recorded is replayed without."""
    _SANDBOX.get()


def environment_of(spec: EpisodeSpec, task: Task, policy: Policy, *, chat: bool) -> PythonEnvironment:
    """The environment of a task.

    policy: the run's, which may be its own critic. chat: whether it is asked through its chat template.
    """
    critic: Critic | None = None
    if spec.critic == "checker":
        critic = CheckerCritic()
    elif spec.critic == "policy":
        critic = ModelCritic(policy, Prompt("{question}", chat=chat))
    return PythonEnvironment(
        Cells(_SANDBOX.get), TaskChecker(task), programs=task.public_tests is not None,
        verdicts=spec.verdicts, critic=critic, turns=spec.turns,
    )  # fmt: skip


class TaskChecker:
    """A task as an environment asks it. See `search.environments.python.Checker`."""

    def __init__(self, task: Task):
        self._task = task
        self._answers = lru_cache(4096)(task.answers)

    def extract(self, problem: Problem, text: str) -> str | None:
        return self._answers(problem).extract(text)

    def check(self, problem: Problem, answer: str | None) -> Checked:
        grade = self._task.grade(problem, answer)
        explains = self._task.public_tests is not None and not grade.correct
        return Checked(grade.correct, f"The tests ended with: {grade.how}." if explains else "")
