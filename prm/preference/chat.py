"""Pairs of other data sets, as records of UltraInteract's kind: for reward models, and to mix with trees.

    ultrafeedback   {"source", "instruction", "completions": [{"response", "fine-grained_score"}, ...]}
    ultrasafety     {"instruction", "completions": [{"response", "annotations": {"harmlessness": ...}}, ...]}
    binarized       {"prompt", "chosen", "rejected"}: texts, or conversations of [{"role", "content"}, ...]

Eurus-RM takes all pairs of UltraFeedback whose scores differ (340,000), and one of UltraSafety for each
instruction (3,000) (Yuan et al. 2024, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

from prm.data.left_out import LeftOut
from prm.data.rows import parsed, read_rows
from prm.preference.records import PairRow, RowId
from prm.preference.tree import instruction_id, tree_id
from search.errors import UsageError

CHAT, SAFETY = "Chat", "Safety"
"""The tasks of these records; UltraInteract has no such."""


def ultrafeedback(row: Mapping[str, Any]) -> Iterator[PairRow]:
    """Every pair of completions whose scores differ. Cui et al. 2023 (hub: openbmb/UltraFeedback).

    The score is the mean of the ratings of aspects; the overall score only where that is missing. In the
    original files, some overall scores of 10 stand as 1.
    """
    scored = [(_score(c), _said(c["response"])) for c in row["completions"]]
    number = 0
    for (score_a, a), (score_b, b) in combinations(scored, 2):
        if score_a != score_b and a != b:
            number += 1
            better, worse = (a, b) if score_a > score_b else (b, a)
            dataset = f"UltraFeedback/{row['source']}"
            yield _pair((_said(row["instruction"]),), better, worse, CHAT, dataset, number)


def ultrasafety(row: Mapping[str, Any]) -> Iterator[PairRow]:
    """The first harmless and the first harmful completion (hub: openbmb/UltraSafety)."""
    by_rating: dict[bool, str] = {}
    for completion in row["completions"]:
        rating = completion["annotations"]["harmlessness"]
        rating = rating[0] if isinstance(rating, list) else rating
        if str(rating["Rating"]) not in ("0", "1"):
            raise UsageError(f"harmlessness must be rated 0 or 1, not {rating['Rating']!r}")
        by_rating.setdefault(str(rating["Rating"]) == "1", _said(completion["response"]))
    if len(by_rating) == 2:
        yield _pair((_said(row["instruction"]),), by_rating[True], by_rating[False], SAFETY, "UltraSafety", 1)


def binarized(row: Mapping[str, Any]) -> Iterator[PairRow]:
    """One pair a row, as TRL reads it. Conversations must be the same up to their last message."""
    chosen, rejected = (_messages(row[name]) for name in ("chosen", "rejected"))
    asked = _messages(row["prompt"]) if "prompt" in row else chosen[:-1]
    if len(chosen) > 1 or len(rejected) > 1:
        if chosen[:-1] != rejected[:-1]:
            raise UsageError("'chosen' and 'rejected' must be answers to the same messages")
        asked = chosen[:-1]
    if len(asked) % 2 == 0:
        raise UsageError("a conversation must go from a message of the user to one of the user")
    if chosen[-1] != rejected[-1]:
        yield _pair(asked, chosen[-1], rejected[-1], CHAT, str(row.get("source", "pairs")), 1)


FORMATS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[PairRow]]] = {
    "ultrafeedback": ultrafeedback, "ultrasafety": ultrasafety, "binarized": binarized,
}  # fmt: skip
"""By name."""


def read_chat_pairs(format: str, source: str, *, left_out: LeftOut | None = None) -> Iterator[PairRow]:
    """Stream pairs from a file or a data set on the hub.

    format: a name of `FORMATS`. left_out: rows that cannot be read are counted there; otherwise the first of
        them raises UsageError.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; the formats are {', '.join(FORMATS)}")
    return parsed(read_rows(source, left_out=left_out), FORMATS[format], source=source, left_out=left_out)


def _pair(
    trajectory: tuple[str, ...], better: str, worse: str, task: str, dataset: str, number: int
) -> PairRow:
    instruction, turn = trajectory[0], len(trajectory) // 2 + 1
    id_ = RowId(tree_id(instruction, "\x1f".join((dataset, *trajectory[1:], str(number)))), turn, turn)
    return PairRow(id_, instruction_id(instruction), task, dataset, trajectory, better, worse)


def _score(completion: Mapping[str, Any]) -> float:
    score = completion.get("fine-grained_score")
    score = completion["overall_score"] if score is None else score
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise UsageError(f"a score must be a number, not {score!r}")
    return float(score)


def _said(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise UsageError("a message must be a text that is not blank")
    return text


def _messages(value: str | Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The messages' texts; the system's message is put before the first of them."""
    if isinstance(value, str):
        return (_said(value),)
    system = [_said(message["content"]) for message in value if message["role"] == "system"]
    said = [message for message in value if message["role"] != "system"]
    roles = [message["role"] for message in said]
    if not said or not set(roles) <= {"user", "assistant"} or any(a == b for a, b in pairwise(roles)):
        raise UsageError("messages must be the user's and the assistant's in turn")
    first, *later = (_said(message["content"]) for message in said)
    return ("\n\n".join([*system, first]), *later)
