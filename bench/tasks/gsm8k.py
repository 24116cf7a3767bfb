"""GSM8K (Cobbe et al. 2021, arXiv:2110.14168): 1,319 test problems, integer answers.

https://github.com/openai/grade-school-math; on the hub openai/gsm8k. A line of test.jsonl:

{"question": "A robe takes 2 bolts of blue fiber and half that much white fiber.  How many bolts in
 total does it take?", "answer": "It takes 2/2=<<2/2=1>>1 bolt of white fiber\\nSo the total amount
 of fabric is 2+1=<<2+1=3>>3 bolts of fabric\\n#### 3"}
"""

from __future__ import annotations

from pathlib import Path

from bench.grading.equality import same_number
from bench.grading.extract import last_number, stated_number
from bench.grading.grade import Grade, grade_number
from bench.grading.numeric import number
from bench.tasks.base import Example, TextTask
from bench.tasks.prompts import GSM8K
from prm.data.rows import Row, hub_rows, json_lines
from search.errors import UsageError
from search.types import Problem


class Gsm8k(TextTask):
    """`data`: a file in the original format, or a folder that holds test.jsonl."""

    name = "gsm8k"
    prompts = GSM8K

    def examples(self, data: Path | None, limit: int | None) -> list[Example]:
        """The test problems, grouped by the number of lines of the worked solution. Raises UsageError."""
        if data is None:
            rows, split = hub_rows("openai/gsm8k", "test", "main", stream=False), "test"
        else:
            path = data / "test.jsonl" if data.is_dir() else data
            rows, split = json_lines(path), path.stem
        return [_example(row, split) for row in rows][:limit]

    def stated(self, text: str) -> str | None:
        """The final number: after "####", in the last box, or after "answer is"."""
        return stated_number(text)

    def fallback(self, text: str) -> str | None:
        """The last number."""
        return last_number(text)

    def is_bare(self, text: str) -> bool:
        return number(text) is not None

    def equal(self, a: str, b: str) -> bool:
        """True if both are the same number, exactly."""
        return same_number(a, b)[0]

    def compare(self, answer: str | None, reference: str) -> Grade:
        """Exact comparison as numbers."""
        return grade_number(answer, reference)


def _example(row: Row, split: str) -> Example:
    question, solution = row.text("question"), row.text("answer")
    steps, marker, answer = solution.rpartition("####")
    if not marker or number(answer) is None:
        raise UsageError(f"{row.where}: 'answer' must end with '#### ' and a number")
    problem = Problem(f"gsm8k/{split}/{row.number}", question)
    return Example(problem, answer.strip(), f"{len(steps.strip().splitlines())} steps")
