"""Baselines that a reward model has to beat: they know the class shares, a step's position or its words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prm.data.labels import LabelledSolution
from prm.evaluation.metrics import POSITIONS
from search.types import StepScore

Scored = list[list[StepScore]]
"""By record: the scores of its steps."""


def baselines(
    train: Sequence[LabelledSolution], test: Sequence[LabelledSolution], *, neutral: bool
) -> dict[str, Scored]:
    """Scores of every step of `test`, by baseline, after training on `train`.

    majority: the class shares. position: the class shares at the step's position. n-grams: logistic
    regression on the step's words and pairs of words (scikit-learn). The latter two weigh all classes the
    same, because they are compared in balanced accuracy.
    neutral: whether there is a neutral class; without one, neutral steps count as positive.
    """
    texts, labels, positions = _rows(train, neutral)
    test_texts, _, test_positions = _rows(test, neutral, all_steps=True)
    shares = np.array([np.mean(labels == c) for c in range(3)])
    probabilities = {
        "majority": np.tile(shares, (len(test_texts), 1)),
        "position": _by_position(labels, positions)[test_positions],
        "n-grams": _n_grams(texts, labels, test_texts),
    }
    return {name: _per_record(rows, test) for name, rows in probabilities.items()}


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
    """P(class | position) for equally frequent classes, [position buckets, classes]."""
    counts = np.ones((len(POSITIONS), 3))  # add-one smoothing: no bucket is ever empty
    np.add.at(counts, (positions, labels), 1)
    counts[:, np.bincount(labels, minlength=3) == 0] = 0
    at_position = counts / np.maximum(counts.sum(0), 1)  # P(position | class)
    return np.asarray(at_position / at_position.sum(1, keepdims=True))


def _n_grams(
    texts: Sequence[str], labels: NDArray[np.int64], test_texts: Sequence[str]
) -> NDArray[np.float64]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=50_000, token_pattern=r"\w+|[^\w\s]"),
        LogisticRegression(class_weight="balanced", max_iter=300),
    )
    model.fit(texts, labels)
    rows = np.zeros((len(test_texts), 3))
    rows[:, model.classes_] = model.predict_proba(test_texts)
    return rows


def _per_record(rows: NDArray[np.float64], records: Sequence[LabelledSolution]) -> Scored:
    remaining = iter(rows.tolist())
    return [[StepScore(*next(remaining)) for _ in record.steps] for record in records]
