"""PRM800K (Lightman et al. 2023, arXiv:2305.20050; github.com/openai/prm800k, MIT) in three shapes.

raw: {"labeler", "generation", "is_quality_control_question", "is_initial_screening_question",
    "question": {"problem", "ground_truth_answer", phase 2: "pre_generated_steps", ...},
    "label": {"steps": [{"completions": [{"text", "rating", "flagged"}], "human_completion",
    "chosen_completion"}], "finish_reason"}}, as OpenAI ships it.
regrouped: {"problem", "split_of_problem", "steps": [{"chosen", "completions": [{"text", "rating",
    "answer"?, "solution"?, "human"?}]}]}, one labelled trajectory a line.
decoded: {"problem", "split_of_problem", "steps", "ratings"}, one path a line.

A labelled trajectory is a path, and beside it at each step completions that were rated but never
continued. It becomes one record for the path, and one for each of these: the path so far, as
context, and the completion. A path ends at its first -1. A step that states the final answer says so, as
GSM8K's do: "That's correct. The answer is 5."
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prm.data.labels import LabelledSolution, until_first_error
from search.errors import UsageError

ANSWER = "\n\n# Answer\n\n"
"""The labelling tool's mark between the last step and the final answer, which were rated as one."""

_SPLITS = {"train": "train", "test_non500": "train", "math500": "test"}
"""PRM800K trains on all of MATH but MATH-500."""


@dataclass(frozen=True, slots=True)
class _Completion:
    """final: it states the final answer. rating: None if nobody rated it."""

    text: str
    final: bool
    rating: int | None


@dataclass(frozen=True, slots=True)
class _Choice:
    """One step: what was written, and which of it the trajectory went on with (None: it ended)."""

    completions: Sequence[_Completion]
    chosen: int | None


def raw(row: Mapping[str, Any], split: str) -> Iterator[LabelledSolution]:
    """Skips quality-control and screening rows (labelled by many, or to test the labeller) and
    problems that the labeller called bad.
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
        whole = [_said(step)[0] for step in question["pre_generated_steps"]]
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
    said = [_said(text) for text in row["steps"]]
    steps, labels = until_first_error([text for text, _ in said], [r for r in ratings if r is not None])
    right = True if -1 not in labels and said[-1][1] else None
    yield LabelledSolution(
        row["problem"], steps, labels, "prm800k/phase2", _SPLITS.get(row["split_of_problem"], split), "human",
        outcome=right,
    )


def _raw_choice(step: Mapping[str, Any]) -> _Choice:
    """human_completion is an object, not a text, and completions may be null; so may any rating."""
    completions = [
        _Completion(*_said(c["text"]), None if c["flagged"] else _rating(c["rating"]))
        for c in step["completions"] or ()
    ]
    chosen = step["chosen_completion"]
    if chosen is None and (human := step["human_completion"]) is not None:
        completions.append(_Completion(*_said(human["text"]), None))
        chosen = len(completions) - 1
    return _Choice(completions, chosen)


def _said(text: str) -> tuple[str, bool]:
    """A step as a policy would say it, and whether it states the final answer."""
    step, mark, answer = text.partition(ANSWER)
    return _stating(step, answer), bool(mark)


def _stating(step: str, answer: str | None) -> str:
    """A step and the final answer that belongs to it, on one line: the mark would be steps of its own.

    "That's correct." is right with one answer and wrong with another.
    """
    said = " ".join((answer or "").split()).removesuffix(".")
    return f"{step.rstrip()} The answer is {said}.".lstrip() if said else step


def _rating(rating: object) -> int | None:
    if rating is None or (type(rating) is int and -1 <= rating <= 1):
        return rating
    raise UsageError(f"a rating is -1, 0, 1 or null, not {rating!r}")


def _same(given: str, truth: str) -> bool:
    return "".join(given.split()) == "".join(truth.split())


def _records(
    problem: str, choices: Sequence[_Choice], source: str, split: str, whole: Sequence[str],
    outcome: bool | None,
) -> Iterator[LabelledSolution]:
    """whole, outcome: the pre-generated solution that the path labels the beginning of, if it is one."""
    path: list[_Completion] = []
    for choice in choices:
        rated = [i for i, c in enumerate(choice.completions) if c.rating is not None and c.text.strip()]
        going_on = choice.chosen
        if going_on is None and rated:  # the trajectory ended here: one of these ends the path
            going_on = rated[0]
        for sibling in (choice.completions[i] for i in rated if i != going_on):
            right = sibling.rating != -1 if sibling.final else None
            yield _record(problem, [*path, sibling], source, split, tuple(range(len(path))), (), right)
        if going_on is None or not choice.completions[going_on].text.strip():
            break
        path.append(choice.completions[going_on])
        if choice.chosen is None or path[-1].rating == -1:
            break
    unrated = tuple(i for i, c in enumerate(path) if c.rating is None)
    if len(unrated) < len(path):
        if outcome is None and path[-1].final:
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
