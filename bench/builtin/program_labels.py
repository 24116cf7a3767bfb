"""Labelled programs for the code task's reward models: mutants of references, and the policy's programs.

Both are labelled with the same tests, in the sandbox, statement by statement up to the first error. The
error of a mutant is where it was changed (`mutation.label`). The error of a policy's program has to be
searched for; see `labels_by_completion`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from rich.progress import track

from bench.builtin.sampling import TEMPERATURES, Manner, solutions_of
from bench.tasks.builtin_code import PROMPT, PROVIDES, SEGMENTER, BuiltinCode, case_of
from bench.tasks.generated.programs import ProgramProblem
from mutation.label import LabelParams, balanced, label
from mutation.mbpp import CodeProblem
from mutation.sandbox.sandbox import Sandbox
from mutation.work import LIMITS, run_problems
from prm.data.labels import LabelledSolution, until_first_error
from search.types import Problem

MANNER = Manner(PROMPT, SEGMENTER)
COMPLETED = "completion"
"""The `produced_by` of the policy's programs; see `prm.data.labels.LabelledSolution`."""


def mutated(
    problems: Sequence[ProgramProblem], split: str, kept: Path, params: LabelParams
) -> list[LabelledSolution]:
    """References, mutants and, depending on `params`, rewordings, labelled as by `mutation.build`.

    kept: all verdicts are written beside it, those of rewordings too. An interrupted call can resume from
        them, and a call that differs only in the rewordings runs no program.
    """
    code_problems = [
        CodeProblem(p.id, split, p.question, p.function.reference, case_of(p).hidden[""], PROVIDES)
        for p in problems
    ]
    results = run_problems(code_problems, replace(params, rewordings=True), kept)
    if not params.rewordings:
        results = [replace(one, tried=tuple(t for t in one.tried if not t.rewording)) for one in results]
    labelled_programs = [record for one in results for record in label(one, params)]
    return [record.solution for record in balanced(labelled_programs, params)]


def sampled(
    policy: Path, problems: Sequence[ProgramProblem], split: str, each: int
) -> list[LabelledSolution]:
    """`each` programs per problem, sampled from the policy at several temperatures, and labelled."""
    repeated = [Problem(f"{p.id}/{n}", p.question) for p in problems for n in range(each)]
    written = solutions_of(policy, repeated, TEMPERATURES, MANNER)
    with Sandbox(LIMITS) as sandbox:
        return [
            labelled(problems[at // each], steps, split, sandbox)
            for at, steps in enumerate(track(written, "first errors"))
            if steps
        ]


def labelled(
    problem: ProgramProblem, steps: Sequence[str], split: str, sandbox: Sandbox
) -> LabelledSolution:
    """Label one program. The outcome is whether the whole program passes the tests."""
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
    """1 for the statements after which a right program can still be reached, -1 from the first other one on.

    This is Math-Shepherd's hard estimation (Wang et al. 2023, arXiv:2312.08935) with the reference as the
    completer: the n-th statement is right if the whole program passes, or if the first n statements pass when
    the statements of the reference from its n-th or a later one on are appended. Earlier statements of the
    reference are not appended, because they could overwrite every mistake.
    """
    if passes("\n".join(steps) + "\n"):
        return [1] * len(steps)
    for n in range(1, len(steps) + 1):
        begun = list(steps[:n])
        endings = (reference[later:] for later in range(n, len(reference) + 1))
        if not any(passes("\n".join([*begun, *ending]) + "\n") for ending in endings):
            return [1] * (n - 1) + [-1] * (len(steps) - n + 1)
    return [1] * len(steps)
