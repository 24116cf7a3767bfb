"""PRM800K (Lightman et al. 2023, arXiv:2305.20050; github.com/openai/prm800k, MIT) in three shapes.

raw: {"labeler", "generation", "is_quality_control_question", "is_initial_screening_question",
    "question": {"problem", "ground_truth_answer", phase 2: "pre_generated_steps", ...},
    "label": {"steps": [{"completions": [{"text", "rating", "flagged"}], "human_completion",
    "chosen_completion"}], "finish_reason"}}, as released by OpenAI.
regrouped: {"problem", "split_of_problem", "steps": [{"chosen", "completions": [{"text", "rating",
    "answer"?, "solution"?, "human"?}]}]}, one labelled trajectory per line.
decoded: {"problem", "split_of_problem", "steps", "ratings"}, one path per line.

A labelled trajectory is a path and, at each step, alternative completions that were rated but not continued.
It becomes one record for the path and one for each alternative, which has the path up to it as context.
A path ends at its first -1. The final answer becomes part of its step, worded as in GSM8K: "That's correct.
The answer is 5."
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prm.data.labels import LabelledSolution, until_first_error
from search.errors import UsageError

ANSWER = "\n\n# Answer\n\n"
"""The labelling tool's separator of the last step and the final answer, which were rated as one step."""

_SPLITS = {"train": "train", "test_non500": "train", "math500": "test"}
"""PRM800K trains on all of MATH but MATH-500."""


@dataclass(frozen=True, slots=True)
class _Completion:
    """final: whether it states the final answer. rating: None if it was not rated."""

    text: str
    final: bool
    rating: int | None


@dataclass(frozen=True, slots=True)
class _Choice:
    """The completions of one step. chosen: index of the one on the path; None if the trajectory ended."""

    completions: Sequence[_Completion]
    chosen: int | None


def raw(row: Mapping[str, Any], split: str) -> Iterator[LabelledSolution]:
    """Records of a row as released by OpenAI.

    Skips quality-control and screening rows, which test the labeller, and problems marked as bad.
    """
    if row["is_quality_control_question"] or row["is_initial_screening_question"]:
        return
    label, question = row["label"], row["question"]
    if label["finish_reason"] == "bad_problem":
        return
    phase = 1 if row["generation"] is None else 2
    choices = [_raw_choice(step) for step in label["steps"]]
    whole: Sequence[str] = ()
    outcome = None
    if phase == 2 and label["finish_reason"] == "found_error":
        whole = [_worded(step)[0] for step in question["pre_generated_steps"]]
        given, truth = question["pre_generated_answer"], question["ground_truth_answer"]
        outcome = _same(given, truth) if given is not None and truth is not None else None
    yield from _records(question["problem"], choices, f"prm800k/phase{phase}", split, whole, outcome)


def regrouped(row: Mapping[str, Any], split: str) -> Iterator[LabelledSolution]:
    choices = [
        _Choice(
            [
                _Completion(_stating(c["text"], c.get("answer")), "answer" in c, _rating(c["rating"]))
                for c in step["completions"]
            ],
            step["chosen"],
        )
        for step in row["steps"]
    ]
    split = _SPLITS.get(row["split_of_problem"], split)
    yield from _records(row["problem"], choices, "prm800k/phase1", split, (), None)


def decoded(row: Mapping[str, Any], split: str) -> Iterator[LabelledSolution]:
    ratings = [_rating(rating) for rating in row["ratings"]]
    if None in ratings:
        raise UsageError("a rating is null")
    if len(row["steps"]) != len(ratings):
        raise UsageError(f"{len(row['steps'])} steps but {len(ratings)} ratings")
    worded = [_worded(text) for text in row["steps"]]
    steps, labels = until_first_error([text for text, _ in worded], [r for r in ratings if r is not None])
    right = True if -1 not in labels and worded[-1][1] else None
    yield LabelledSolution(
        row["problem"], steps, labels, "prm800k/phase2", _SPLITS.get(row["split_of_problem"], split), "human",
        outcome=right,
    )


def _raw_choice(step: Mapping[str, Any]) -> _Choice:
    """Note that human_completion is an object, and that completions and ratings may be null."""
    completions = [
        _Completion(*_worded(c["text"]), None if c["flagged"] else _rating(c["rating"]))
        for c in step["completions"] or ()
    ]
    chosen = step["chosen_completion"]
    if chosen is None and (human := step["human_completion"]) is not None:
        completions.append(_Completion(*_worded(human["text"]), None))
        chosen = len(completions) - 1
    return _Choice(completions, chosen)


def _worded(text: str) -> tuple[str, bool]:
    """A step as a policy would write it, and whether it states the final answer."""
    step, separator, answer = text.partition(ANSWER)
    return _stating(step, answer), bool(separator)


def _stating(step: str, answer: str | None) -> str:
    """A step and its final answer on one line, because the tool's separator would be split into steps.

    The answer matters to the rating: "That's correct." is right with one answer and wrong with another.
    """
    final = " ".join((answer or "").split()).removesuffix(".")
    return f"{step.rstrip()} The answer is {final}.".lstrip() if final else step


def _rating(rating: object) -> int | None:
    if rating is None or (type(rating) is int and -1 <= rating <= 1):
        return rating
    raise UsageError(f"a rating must be -1, 0, 1 or null, not {rating!r}")


def _same(given: str, truth: str) -> bool:
    return "".join(given.split()) == "".join(truth.split())


def _records(
    problem: str, choices: Sequence[_Choice], source: str, split: str, whole: Sequence[str],
    outcome: bool | None,
) -> Iterator[LabelledSolution]:
    """Records of a labelled trajectory. whole, outcome: the pre-generated solution that it labels, if any."""
    path: list[_Completion] = []
    for choice in choices:
        rated = [i for i, c in enumerate(choice.completions) if c.rating is not None and c.text.strip()]
        chosen = choice.chosen
        if chosen is None and rated:  # the trajectory ended here: take one of these as the end of the path
            chosen = rated[0]
        for sibling in (choice.completions[i] for i in rated if i != chosen):
            right = sibling.rating != -1 if sibling.final else None
            yield _record(problem, [*path, sibling], source, split, tuple(range(len(path))), (), right)
        if chosen is None or not choice.completions[chosen].text.strip():
            break
        path.append(choice.completions[chosen])
        if choice.chosen is None or path[-1].rating == -1:
            break
    unrated = tuple(i for i, c in enumerate(path) if c.rating is None)
    if len(unrated) < len(path):
        if outcome is None and path[-1].final and path[-1].rating is not None:
            outcome = path[-1].rating != -1
        yield _record(problem, path, source, split, unrated, tuple(whole[len(path) :]), outcome)


def _record(
    problem: str, path: Sequence[_Completion], source: str, split: str, context: tuple[int, ...],
    rest: tuple[str, ...], outcome: bool | None,
) -> LabelledSolution:
    labels = tuple(1 if c.rating is None else c.rating for c in path)
    steps = tuple(c.text for c in path)
    return LabelledSolution(
        problem, steps, labels, source, split, "human", context=context, rest=rest, outcome=outcome
    )
