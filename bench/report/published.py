"""Rows of sampled solutions as other projects publish them, brought into the one shape that is read here.

- Large Language Monkeys (Brown et al. 2024, arXiv:2407.21787; data set ScalingIntelligence/monkey_business):
  `samples` and `is_corrects`.
- search-and-learn (github.com/huggingface/search-and-learn, the completions of its best-of-N runs):
  `completions`, `scores` of their steps, and the reference `answer`.
- Qwen2.5-Math (github.com/QwenLM/Qwen2.5-Math, evaluation/math_eval.py and rm_maj_eval.py): `code` holds the
  solutions, `score` whether they are correct, `pred_score` a reward model's scores in lists of one, and `gt`
  the reference.
- RLHFlow (github.com/RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py, which writes save_data.jsonl):
  `prompt`, `answers`, `label`, and `step_scores` of the first answers, up to its --num_n: the others are left
  out. It takes the mean of step scores.
- OpenR (github.com/openreasoner/openr, reason/evaluation/evaluate.py, which writes record.jsonl): `output`
  holds objects with `text` and `value`, its step scores, and `groundtruth` is the reference.
- crucible-ttc (github.com/satchmakua/crucible-ttc, tests/fixtures/*-bestofn*.json): `traces`, each with its
  `text`, `correct` and `prm_score`; the question is not in the row.
- PRM800K's scored samples (github.com/openai/prm800k, prm800k/eval/eval.py, scored-test-samples.jsonl): a row
  is one sample, with `problem`, `steps`, `is_correct`, `prm_score` (which is taken) and `orm_score`.

If a row holds the reference alone, candidates are marked by comparing answers. In solutions of RLHFlow and
OpenR each step may end with Math-Shepherd's tag (Wang et al. 2023, arXiv:2312.08935): they are split there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from search.errors import UsageError
from search.types import Answers

STEP_TAG = "ки"
"""Ends a step in texts for Math-Shepherd and models like it."""
IDS = ("problem_id", "unique_id")
"""What others call the id, in any of these shapes."""

Fields = Mapping[str, Any]


def in_one_shape(fields: Fields, answers: Answers | None) -> dict[str, Any]:
    """The row with `question`, `candidates`, `correct`, `scores` and `id`, whatever the original calls them.

    answers: how candidates are marked if the row holds the reference answer only; None marks equal texts.
    Raises UsageError for lists of objects that cannot be read. Anything else is left as it is: the reader
    refuses it.
    """
    row = dict(fields)
    if "candidates" not in row:
        shape = next((s for told_by, s in SHAPES.items() if all(name in row for name in told_by)), None)
        row = row if shape is None else {**shape(row), **row}
    if "id" not in row and (name := next((name for name in IDS if name in row), None)):
        row["id"] = row[name]
    texts, reference = row.get("candidates"), row.get("answer")
    if "correct" not in row and isinstance(texts, list) and isinstance(reference, str):
        row["correct"] = [_is_right(text, reference, answers) for text in texts]
    return row


def is_one_sample(fields: Fields) -> bool:
    """Whether the row is a single sample of its problem, of which other rows hold the others."""
    return "candidates" not in fields and "steps" in fields and "is_correct" in fields


def _renamed(**names: str) -> Callable[[Fields], dict[str, Any]]:
    """The fields under the names used here. names: the original ones; a field may be missing."""
    return lambda row: {ours: row[theirs] for ours, theirs in names.items() if theirs in row}


def _rlhflow(row: Fields) -> dict[str, Any]:
    columns = {"candidates": row["answers"], "correct": row["label"]}
    if isinstance(scores := row.get("step_scores"), list):
        columns = {name: v[: len(scores)] if isinstance(v, list) else v for name, v in columns.items()}
        columns["scores"] = scores
    if isinstance(texts := columns["candidates"], list):
        columns["candidates"] = [_split(text) for text in texts]
    return columns | _renamed(question="prompt")(row)


def _openr(row: Fields) -> dict[str, Any]:
    columns = _columns(row, "output", {"candidates": "text"}, scores="value")
    columns["candidates"] = [_split(text) for text in columns["candidates"]]
    return columns | {"answer": row["groundtruth"]}


def _crucible(row: Fields) -> dict[str, Any]:
    columns = _columns(row, "traces", {"candidates": "text", "correct": "correct"}, scores="prm_score")
    return columns | {"question": row.get("problem", "")}


def _prm800k(row: Fields) -> dict[str, Any]:
    columns = {"candidates": [row["steps"]], "correct": [row["is_correct"]]}
    return columns | ({"scores": [row["prm_score"]]} if "prm_score" in row else {})


SHAPES: Mapping[tuple[str, ...], Callable[[Fields], dict[str, Any]]] = {
    ("samples",): _renamed(candidates="samples", correct="is_corrects", answer="gt_answer"),
    ("completions",): _renamed(candidates="completions"),
    ("code", "pred"): _renamed(
        candidates="code", correct="score", scores="pred_score", answer="gt", id="idx"
    ),
    ("answers", "label"): _rlhflow,
    ("output", "groundtruth"): _openr,
    ("traces",): _crucible,
    ("steps", "is_correct"): _prm800k,
}
"""How a row is read, by the fields that tell whose it is."""


def _columns(row: Fields, name: str, names: Mapping[str, str], *, scores: str) -> dict[str, Any]:
    """Columns of the objects in the list `name`. Raises UsageError.

    names: the objects' fields, by column. scores: their field that may be missing.
    """
    objects, needed = row[name], tuple(names.values())
    if not isinstance(objects, list) or not all(
        isinstance(one, dict) and all(field in one for field in needed) for one in objects
    ):
        raise UsageError(f"'{name}' must be objects with {' and '.join(map(repr, needed))}")
    columns = {column: [one[field] for one in objects] for column, field in names.items()}
    scored = any(scores in one for one in objects)
    return columns | ({"scores": [one.get(scores) for one in objects]} if scored else {})


def _split(text: Any) -> Any:
    """The steps of a text whose steps end with the tag; anything else as it is."""
    if not isinstance(text, str) or STEP_TAG not in text:
        return text
    return [step.strip() for step in text.split(STEP_TAG) if step.strip()]


def _is_right(candidate: Any, reference: str, answers: Answers | None) -> bool:
    text = "\n".join(candidate) if isinstance(candidate, list) else candidate
    if not isinstance(text, str):
        return False  # the reader refuses the row
    if answers is None:
        return text.strip() == reference.strip()
    answer = answers.extract(text)
    return answer is not None and answers.equal(answer, reference)
