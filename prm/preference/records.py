"""UltraInteract's records, a row for each pair and each correct action: read, written, made into trees.

Hub: openbmb/UltraInteract_sft (288,579 rows), openbmb/UltraInteract_pair (219,522 rows). A row's `id` is
HASH_DEPTH_TURN: that of the tree, its depth, and the turn, from 1. Rows of one instruction have the same
`parent_id`.

    sft   id parent_id task dataset instruction response
    pair  id parent_id task dataset trajectory=[{"from": "user" | "assistant", "value"}, ...] chosen rejected

The trajectory of turn k holds the instruction, and the rejected action and the observation of every turn
before. Nothing of a row is a float or nested deeper, so the library `datasets` reads the files as they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prm.data.left_out import LeftOut
from prm.data.rows import parsed, read_rows
from prm.preference.tree import Observation, PreferenceTree, Turn, task_name
from search.errors import UsageError

T = TypeVar("T")

SFT_EXAMPLE = (
    '{"id": "9c41..._1_1", "parent_id": "9c41...", "task": "Math_CoT", "dataset": "gsm8k", '
    '"instruction": "What is 2 + 2?", "response": "2 + 2 = 4."}'
)
PAIR_EXAMPLE = (
    '{"id": "9c41..._1_1", "parent_id": "9c41...", "task": "Math_CoT", "dataset": "gsm8k", '
    '"trajectory": [{"from": "user", "value": "What is 2 + 2?"}], "chosen": "2 + 2 = 4.", '
    '"rejected": "2 + 2 = 5."}'
)
ROLES = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class RowId:
    """Where a row stands: in which tree, how deep that is, and at which turn, from 1."""

    tree: str
    depth: int
    turn: int

    def __str__(self) -> str:
        return f"{self.tree}_{self.depth}_{self.turn}"

    @classmethod
    def parse(cls, text: object) -> RowId:
        """Raises UsageError."""
        tree, depth, turn = [*str(text).rsplit("_", 2), "", ""][:3]
        if not (isinstance(text, str) and tree and depth.isdecimal() and turn.isdecimal()):
            raise UsageError(f"an id must be HASH_DEPTH_TURN, not {text!r}")
        if not 1 <= int(turn) <= int(depth):
            raise UsageError(f"the turn of an id must lie between 1 and its depth, not {text!r}")
        return cls(tree, int(depth), int(turn))


@dataclass(frozen=True, slots=True)
class SftRow:
    """A correct action, without the history it was sampled after. task: as in `prm.preference.tree.TASKS`."""

    id: RowId
    parent_id: str
    task: str
    dataset: str
    instruction: str
    response: str


@dataclass(frozen=True, slots=True)
class PairRow:
    """A pair of actions. trajectory: messages, the user's and the assistant's in turn, from user to user."""

    id: RowId
    parent_id: str
    task: str
    dataset: str
    trajectory: tuple[str, ...]
    chosen: str
    rejected: str

    @property
    def instruction(self) -> str:
        return self.trajectory[0]


# -- trees to rows and back ----------------------------------------------------------------------------


def sft_rows(tree: PreferenceTree) -> Iterator[SftRow]:
    """A row for each correct action; one that is in several pairs is written once."""
    written = set[str]()
    for number, turn in enumerate(tree.turns, start=1):
        if turn.correct is not None and not (turn.is_pair and turn.correct in written):
            written.add(turn.correct)
            yield SftRow(
                RowId(tree.id, tree.depth, number), tree.parent_id, tree.task, tree.dataset,
                tree.instruction, turn.correct,
            )  # fmt: skip


def pair_rows(tree: PreferenceTree) -> Iterator[PairRow]:
    """A row for each pair."""
    for number, correct, incorrect in tree.pairs:
        history = [text for action, seen in tree.history(number) for text in (action, seen.text)]
        yield PairRow(
            RowId(tree.id, tree.depth, number), tree.parent_id, tree.task, tree.dataset,
            (tree.instruction, *history), correct, incorrect,
        )  # fmt: skip


class _Draft:
    """What rows say of one tree. Texts are kept once: a trajectory's are those of earlier turns."""

    def __init__(self, row: SftRow | PairRow):
        self._first = row
        self.correct: dict[int, str] = {}
        self._incorrect: dict[int, str] = {}
        self._observed: dict[int, str] = {}

    def add_pair(self, row: PairRow) -> None:
        """Raises UsageError, and adds nothing, if the row contradicts others."""
        self._check(row)
        before, turn = row.trajectory[1:], len(row.trajectory) // 2 + 1
        said = [(self._incorrect, n, text) for n, text in enumerate(before[::2], start=1)]
        said += [(self._observed, n, text) for n, text in enumerate(before[1::2], start=1)]
        self._add([*said, (self.correct, turn, row.chosen), (self._incorrect, turn, row.rejected)])

    def add_sft(self, row: SftRow) -> None:
        """Raises UsageError, and adds nothing, if the row contradicts others, or follows an unknown turn."""
        self._check(row)
        if row.id.turn > len(self._incorrect) + 1:
            raise UsageError("a correct action whose history is in no pair")
        self._add([(self.correct, row.id.turn, row.response)])

    def tree(self) -> PreferenceTree:
        turns = tuple(
            Turn(
                self.correct.get(n), self._incorrect.get(n),
                Observation(self._observed[n]) if n in self._observed else None,
            )
            for n in range(1, max([*self.correct, *self._incorrect]) + 1)
        )  # fmt: skip
        row = self._first
        return PreferenceTree(
            row.id.tree, row.parent_id, row.task, row.dataset, row.instruction, turns,
            max(row.id.depth, len(turns)),
        )  # fmt: skip

    def _check(self, row: SftRow | PairRow) -> None:
        if row.instruction != self._first.instruction:
            raise UsageError("two instructions in one tree")

    @staticmethod
    def _add(said: Sequence[tuple[dict[int, str], int, str]]) -> None:
        if any(texts.get(turn, text) != text for texts, turn, text in said):
            raise UsageError("two texts for one place in a tree")
        for texts, turn, text in said:
            texts[turn] = text


