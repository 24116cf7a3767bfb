"""IFEval (Zhou et al. 2023, arXiv:2311.07911): 541 prompts with instructions that a program can check.

https://github.com/google-research/google-research/tree/master/instruction_following_eval; on the hub
google/IFEval. A row has "key", "prompt", "instruction_id_list", and "kwargs", a list of objects with the
arguments of each instruction; the hub's have every name, null where it is none of the instruction's.

A response is right if it follows all instructions of its prompt loosely (prompt-level loose accuracy). 20 of
the 25 instructions are checked, which is enough for 387 of the prompts; see `bench.tasks.instructions`.
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
from bench.tasks.instructions import check_instruction, follows_loosely
from bench.tasks.prompts import eurus
from bench.tasks.sources import source_rows
from prm.data.rows import Row, hub_rows
from search.errors import UsageError
from search.prompts import Prompt
from search.types import Problem


class IfEval(TextTask):
    """`data`: input_data.jsonl, or a folder that holds it. The reference is the instructions, as JSON."""

    name = "ifeval"
    prompts: Mapping[str, Prompt] = MappingProxyType({
        "raw": Prompt("{question}\n\n"), "eurus": eurus.IFEVAL, "chat": Prompt("{question}", chat=True),
    })  # fmt: skip

    def examples(self, data: Path | None, limit: int | None) -> list[Example]:
        """The prompts. Raises UsageError, which names an instruction that cannot be checked."""
        return list(islice(map(_example, source_rows(data, "input_data.jsonl", _on_hub)), limit))

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
    return hub_rows("google/IFEval", "train", stream=False)


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
