"""Which labelled steps a search would cut, and how long splitting takes: the work of `bench.segmentation`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter

from prm.data import load
from prm.data.labels import LabelledSolution
from search.limits import metered
from search.policies.stepping import Completion, Piece, Prefix, Sampling, SteppingPolicy
from search.prompts import Prompt
from search.segment import SEGMENTERS
from search.types import Problem, Stop, Until

NEWLINE = SEGMENTERS["newline"]
LINE = 12
"""Tokens per line of the sampled solutions."""
ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationRequest:
    """data: data sets, as `prm.data.load` takes them. tokens: lengths of the solutions that are split."""

    data: tuple[str, ...] = ()
    tokens: tuple[int, ...] = (8_000, 16_000, 33_000)


@dataclass(slots=True)
class Cuts:
    """Steps that are cut.

    records, steps: in which there is a cut step, and their number. parts: into which those are cut.
    """

    records: int = 0
    steps: int = 0
    parts: int = 0

    def add(self, parts: Sequence[int]) -> None:
        """Count a record, by the number of parts of each of its steps."""
        cut = [n for n in parts if n > 1]
        self.records += bool(cut)
        self.steps += len(cut)
        self.parts += sum(cut)


@dataclass(slots=True)
class Count:
    """records, steps: all of them. by_lines, by_newline: cut at every line end, and by the segmenter."""

    records: int
    steps: int
    by_lines: Cuts
    by_newline: Cuts


def count_cuts(solutions: Iterable[LabelledSolution]) -> Count:
    """Count the steps of labelled solutions that hold line ends, and that are cut."""
    count = Count(0, 0, Cuts(), Cuts())
    for solution in solutions:
        count.records += 1
        count.steps += len(solution.steps)
        steps = [step.strip() for step in solution.steps]
        count.by_lines.add([len([line for line in step.split("\n") if line.strip()]) for step in steps])
        count.by_newline.add([len(NEWLINE.split(step)) for step in steps])
    return count


class Canned(SteppingPolicy):
    """A policy whose every sample is the same long solution."""

    def __init__(self, tokens: int):
        super().__init__(Prompt(), NEWLINE, Sampling(), context=2 * tokens)
        words = ("\n" if i % LINE == LINE - 1 else f"w{i} " for i in range(tokens - 1))
        self.pieces = [*(Piece(word, i, -1.0) for i, word in enumerate(words)), Piece("", tokens, -1.0)]

    def _encode(self, question: str) -> Prefix:
        return Prefix((), question)

    async def _generate(
        self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, seed: int, temperature: float
    ) -> Completion:
        return Completion(self.pieces, Stop.END)


async def split_s(tokens: int) -> tuple[float, int]:
    """The seconds that a policy takes to return a solution that it has sampled, and its number of steps."""
    policy, fastest, steps = Canned(tokens), float("inf"), 0
    for _ in range(ROUNDS):
        with metered():
            begin = perf_counter()
            made = await policy.propose(Problem("p", "Q"), (), until=Until.END, max_tokens=tokens, seed=0)
            fastest, steps = min(fastest, perf_counter() - begin), len(made)
    return fastest, steps


def run(request: SegmentationRequest) -> None:
    """Count and time, and print the figures. Raises UsageError."""
    for spec in request.data:
        count = count_cuts(load(spec))
        print(f"{spec}: {count.records:,} records, {count.steps:,} steps")
        for name, cuts in (("every line end", count.by_lines), ("newline", count.by_newline)):
            print(
                f"  cut by {name}: {cuts.steps:,} steps, into {cuts.parts:,}, in {cuts.records:,} records"
            )  # fmt: skip
    for tokens in request.tokens:
        seconds, steps = asyncio.run(split_s(tokens))
        print(f"{tokens:,} tokens, {steps:,} steps: split in {seconds:.3f} s")
