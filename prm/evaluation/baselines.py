"""What a reward model must beat: judges that know the majority, a step's position, or its words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prm.data.labels import LabelledSolution
from prm.evaluation.metrics import POSITIONS
from search.types import StepScore

Judged = list[list[StepScore]]


def baselines(
    train: Sequence[LabelledSolution], test: Sequence[LabelledSolution], *, neutral: bool
) -> dict[str, Judged]:
    """Judgements of every step of `test`, by baseline, learnt from `train`.

    majority: the shares of the classes. position: those at the step's position, and n-grams: logistic
    regression on the step's words and pairs of words (scikit-learn), each with every class weighted
    to count the same, for it is balanced accuracy that they are to be good at.
    neutral: whether there is a class for it; if not, a neutral step is a positive one.
    """
    texts, labels, positions = _rows(train, neutral)
    asked, _, asked_positions = _rows(test, neutral, all_steps=True)
    shares = np.array([np.mean(labels == c) for c in range(3)])
    found = {
        "majority": np.tile(shares, (len(asked), 1)),
        "position": _by_position(labels, positions)[asked_positions],
        "n-grams": _n_grams(texts, labels, asked),
    }
    return {name: _per_record(rows, test) for name, rows in found.items()}


def _rows(
    records: Sequence[LabelledSolution], neutral: bool, all_steps: bool = False
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Texts, classes (0 negative, 1 neutral, 2 positive) and position buckets of the steps."""
    texts, labels, positions = [], [], []
    for record in records:
        for i in range(len(record.steps)) if all_steps else record.counted:
            label = record.labels[i] if neutral or record.labels[i] else 1
            texts.append(record.steps[i])
            labels.append(label + 1)
            positions.append(next(k for k, (low, high) in enumerate(POSITIONS) if low <= i + 1 <= high))
    return texts, np.array(labels, dtype=np.int64), np.array(positions, dtype=np.int64)


def _by_position(labels: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """[position bucket, class]: P(class | position) if all classes were equally many."""
    counts = np.ones((len(POSITIONS), 3))  # one each is added: no bucket is ever empty
    np.add.at(counts, (positions, labels), 1)
    counts[:, np.bincount(labels, minlength=3) == 0] = 0
    at_position = counts / np.maximum(counts.sum(0), 1)  # P(position | class)
    return np.asarray(at_position / at_position.sum(1, keepdims=True))


def _n_grams(texts: Sequence[str], labels: NDArray[np.int64], asked: Sequence[str]) -> NDArray[np.float64]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=50_000, token_pattern=r"\w+|[^\w\s]"),
        LogisticRegression(class_weight="balanced", max_iter=300),
    )
    model.fit(texts, labels)
    rows = np.zeros((len(asked), 3))
    rows[:, model.classes_] = model.predict_proba(asked)
    return rows


def _per_record(rows: NDArray[np.float64], records: Sequence[LabelledSolution]) -> Judged:
    made = iter(rows.tolist())
    return [[StepScore(*next(made)) for _ in record.steps] for record in records]
