"""What is wrong with training data, said before the training starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from prm.reading.encoder import Encoder
from prm.training.examples import Form
from prm.training.sequences import IGNORED, Example, PairExample

FEW = 100
"""Labels (solutions, pairs) below which a reward model learns next to nothing."""


def warnings_for(
    form: Form, examples: Sequence[Example] | Sequence[PairExample], encoder: Encoder
) -> list[str]:
    """One line for each thing that makes the data useless, or nearly so."""
    if form in ("pairs", "sft"):
        found, what, absent = len(examples), "pairs" if form == "pairs" else "solutions", []
    else:
        targets = [example.targets for example in examples if isinstance(example, Example)]
        labels = np.concatenate([np.empty(0, np.float32), *targets])
        labels = labels[labels != IGNORED]
        found, what, absent = len(labels), "labels", list(_absent(form, labels, encoder))
    few = f"there are only {found} {what} to train on; a model learns little from fewer than {FEW}"
    return [few, *absent] if found < FEW else absent


def _absent(form: Form, labels: NDArray[np.float32], encoder: Encoder) -> Iterator[str]:
    head = encoder.layout.head
    if form == "soft":
        classes = {"below 0.5": labels < 0.5, "of 0.5 or more": labels >= 0.5}
    elif form == "tokens":
        classes = {f"{token!r}": labels == encoder.token_id(token) for token in head.tokens}
    else:
        classes = {f"{name!r}": labels == at for at, name in enumerate(head.labels)}
    for name, of_class in classes.items():
        if not of_class.any():
            yield f"none of the {len(labels)} labels is {name}: the model cannot learn to tell it apart"
