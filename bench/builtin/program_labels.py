"""Labelled programs for the code task's reward models: mutants of references, and what the policy wrote.

Both are labelled by the same tests, in the sandbox, statement by statement and up to the first error. A
mutant's error is where it was changed (`mutation.label`). A policy's program has no such place, so its error
is found by trying: see `first_errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from rich.console import Console
from rich.progress import track

from bench.builtin.sampling import TEMPERATURES, Manner, solutions_of
from bench.tasks.builtin_code import PROMPT, PROVIDES, SEGMENTER, BuiltinCode, case_of
from bench.tasks.generated.programs import ProgramProblem
from mutation.build import LIMITS, mixed, work
from mutation.label import LabelParams, label
from mutation.mbpp import CodeProblem
from mutation.sandbox.isolation import cores
from mutation.sandbox.sandbox import Sandbox
from prm.data.labels import LabelledSolution, until_first_error
from search.types import Problem

MANNER = Manner(PROMPT, SEGMENTER)
COMPLETED = "completion"
"""What labelled a policy's program: `prm.data.labels.LabelledSolution.produced_by`."""


def mutated(
    problems: Sequence[ProgramProblem], split: str, kept: Path, params: LabelParams
) -> list[LabelledSolution]:
    """References, mutants and, if the knobs say so, rewordings, labelled as `mutation.build` labels MBPP's.

    kept: beside it are all verdicts, rewordings' too, so that a call that was interrupted goes on where it
    stopped, and one that differs in rewordings only runs nothing.
    """
    asked = [
        CodeProblem(p.id, split, p.question, p.function.reference, case_of(p).hidden[""], PROVIDES)
        for p in problems
    ]
    tried = work(asked, replace(params, rewordings=True), kept, cores(), True, Console(stderr=True))
    if not params.rewordings:
        tried = [replace(one, tried=tuple(t for t in one.tried if not t.rewording)) for one in tried]
    return [record.solution for record in mixed([r for one in tried for r in label(one, params)], params)]


def sampled(
    policy: Path, problems: Sequence[ProgramProblem], split: str, each: int
) -> list[LabelledSolution]:
    """`each` programs that the policy writes for every problem, at several temperatures, labelled."""
    asked = [Problem(f"{p.id}/{n}", p.question) for p in problems for n in range(each)]
    written = solutions_of(policy, asked, TEMPERATURES, MANNER)
    with Sandbox(LIMITS) as sandbox:
        return [
            labelled(problems[at // each], steps, split, sandbox)
            for at, steps in enumerate(track(written, "first errors"))
            if steps
        ]


def labelled(
    problem: ProgramProblem, steps: Sequence[str], split: str, sandbox: Sandbox
) -> LabelledSolution:
    """One program's record. Its outcome is the tests' verdict on the whole of it."""
    suite = case_of(problem).hidden[""]

    @lru_cache(None)
    def passes(program: str) -> bool:
        try:
            compile(program, problem.id, "exec")
        except (SyntaxError, ValueError):
            return False
        return sandbox.run(program, suite).passed

    reference = problem.function.reference.splitlines()
    kept, labels = until_first_error(steps, labels_by_completion(steps, reference, passes))
    whole = passes("\n".join(steps) + "\n")
    name = BuiltinCode.name
    rest = tuple(steps[len(kept) :])
    return LabelledSolution(
        problem.question, kept, labels, name, split, COMPLETED, rest=rest, outcome=whole
    )


def labels_by_completion(
    steps: Sequence[str], reference: Sequence[str], passes: Callable[[str], bool]
) -> list[int]:
    """1 for each statement after which a right program can still be reached, -1 from the first other one on.

    As Math-Shepherd's hard estimation (Wang et al. 2023, arXiv:2312.08935), with the reference for a
    completer: the n-th statement is right if the whole program passes, or the first n statements do when
    they are followed by what the reference has from its n-th or a later statement on. Nothing that stands
    already is done again: else every mistake could be overwritten.
    """
    if passes("\n".join(steps) + "\n"):
        return [1] * len(steps)
    for n in range(1, len(steps) + 1):
        begun = list(steps[:n])
        endings = (reference[later:] for later in range(n, len(reference) + 1))
        if not any(passes("\n".join([*begun, *ending]) + "\n") for ending in endings):
            return [1] * (n - 1) + [-1] * (len(steps) - n + 1)
    return [1] * len(steps)
