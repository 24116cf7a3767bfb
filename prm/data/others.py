"""Math-Shepherd, TRL's stepwise supervision, ProcessBench, PRMBench, and worked solutions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prm.data.labels import LabelledSolution
from search.errors import UsageError
from search.segment import SEGMENTERS

STEP_TAG = "ки"
FIRST_STEP = (re.compile(r"Step 1:"), re.compile(r"\bstep\s*1\s*[:.]", re.IGNORECASE))
"""Where the question ends and the solution begins; the first that is there."""
_STEP = re.compile(r"^step\s*\d+\s*[:.]\s*", re.IGNORECASE)
RIGHT = 0.5
"""TRL: the least soft label of a step that counts as right where labels are hard."""


def math_shepherd(row: Mapping[str, Any], split: str) -> Iterator[LabelledSolution]:
    """{"input", "label", "task"}: the input has `ки` after each step; the label has + or - in its place.

    Wang et al. 2023, arXiv:2312.08935 (hub: peiyi9979/Math-Shepherd). + means that a rollout from the step
    reached the right answer (hard estimation); it also occurs after an error.
    """
    if not isinstance(row["input"], str) or not isinstance(row["label"], str):
        raise UsageError("'input' and 'label' must be text")
    *texts, tail = row["input"].split(STEP_TAG)
    if tail.strip() or not texts:
        raise UsageError(f"the input must end with {STEP_TAG!r}, after its last step")
    labels: list[int] = []
    at = 0
    for text in texts:
        if not row["label"].startswith(text, at) or row["label"][at + len(text) :][:1] not in ("+", "-"):
            raise UsageError(f"the label does not repeat the input up to step {len(labels) + 1}, then + or -")
        at += len(text) + 1
        labels.append(1 if row["label"][at - 1] == "+" else -1)
    first = next((match for pattern in FIRST_STEP if (match := pattern.search(texts[0]))), None)
    if first is None:
        raise UsageError("the input has no 'Step 1:', where the question ends")
    question, texts[0] = texts[0][: first.start()], texts[0][first.start() :]
    if not question.strip():
        raise UsageError("the input has no question before 'Step 1:'")
    steps = tuple(_STEP.sub("", text.strip()) for text in texts)
    source = f"math-shepherd/{row['task']}" if row.get("task") else "math-shepherd"
    yield LabelledSolution(question.strip(), _filled(steps), tuple(labels), source, split, "rollouts")


def trl(row: Mapping[str, Any], split: str) -> Iterator[LabelledSolution]:
    """{"prompt", "completions", "labels"}: TRL's format for stepwise supervision.

    Labels are true or false, 1 or 0, or between them the probability that the step is right.
    """
    completions, labels = row["completions"], row["labels"]
    if not isinstance(completions, list) or not isinstance(labels, list):
        raise UsageError("'completions' and 'labels' must be lists")
    values = tuple(map(_share, labels))
    is_soft = any(isinstance(label, float) for label in labels)  # also where all of them are 0.0 or 1.0
    yield LabelledSolution(
        row["prompt"], _filled(completions), tuple(1 if value >= RIGHT else -1 for value in values), "trl",
        split, "unknown", values=values if is_soft or not set(values) <= {0.0, 1.0} else (),
    )  # fmt: skip


def _filled(steps: Sequence[Any]) -> tuple[Any, ...]:
    """The steps. Raises UsageError for a blank one: what a label says of it is unknown."""
    for number, step in enumerate(steps, start=1):
        if isinstance(step, str) and not step.strip():
            raise UsageError(f"step {number} is blank")
    return tuple(steps)


def _share(label: Any) -> float:
    """A label of TRL's format as a probability. Texts are read too: a column of mixed types holds texts."""
    if isinstance(label, str):
        label = {"true": 1, "false": 0}.get(label.lower(), label)
    try:
        value = float(label)
    except (TypeError, ValueError, OverflowError):
        value = float("nan")
    if not 0 <= value <= 1:
        raise UsageError(f"labels must be true or false, 1 or 0, or between 0 and 1, not {label!r}")
    return value


def processbench(row: Mapping[str, Any], split: str) -> Iterator[LabelledSolution]:
    """{"id", "problem", "steps", "final_answer_correct", "label"}: label is the first wrong step or -1.

    Zheng et al. 2024, arXiv:2412.06559 (hub: Qwen/ProcessBench). An evaluation set.
    """
    steps, wrong = row["steps"], row["label"]
    if type(wrong) is not int or not -1 <= wrong < len(steps):
        raise UsageError(f"the label must be -1 or the index of a step, not {wrong!r}")
    end = len(steps) if wrong < 0 else wrong + 1
    labels = [1] * end
    if wrong >= 0:
        labels[-1] = -1
    part = row["id"].rpartition("-")[0]
    yield LabelledSolution(
        row["problem"], tuple(steps[:end]), tuple(labels), f"processbench/{part}", "test", "human",
        rest=tuple(steps[end:]), outcome=row["final_answer_correct"],
    )


def prmbench(row: Mapping[str, Any], split: str) -> Iterator[LabelledSolution]:
    """{"modified_question", "modified_process", "error_steps" (1-based), "classification", "idx", ...}.

    Song et al. 2025, arXiv:2501.03124 (hub: hitsmy/PRMBench_Preview). An evaluation set built on PRM800K,
    including problems of its training part. Every step is labelled, also after an error. A few records
    name an error after the last step, which is ignored.
    """
    steps, errors = row["modified_process"], set(row["error_steps"])
    if any(type(number) is not int or number < 1 for number in errors):
        raise UsageError(f"error_steps counts from 1: {sorted(errors)}")
    labels = tuple(-1 if number in errors else 1 for number in range(1, len(steps) + 1))
    source = f"prmbench/{row['classification']}"
    yield LabelledSolution(row["modified_question"], tuple(steps), labels, source, "test", "human")


def worked(row: Mapping[str, Any], split: str) -> Iterator[LabelledSolution]:
    """{"question", "answer"} of GSM8K or {"problem", "solution"} of MATH: reference solutions, all right.

    For supervised fine-tuning before a head is trained. GSM8K's calculator annotations are removed.
    """
    question = row["question"] if "question" in row else row["problem"]
    if "solution" in row:
        text, source = row["solution"], "math"
    else:
        text, source = re.sub(r"<<.*?>>", "", row["answer"]), "gsm8k"
        text = re.sub(r"\n#### (.*)", r"\nThe answer is \1.", text)
    steps = tuple(SEGMENTERS["newline"].texts(text)) if text.strip() else ()
    yield LabelledSolution(question, steps, (1,) * len(steps), source, split, "reference", outcome=True)
