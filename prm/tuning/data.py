"""Read the data of a tuning run: checked against the evaluation sets, split by instruction, tokenised."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prm.data.guard import Guard
from prm.data.left_out import LeftOut
from prm.preference.counts import Decontamination
from prm.preference.files import rows_of
from prm.preference.records import PairRow, SftRow
from prm.training.data import is_for_validation
from prm.tuning.request import TuneRequest
from prm.tuning.tokens import IGNORED, Messages
from search.errors import UsageError

FEW = 100
"""Examples below which a policy learns next to nothing."""

Example = Mapping[str, Sequence[int]]
"""Token ids by column: prompt_ids, chosen_ids, rejected_ids; for sft, prompt_ids and chosen_ids."""
SFT, PAIR = ("prompt_ids", "chosen_ids"), ("prompt_ids", "chosen_ids", "rejected_ids")


@dataclass(frozen=True, slots=True)
class TuningData:
    """train, validation: data sets of the library `datasets`, in the columns that TRL's collators read.

    report: counts, for the terminal and the card. guard: what was left out for an evaluation set's sake.
    left_out: rows that could not be used. warnings: line by line. first: an example, as it is in `train`.
    """

    train: Any
    validation: Any
    report: dict[str, Any]
    guard: Decontamination
    left_out: LeftOut
    warnings: list[str]
    first: Example

    @property
    def notes(self) -> list[str]:
        """What the reader of a card must know."""
        left_out = [self.left_out.describe()] if self.left_out else []
        return [self.guard.describe(), *left_out, *self.warnings]


class _Part:
    """Examples in flat arrays: a tenth of the memory of lists. counts: of what they are of."""

    def __init__(self, columns: Sequence[str]):
        self.counts = Counter[str]()
        self._ids = {name: array("i") for name in columns}
        self._ends = {name: array("q", [0]) for name in columns}

    def __len__(self) -> int:
        return len(self._ends["prompt_ids"]) - 1

    def __getitem__(self, at: int) -> dict[str, list[int]]:
        return {
            name: ids[self._ends[name][at] : self._ends[name][at + 1]].tolist()
            for name, ids in self._ids.items()
        }

    def add(self, example: Example) -> None:
        for name, ids in self._ids.items():
            ids.extend(example[name])
            self._ends[name].append(len(ids))


def read_data(request: TuneRequest, messages: Messages, guard: Guard) -> TuningData:
    """Read, guard, split and tokenise the data. Raises UsageError; writes nothing."""
    left_out, checked = LeftOut(), Decontamination(guard)
    columns = SFT if request.method == "sft" else PAIR
    train, validation = _Part(columns), _Part(columns)
    kept = None if request.strict else left_out
    for source in request.data:
        for row in _rows(request, source, checked, kept):
            part = validation if is_for_validation(row.instruction, request.validation_share) else train
            _add(part, row, messages, request)
    if not len(train):
        raise UsageError("nothing is left to train on: " + "; ".join([_said(train), checked.describe()]))
    report = {
        "train": dict(train.counts), "validation": dict(validation.counts),
        "split_guard": checked.report(), "rows_left_out": left_out.report(),
    }  # fmt: skip
    few = f"there are only {len(train)} examples to train on; a policy learns little from fewer than {FEW}"
    warnings = [few] if len(train) < FEW else []
    return TuningData(
        _dataset(train, request), _dataset(validation, request) if len(validation) else None, report, checked,
        left_out, warnings, train[0],
    )  # fmt: skip


def _rows(
    request: TuneRequest, source: str, checked: Decontamination, left_out: LeftOut | None
) -> Iterator[PairRow | SftRow]:
    pairs, sft = rows_of(source, left_out=left_out)
    if not request.learns_from_pairs:
        return checked.sft(sft)
    return checked.pairs(row for row in pairs if len(row.trajectory) // 2 < request.turns)


def _add(part: _Part, row: PairRow | SftRow, messages: Messages, request: TuneRequest) -> None:
    """Tokenise a row and count it; one that is too long is dropped."""
    trajectory = row.trajectory if isinstance(row, PairRow) else (row.instruction,)
    actions = (row.chosen, row.rejected) if isinstance(row, PairRow) else (row.response,)
    if request.method == "sft":
        actions = actions[:1]
    prompt, said = messages.read(trajectory), [messages.said(action) for action in actions]
    if len(prompt) + max(map(len, said)) > request.max_length:
        part.counts["dropped, too long"] += 1
        return
    part.add(dict(zip(PAIR, [prompt, *said], strict=False)))
    what = "right actions" if request.method == "sft" else "pairs"
    part.counts[what] += 1
    part.counts[f"{what} of {row.dataset}"] += 1
    if isinstance(row, PairRow):
        part.counts[f"{what} of turn {len(trajectory) // 2 + 1}"] += 1


def _said(part: _Part) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in part.counts.items()) or "there are no records"


def _dataset(part: _Part, request: TuneRequest) -> Any:
    """The examples in the columns that the method's collator reads."""
    if request.method == "sft":
        return _arrow(sft_columns(part[i]) for i in range(len(part)))
    if request.method == "kto":
        return _arrow(kto_rows(part, request.batch, request.seed))
    return _arrow(part[i] for i in range(len(part)))


def sft_columns(example: Example) -> dict[str, list[int]]:
    """input_ids and labels, [n]: the prompt bears no loss."""
    prompt, said = list(example["prompt_ids"]), list(example["chosen_ids"])
    return {"input_ids": prompt + said, "labels": [IGNORED] * len(prompt) + said}


def kto_rows(pairs: Any, batch: int, seed: int) -> Iterator[dict[str, Any]]:
    """Both sides of each pair, for KTO: shuffled, in blocks of `batch` right actions and as many wrong ones.

    KTO's trainer takes its rows in the order given, so one block is one batch, and has both. The loss
    estimates a divergence from actions after prompts of others (Ethayarajh et al. 2024, arXiv:2402.01306,
    section 4.1): KL_completion_ids is the same side of the pair before, the last one's for the first.

    pairs: examples by index, [n]. batch: in pairs. Yields [2n].
    """
    order = list(range(len(pairs)))
    random.Random(f"kto {seed}").shuffle(order)
    for begin in range(0, len(order), batch):
        for side in ("chosen_ids", "rejected_ids"):
            for at in range(begin, min(begin + batch, len(order))):
                yield {
                    "prompt_ids": pairs[order[at]]["prompt_ids"],
                    "completion_ids": pairs[order[at]][side],
                    "KL_completion_ids": pairs[order[at - 1]][side],
                    "label": side == "chosen_ids",
                }


def _arrow(rows: Iterable[Mapping[str, Any]]) -> Any:
    """A data set of the rows, built chunk by chunk."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    chunks, chunk = list[Any](), list[Mapping[str, Any]]()

    def close() -> None:
        columns = {
            name: pa.array(
                [row[name] for row in chunk],
                pa.bool_() if isinstance(chunk[0][name], bool) else pa.list_(pa.int32()),
            )
            for name in chunk[0]
        }
        chunks.append(pa.table(columns))
        chunk.clear()

    for row in rows:
        chunk.append(row)
        if len(chunk) == 1000:
            close()
    if chunk:
        close()
    return Dataset(InMemoryTable(pa.concat_tables(chunks)))
