"""The cost of training on trees of records, against single records: the work of `bench.tree_training`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import groupby, islice
from time import perf_counter

from prm.data import load
from prm.reading.encoder import Encoder
from prm.reading.layout import Layout
from prm.reading.zoo import RewardModel
from prm.training.examples import Examples
from prm.training.sequences import Example, collate
from search.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeTrainingRequest:
    """Time one pass of training over the same labels, laid out as single records and as trees.

    data: a data set, as `prm.data.load` takes it. base: a language model, path or hub id.
    problems: the first problems of the data. tokens: in a tree, at most.
    batch: trees per batch; single records fill as many tokens. rounds: the fastest one counts.
    """

    data: str
    base: str
    problems: int = 10
    tokens: int = 2048
    batch: int = 4
    rounds: int = 3

    def validate(self) -> None:
        """Raise UsageError, which lists everything that is wrong."""
        numbers = {field.name: getattr(self, field.name) for field in fields(self)[2:]}
        faults = [f"--{name} {value}: must be at least 1" for name, value in numbers.items() if value < 1]
        try:
            load(self.data)
        except UsageError as error:
            faults.append(str(error))
        if faults:
            raise UsageError(*faults)


def batches(examples: Sequence[Example], tokens: int) -> Iterator[list[Example]]:
    """Batches of examples of similar length, with about `tokens` tokens each."""
    batch: list[Example] = []
    for example in sorted(examples, key=len):
        if batch and (len(batch) + 1) * len(example) > tokens:
            yield batch
            batch = []
        batch.append(example)
    yield batch


def run(request: TreeTrainingRequest) -> None:
    """Time the three layouts, and print their tokens and seconds. Raises UsageError."""
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    from prm.scoring.model import load_tokenizer
    from prm.training.attention import NAME
    from prm.training.objectives import Objective

    request.validate()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    by_problem = groupby(load(request.data), key=lambda record: record.question)
    records = [record for _, some in islice(by_problem, request.problems) for record in some]
    encoder = Encoder(Layout(), load_tokenizer(RewardModel(request.base, request.base, Layout(), None, "")))
    single, trees = (
        Examples(encoder, "classes3", request.tokens, tree=tree).of(records) for tree in (0, request.tokens)
    )
    layouts = {"records": (single, "sdpa"), "trees, masked": (trees, "sdpa"), "trees": (trees, NAME)}
    objectives = {
        name: Objective(AutoModelForSequenceClassification.from_pretrained(
            request.base, num_labels=3, dtype="float32", attn_implementation=attention
        ), "classes3") for name, (_, attention) in layouts.items()
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in layouts}
    for _ in range(request.rounds):
        for name, (examples, _) in layouts.items():
            begun = perf_counter()
            for batch in batches(examples, request.batch * request.tokens):
                objectives[name](**collate(batch, pad=0))["loss"].backward()
            seconds[name].append(perf_counter() - begun)
    print(f"{len(records):,} records of {request.problems} problems")
    for name, (examples, _) in layouts.items():
        best, first = min(seconds[name]), min(seconds["records"])
        print(f"{name:<14} {sum(map(len, examples)):>9,} tokens {best:7.1f} s  {first / best:5.1f} x")
