"""MATH (Hendrycks et al. 2021, arXiv:2103.03874), by default its 500 problems of MATH-500.

MATH-500 is the test split of PRM800K (Lightman et al. 2023), on the hub HuggingFaceH4/MATH-500.
The other 4,500 problems of MATH's own test set are in PRM800K's training set: a reward model
trained on PRM800K must not be measured on them. A line of math500.jsonl:

{"problem": "How many positive whole-number divisors does 196 have?", "solution": "First prime
 factorize $196=2^2\\\\cdot7^2$. ... we have $3\\\\times 3=\\\\boxed{9}$.", "answer": "9",
 "subject": "Number Theory", "level": 3, "unique_id": "test/number_theory/572.json"}
"""

from __future__ import annotations

from pathlib import Path

from bench.grading.equality import WORKER, same_math
from bench.grading.extract import boxed_answer, last_box, math_answer
from bench.grading.fallback import is_sentence, last_mathematics
from bench.grading.grade import Grade, grade_math
from bench.tasks.base import Example, TextTask
from bench.tasks.prompts import MATH
from prm.data.rows import Row, hub_rows, json_lines
from search.errors import UsageError
from search.types import Problem


class Math(TextTask):
    """`data`: a JSONL file, or a folder that holds math500.jsonl."""

    name = "math"
    prompts = MATH

    def examples(self, data: Path | None, limit: int | None) -> list[Example]:
        """The test problems, grouped by level. Raises UsageError, also if math-verify does not load."""
        if data is None:
            rows, source = hub_rows("HuggingFaceH4/MATH-500", "test", stream=False), "math500"
        else:
            path = data / "math500.jsonl" if data.is_dir() else data
            rows, source = json_lines(path), path.stem
        examples = [_example(row, source) for row in rows][:limit]
        WORKER.start()
        return examples

    def stated(self, text: str) -> str | None:
        """The final answer as LaTeX: the last box or boxes, or what the text calls its answer."""
        return math_answer(text)

    def fallback(self, text: str) -> str | None:
        """The last mathematics of the last sentence."""
        return last_mathematics(text)

    def is_bare(self, text: str) -> bool:
        return not is_sentence(text)

    def equal(self, a: str, b: str) -> bool:
        """True if both are the same mathematically; symmetric."""
        return same_math(a, b)[0]

    def compare(self, answer: str | None, reference: str) -> Grade:
        """Mathematical equality; answers that would stall sympy are wrong."""
        return grade_math(answer, reference)


def _example(row: Row, source: str) -> Example:
    question = row.text("problem")
    answer = _reference(row)
    if not answer:
        raise UsageError(f"{row.where}: no 'answer', and no \\boxed{{}} in 'solution'")
    unique = row.fields.get("unique_id")
    name = str(unique).removesuffix(".json") if unique else f"{source}/{row.number}"
    level = str(row.fields.get("level", "")).removeprefix("Level ")  # the hub has a number
    return Example(Problem(f"math/{name}", question), answer, f"level {level}" if level else "")


def _reference(row: Row) -> str | None:
    """The answer, or else the solution's boxes.

    Copies of MATH keep only the last box as the answer where a solution boxes several ("the answers are
    $\\boxed{-2}$ and $\\boxed{1}$"): then it is all of them as well.
    """
    if "answer" not in row.fields:
        return boxed_answer(row.text("solution"))
    answer, solution = row.text("answer"), row.fields.get("solution")
    is_last_box = isinstance(solution, str) and last_box(solution) == answer.strip()
    return boxed_answer(solution) if is_last_box and isinstance(solution, str) else answer
