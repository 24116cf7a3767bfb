"""Rows of sampled solutions as other projects publish them, brought into the one shape that is read here.

- Large Language Monkeys (Brown et al. 2024, the data set monkey_business): `samples` and `is_corrects`.
- Compute-optimal scaling by Hugging Face (search-and-learn): `completions`, `scores` of their steps, and the
  reference `answer`; whether a completion is correct is found by comparing answers.
- crucible-ttc: `traces`, each with its `text`, `correct` and `prm_score`; the question is not in the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.errors import UsageError
from search.types import Answers

NAMES = {
    "candidates": ("samples", "completions"),
    "correct": ("is_corrects",),
    "id": ("problem_id", "unique_id"),
    "answer": ("gt_answer", "gold"),
}
"""What other projects call a field, by what it is called here."""
SCORES = ("prm_score", "score")
"""What the score of a trace is called."""


def in_one_shape(fields: Mapping[str, Any], answers: Answers | None) -> dict[str, Any]:
    """The row with `candidates`, `correct`, `scores` and `id` where the original has them under other names.

    answers: how candidates are marked if the row holds the reference answer only; None marks equal texts.
    Raises UsageError for traces that cannot be read. Anything else is left as it is: the reader refuses it.
    """
    row = dict(fields)
    for name, others in NAMES.items():
        if name not in row and (found := next((other for other in others if other in row), None)):
            row[name] = row[found]
    if "candidates" not in row and isinstance(row.get("traces"), list):
        row |= _of_traces(row["traces"])
        row.setdefault("question", row.get("problem", ""))
    texts, reference = row.get("candidates"), row.get("answer")
    if "correct" not in row and isinstance(texts, list) and isinstance(reference, str):
        row["correct"] = [_is_right(text, reference, answers) for text in texts]
    return row


def _of_traces(traces: list[Any]) -> dict[str, Any]:
    if not all(isinstance(trace, dict) and "text" in trace and "correct" in trace for trace in traces):
        raise UsageError("'traces' must be objects with 'text' and 'correct'")
    columns = {"candidates": [t["text"] for t in traces], "correct": [t["correct"] for t in traces]}
    score = next((name for name in SCORES if any(name in trace for trace in traces)), None)
    return columns if score is None else columns | {"scores": [trace.get(score) for trace in traces]}


def _is_right(candidate: Any, reference: str, answers: Answers | None) -> bool:
    text = "\n".join(candidate) if isinstance(candidate, list) else candidate
    if not isinstance(text, str):
        return False  # the reader refuses the row
    if answers is None:
        return text.strip() == reference.strip()
    answer = answers.extract(text)
    return answer is not None and answers.equal(answer, reference)
