"""python -m bench.tree_training: what it costs to learn labels from trees, beside records one by one.

The first problems of --data, laid out in three ways that have the same labels and the same loss: a record of
its own for each rated step; trees, with PyTorch's attention under a mask; trees, with attention that is not
computed where the mask hides it (`prm.training.attention`). Each is learnt from once, forward and
backward, without changing a weight; the ways take turns, --rounds times, and the fastest turn of each counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from time import perf_counter

from prm.data import HELP, load
from prm.reading.encoder import Encoder
from prm.reading.layout import Layout
from prm.reading.zoo import RewardModel
from prm.training.examples import Examples
from prm.training.sequences import Example, collate
from search import command


def batches(examples: Sequence[Example], tokens: int) -> Iterator[list[Example]]:
    """Of like length, of about so many tokens."""
    batch: list[Example] = []
    for example in sorted(examples, key=len):
        if batch and (len(batch) + 1) * len(example) > tokens:
            yield batch
            batch = []
        batch.append(example)
    yield batch


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.tree_training", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--data", required=True, metavar="SPEC", help=HELP)
    add("--base", required=True, metavar="MODEL", help="a language model, path or hub id")
    add("--problems", type=int, default=10, metavar="N", help="the first so many of the data (%(default)s)")
    add("--tokens", type=int, default=2048, help="of a tree, at most (%(default)s)")
    add("--batch", type=int, default=4, help="trees; records one by one fill as many tokens (%(default)s)")
    add("--rounds", type=int, default=3, help="(%(default)s)")
    asked = parser.parse_args()

    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    from prm.scoring.model import load_tokenizer
    from prm.training.attention import NAME
    from prm.training.objectives import Objective

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    by_problem = groupby(load(asked.data), key=lambda record: record.question)
    records = [record for _, some in islice(by_problem, asked.problems) for record in some]
    encoder = Encoder(Layout(), load_tokenizer(RewardModel(asked.base, asked.base, Layout(), None, "")))
    one_by_one, trees = (
        Examples(encoder, "classes3", asked.tokens, tree=tree).of(records) for tree in (0, asked.tokens)
    )
    ways = {"records": (one_by_one, "sdpa"), "trees, masked": (trees, "sdpa"), "trees": (trees, NAME)}
    objectives = {
        name: Objective(AutoModelForSequenceClassification.from_pretrained(
            asked.base, num_labels=3, dtype="float32", attn_implementation=attention
        ), "classes3") for name, (_, attention) in ways.items()
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, (examples, _) in ways.items():
            begun = perf_counter()
            for batch in batches(examples, asked.batch * asked.tokens):
                objectives[name](**collate(batch, pad=0))["loss"].backward()
            seconds[name].append(perf_counter() - begun)
    print(f"{len(records):,} records of {asked.problems} problems")
    for name, (examples, _) in ways.items():
        best, first = min(seconds[name]), min(seconds["records"])
        print(f"{name:<14} {sum(map(len, examples)):>9,} tokens {best:7.1f} s  {first / best:5.1f} x")


if __name__ == "__main__":
    command.run(main)