def trees_of(
    pairs: Iterable[PairRow], sft: Iterable[SftRow] = (), *, left_out: LeftOut | None = None
) -> Iterator[PreferenceTree]:
    """The trees that rows were made of, in the order in which they begin. Keeps them in memory.

    left_out: if given, rows that contradict the others of their tree, or that follow an unknown turn, are
        counted there, under "trees", and left out; otherwise the first of them raises UsageError.
    """
    drafts: dict[str, _Draft] = {}

    def draft(row: PairRow | SftRow) -> _Draft:
        return drafts.setdefault(row.id.tree, _Draft(row))

    for row in pairs:
        with _counted(row.id, left_out):
            draft(row).add_pair(row)
    for other in sft:
        with _counted(other.id, left_out):
            draft(other).add_sft(other)
    for made in drafts.values():
        if made.correct:
            yield made.tree()


@contextmanager
def _counted(id_: RowId, left_out: LeftOut | None) -> Iterator[None]:
    if left_out is not None:
        left_out.saw("trees")
    try:
        yield
    except UsageError as error:
        if left_out is None:
            raise UsageError(f"{id_}: {error}") from error
        left_out.add("trees", str(id_), str(error))


# -- files ---------------------------------------------------------------------------------------------


def read_sft(source: str, *, left_out: LeftOut | None = None) -> Iterator[SftRow]:
    """Stream rows from a file (.jsonl, .jsonl.gz, .json, .parquet) or a data set on the hub.

    left_out: rows that cannot be read are counted there; otherwise the first of them raises UsageError.
    """
    return _read(source, _sft_row, SFT_EXAMPLE, left_out)


def read_pairs(source: str, *, left_out: LeftOut | None = None) -> Iterator[PairRow]:
    """As `read_sft`, for pairs."""
    return _read(source, _pair_row, PAIR_EXAMPLE, left_out)


def _read(
    source: str, parse: Callable[[Mapping[str, Any]], T], example: str, left_out: LeftOut | None
) -> Iterator[T]:
    rows = read_rows(source, left_out=left_out)
    hint = f"; a row looks like this: {example}"
    return parsed(rows, lambda row: [parse(row)], source=source, left_out=left_out, hint=hint)


def _sft_row(row: Mapping[str, Any]) -> SftRow:
    id_, parent_id, task, dataset = _head(row)
    return SftRow(id_, parent_id, task, dataset, _text(row, "instruction"), _text(row, "response"))


def _pair_row(row: Mapping[str, Any]) -> PairRow:
    messages = row["trajectory"]
    if not isinstance(messages, list) or len(messages) % 2 == 0:
        raise UsageError("'trajectory' must be messages of the user and the assistant in turn")
    for number, message in enumerate(messages):
        if message["from"] != ROLES[number % 2]:
            raise UsageError("'trajectory' must be messages of the user and the assistant in turn")
    trajectory = tuple(_text(message, "value") for message in messages)
    return PairRow(*_head(row), trajectory, _text(row, "chosen"), _text(row, "rejected"))


def _head(row: Mapping[str, Any]) -> tuple[RowId, str, str, str]:
    parent_id, task, dataset = (_text(row, name) for name in ("parent_id", "task", "dataset"))
    return RowId.parse(row["id"]), parent_id, task_name(task), dataset


def _text(row: Mapping[str, Any], name: str) -> str:
    if not isinstance(row[name], str) or not row[name].strip():
        raise UsageError(f"{name!r} must be a text that is not blank")
    return str(row[name])


def sft_fields(row: SftRow) -> dict[str, Any]:
    """The JSON fields of a row."""
    return {**_head_fields(row), "instruction": row.instruction, "response": row.response}


def pair_fields(row: PairRow) -> dict[str, Any]:
    """The JSON fields of a row."""
    messages = [{"from": ROLES[n % 2], "value": text} for n, text in enumerate(row.trajectory)]
    return {**_head_fields(row), "trajectory": messages, "chosen": row.chosen, "rejected": row.rejected}


def _head_fields(row: SftRow | PairRow) -> dict[str, Any]:
    return {"id": str(row.id), "parent_id": row.parent_id, "task": row.task, "dataset": row.dataset}


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object per line; no file if there is no row. Returns their number.

    The file is replaced when everything is written: if `rows` raises, nothing changes.
    """
    n = 0
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("w", encoding="utf-8", errors="surrogatepass") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                n += 1
        if n:
            os.replace(unfinished, path)
        else:
            path.unlink(missing_ok=True)
    finally:
        unfinished.unlink(missing_ok=True)
    return n
