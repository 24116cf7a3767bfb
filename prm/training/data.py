"""Read the data of a training run: checked against the evaluation sets, split by problem, encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Any, TypeVar

from prm.data import load_all
from prm.data.guard import Guard, problem_text
from prm.data.labels import LabelledSolution
from prm.data.left_out import LeftOut
from prm.data.pairs import Pair, pairs_of, ultrainteract
from prm.data.rows import read_rows
from prm.preference.chat import read_chat_pairs
from prm.preference.counts import problem_of
from prm.preference.records import PairRow
from prm.reading.encoder import Encoder
from prm.reading.layout import Domain
from prm.training.checks import warnings_for
from prm.training.domain import domain_of
from prm.training.examples import Examples, class_weights
from prm.training.request import CHAT_PAIRS, PAIRS, TrainRequest
from prm.training.sequences import Example, PairExample
from search.errors import UsageError
from search.segment import SEGMENTERS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrainingData:
    """weights: of the classes, in the loss; None weighs all labels the same.

    report: counts of records and labels, for the terminal and the model card.
    left_out: rows that could not be read. warnings: what makes the data useless, or nearly so, line by line.
    domain: of all training records; "" if they differ or one is of an unknown source.
    """

    train: Sequence[Example] | Sequence[PairExample]
    validation: Sequence[Example] | Sequence[PairExample]
    weights: list[float] | None
    report: dict[str, Any]
    left_out: LeftOut
    warnings: list[str]
    domain: Domain


def guard_for(held_out: Sequence[str]) -> Guard:
    """The guard of the bundled evaluation sets and of more of them, NAME=FILE. Raises UsageError."""
    guard = Guard.known()
    for spec in held_out:
        name, _, path = spec.partition("=")
        guard.add(name, map(problem_text, read_rows(path)))
    return guard


def read_data(request: TrainRequest, encoder: Encoder, guard: Guard) -> TrainingData:
    """Read, guard, split and encode the data. Raises UsageError; writes nothing."""
    for_train, for_validation = (
        Examples(
            encoder, request.form, request.max_length, request.too_long == "cut", request.neutral,
            request.trees,
        )
        for _ in range(2)
    )  # fmt: skip
    train: Sequence[Example] | Sequence[PairExample]
    validation: Sequence[Example] | Sequence[PairExample]
    left_out = LeftOut()

    def load(specs: Sequence[str]) -> Iterator[LabelledSolution]:
        return guard.filter(load_all(specs, strict=request.strict, left_out=left_out))

    if request.form == "pairs":
        kept = None if request.strict else left_out

        def read_pairs(specs: Sequence[str]) -> Iterator[Pair]:
            others = [spec for spec in specs if not spec.startswith((PAIRS, *CHAT_PAIRS))]
            return chain(_pairs_of_files(specs, guard, kept), pairs_of(load(others)))

        pairs = _split(request, read_pairs(request.data), lambda pair: pair.problem)
        if request.validation:
            pairs = pairs[0], list(read_pairs(request.validation))
        _check_direct(request, [*pairs[0], *pairs[1]])
        domain = domain_of(pairs[0])
        train, validation = (
            maker.of_pairs((pair, _is_direct(request, pair)) for pair in part) if part else []
            for maker, part in zip((for_train, for_validation), pairs, strict=True)
        )
    else:
        parts = _split(request, load(request.data), lambda solution: solution.question)
        domain = domain_of(parts[0])
        if request.validation:
            parts = parts[0], list(load(request.validation))
        train, validation = (
            maker.of(part) if part else []
            for maker, part in zip((for_train, for_validation), parts, strict=True)
        )
    if not train:
        raise UsageError(
            "nothing is left to train on: all records were dropped"
            + (f"; {left_out.describe()}" if left_out else "")
        )
    if request.validation and not validation:
        raise UsageError(f"--validation: nothing is left of it: {guard.describe().splitlines()[0]}")
    warnings = warnings_for(request.form, train, encoder)
    if request.patience is not None and not validation:
        warnings.append("no problem is held out for validation: --patience has no effect")
    classes = {"classes3": 3, "classes2": 2, "outcome": 2}.get(request.form)
    weights = class_weights(train, classes) if request.balanced and classes else None  # type: ignore[arg-type]
    report = {
        "train": dict(for_train.counts), "validation": dict(for_validation.counts),
        "split_guard": guard.report(), "class_weights": weights, "rows_left_out": left_out.report(),
    }  # fmt: skip
    return TrainingData(train, validation, weights, report, left_out, warnings, domain)


def is_for_validation(question: str, share: float) -> bool:
    """Whether a problem is held out for validation; this depends on the problem and the share alone."""
    return _draw("validation", question) < share


def _pairs_of_files(specs: Sequence[str], guard: Guard, left_out: LeftOut | None) -> Iterator[Pair]:
    """Pairs from files of pairs, in the order of the specifications; others are passed over.

    The guard is asked about the problem alone: not about later turns, nor UltraInteract's lines before it.
    left_out: rows that cannot be read are counted there; otherwise the first of them raises UsageError.
    """
    for spec in specs:
        format_, _, path = spec.partition(":")
        if spec.startswith(PAIRS):
            pairs = ultrainteract(path, left_out=left_out)
        elif spec.startswith(CHAT_PAIRS):
            pairs = map(_chat_pair, read_chat_pairs(format_, path, left_out=left_out))
        else:
            continue
        for pair in pairs:
            problem = problem_of(pair.problem)
            probe = LabelledSolution(problem, ("",), (0,), pair.source, "train", "pairs")
            if list(guard.filter([probe])):
                yield pair


def _chat_pair(row: PairRow) -> Pair:
    newline = SEGMENTERS["newline"]
    chosen, rejected = (tuple(newline.texts(text)) for text in (row.chosen, row.rejected))
    return Pair("\n".join(row.trajectory), chosen, rejected, row.dataset, row.instruction)


def _check_direct(request: TrainRequest, pairs: Sequence[Pair]) -> None:
    """Raise UsageError for a source of direct rewards that no pair has: a misspelt one would train none."""
    sources = {pair.source for pair in pairs}
    for name in request.direct:
        if name != "all" and not any(source.startswith(name) for source in sources):
            raise UsageError(f"--direct {name}: no pair is from there; sources: {', '.join(sorted(sources))}")


def _is_direct(request: TrainRequest, pair: Pair) -> bool:
    return "all" in request.direct or any(pair.source.startswith(name) for name in request.direct)


def _split(
    request: TrainRequest, items: Iterable[T], question: Callable[[T], str]
) -> tuple[list[T], list[T]]:
    """Training and validation items, split by problem so that no problem is in both."""
    share = 0.0 if request.validation else request.validation_share
    train, validation = [], []
    for item in items:
        if is_for_validation(question(item), share):
            validation.append(item)
        elif _draw("share", question(item)) < request.share:
            train.append(item)
    return train, validation


def _draw(purpose: str, question: str) -> float:
    """A number in [0, 1) that depends only on the purpose and the problem."""
    digest = blake2b(f"{purpose} {question}".encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") / 2**64)
