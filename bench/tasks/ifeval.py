"""IFEval (Zhou et al. 2023, arXiv:2311.07911): 541 prompts with instructions that a program can check.

https://github.com/google-research/google-research/tree/master/instruction_following_eval; on the hub
google/IFEval. A row has "key", "prompt", "instruction_id_list", and "kwargs", a list of objects with the
arguments of each instruction; the hub's have every name, null where it is none of the instruction's.

A response is right if it follows all instructions of its prompt loosely (prompt-level loose accuracy). 20 of
the 25 instructions are checked, which is enough for 387 of the prompts; the others are left out. See
`bench.tasks.instructions`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.grading.equality import How
from bench.grading.grade import Grade
from bench.tasks.base import Example, TextTask
from bench.tasks.instructions import CHECKS, check_instruction, follows_loosely
from bench.tasks.prompts import eurus
from bench.tasks.sources import source_rows
from prm.data.left_out import LeftOut
from prm.data.rows import Row, hub_rows
from search.errors import UsageError
from search.prompts import Prompt
from search.types import Problem

HUB = "google/IFEval"


class IfEval(TextTask):
    """`data`: input_data.jsonl, or a folder that holds it. The reference is the instructions, as JSON."""

    name = "ifeval"
    test_only = True
    prompts: Mapping[str, Prompt] = MappingProxyType({
        "raw": Prompt("{question}\n\n"), "eurus": eurus.IFEVAL, "chat": Prompt("{question}", chat=True),
    })  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._left_out = LeftOut()

    @property
    def notes(self) -> tuple[str, ...]:
        """How many prompts were left out, and for which instructions."""
        return (self._left_out.describe(),) if self._left_out else ()

    def examples(self, data: Path | None, limit: int | None) -> list[Example]:
        """The prompts whose instructions are all checked; `notes` counts the others.

        Raises UsageError, also if there is no such prompt.
        """
        self._left_out = LeftOut()
        source = HUB if data is None else str(data)
        rows = self._checked(source_rows(data, "input_data.jsonl", _on_hub), source)
        examples = list(islice(map(_example, rows), limit))
        if not examples and (first := self._left_out.first_of(source)) is not None:
            raise UsageError(f"{source}: no prompt can be checked; the first, {first}")
        return examples

    def _checked(self, rows: Iterator[Row], source: str) -> Iterator[Row]:
        """The rows without an instruction that is not checked."""
        for row in rows:
            self._left_out.saw(source)
            if names := _unchecked(row):
                self._left_out.add(source, row.where, f"{' and '.join(names)} cannot be checked")
            else:
                yield row

    def stated(self, text: str) -> str | None:
        """The whole response."""
        return text.strip() or None

    def equal(self, a: str, b: str) -> bool:
        """True if both are the same text."""
        return a == b

    def compare(self, answer: str | None, reference: str) -> Grade:
        """Check each instruction; `how` is the first that is not followed.

        Raises UsageError if the reference is none of `examples`.
        """
        if answer is None:
            return Grade(False, How.NO_ANSWER)
        for name, arguments in _instructions(reference):
            if not follows_loosely(answer, name, arguments):
                return Grade(False, name)
        return Grade(True, "followed")


def _instructions(reference: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        instructions = [(name, dict(arguments)) for name, arguments in json.loads(reference)]
    except (ValueError, TypeError) as error:
        raise UsageError(
            f'a reference of ifeval looks like [["punctuation:no_comma", {{}}]], not like {reference[:60]!r}'
        ) from error
    for name, arguments in instructions:
        check_instruction(name, arguments)
    return instructions


def _on_hub() -> Iterator[Row]:
    return hub_rows(HUB, "train", stream=False)


def _unchecked(row: Row) -> list[str]:
    """The instructions of a prompt that are not checked."""
    names = row.fields.get("instruction_id_list")
    if not isinstance(names, list):
        return []
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name not in CHECKS))


def _example(row: Row) -> Example:
    names, arguments = row.fields.get("instruction_id_list"), row.fields.get("kwargs")
    if not isinstance(names, list) or not isinstance(arguments, list) or not 0 < len(names) == len(arguments):
        raise UsageError(f"{row.where}: 'instruction_id_list' and 'kwargs' must be lists of the same length")
    instructions: list[tuple[str, dict[str, Any]]] = []
    for name, given in zip(names, arguments, strict=True):
        if not isinstance(given, dict):
            raise UsageError(f"{row.where}: 'kwargs' must hold an object for each instruction")
        own = {key: value for key, value in given.items() if value is not None}
        try:
            check_instruction(name, own)
        except UsageError as error:
            raise UsageError(f"{row.where}: {error}") from error
        instructions.append((name, own))
    problem = Problem(f"ifeval/{row.fields.get('key', row.number)}", row.text("prompt"))
    return Example(problem, json.dumps(instructions))
