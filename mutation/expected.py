"""Tests made from a reference: a program must return what the reference returns for the same inputs.

MBPP+ and HumanEval+ (EvalPlus, Liu et al. 2023, arXiv:2305.01210) publish inputs and a reference for each
problem. The expected outputs are computed here, in the sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Suite

SAME = """
import math

def same(got, want, tolerance):
    if isinstance(got, float) or isinstance(want, float):
        number = isinstance(got, (int, float)) and isinstance(want, (int, float))
        return number and math.isclose(got, want, rel_tol=1e-7, abs_tol=tolerance or 1e-6)
    if isinstance(want, (list, tuple)) and isinstance(got, (list, tuple)) and type(got) is type(want):
        return len(got) == len(want) and all(same(g, w, tolerance) for g, w in zip(got, want))
    return got == want

"""


class Comparison(Enum):
    """How an output is compared with the expected one. The values are statements of the tests."""

    VALUES = "    assert same({call}, want, TOLERANCE)\n"
    """Equal, floats within the tolerance."""
    SETS = "    assert set({call}) == set(want)\n"
    """Equal as sets, for problems that leave the order open."""
    TRUTH = "    got = {call}\n    assert (got if isinstance(got, bool) else got is not None) == want\n"
    """Both true or both false, where None is false and any other object true."""


@dataclass(frozen=True, slots=True)
class PlusTests:
    """The part of a problem that MBPP+ or HumanEval+ adds.

    inputs: arguments of calls of `entry_point`, in the types that it takes.
    tolerance: absolute, for floats; 0 stands for EvalPlus's default, 1e-6.
    """

    entry_point: str
    reference: str
    inputs: Sequence[Sequence[Any]]
    tolerance: float = 0.0
    comparison: Comparison = Comparison.VALUES

    def outputs(self, sandbox: Sandbox, *, runs: int = 1) -> dict[int, Any]:
        """The reference's outputs by the index of the input.

        Inputs for which the reference raises, or does not return the same in all `runs`, have none.
        """
        recorded = [
            sandbox.outputs(self.reference, self.entry_point, self.inputs).recorded for _ in range(runs)
        ]
        return {
            i: value for i, ((kind, value), *others) in enumerate(zip(*recorded, strict=False))
            if kind == "value" and all(repr(other) == repr((kind, value)) for other in others)
        }  # fmt: skip

    def suite(self, outputs: Mapping[int, Any]) -> Suite:
        """Tests that a program returns these outputs, which are keyed by the index of the input."""
        if self.comparison is Comparison.TRUTH:
            outputs = {i: o if isinstance(o, bool) else o is not None for i, o in outputs.items()}
        compare = self.comparison.value.format(call=f"{self.entry_point}(*arguments)")
        cases = [(self.inputs[i], output) for i, output in outputs.items()]
        return Suite(SAME + "for arguments, want in CASES:\n" + compare, (self.entry_point,)).with_values(
            CASES=cases, TOLERANCE=self.tolerance
        )
