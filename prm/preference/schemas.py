"""What an actor is told beside the problem: how to reason, and a gold solution to follow.

None of this is part of a record: there, an instruction is the problem alone, as in UltraInteract.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from search.seeds import derive

SCHEMAS: Mapping[str, str] = MappingProxyType(
    {
        "plain": "",
        "cot": "Think step by step. Begin each step with its number, as in 'Step 1:', and state the answer "
        "at the end.",
        "modular": "First plan in numbered steps, as in 'Step 1:'. Then write one Python program in which "
        "each part of the plan is a small function, with the number of its step in a comment.",
    }
)  # fmt: skip
"""How to reason. cot: chain of thought; modular: a program of small parts (Eurus, section 2.1). plain: as the
policy does by itself."""

MASK = "[MASKED]"


def schema_for(schemas: Sequence[str], seed: int) -> str:
    """One of the schemas' names, drawn by the seed."""
    return schemas[derive("schema", seed) % len(schemas)]


def masked(solution: str, answer: str) -> str:
    """A solution in words without its answer, wherever that stands as a number or expression of its own."""
    if not answer.strip():
        return solution
    return re.sub(rf"(?<![\w.]){re.escape(answer.strip())}(?!\w|\.\d)", MASK, solution)


def asked(question: str, schema: str, *, gold: str = "", is_program: bool = False) -> str:
    """What the actor is asked: the question, how to reason, and a gold solution, if there is one to follow.

    schema: a name of `SCHEMAS`. gold: in words, with its answer masked, or a program (`is_program`), which is
        to be translated into steps.
    """
    parts = [question, SCHEMAS[schema]]
    if gold and is_program:
        parts.append(f"This program is correct. Write the solution out step by step, as your own:\n{gold}")
    elif gold:
        parts.append(
            f"This is the solution, with its answer masked. Write it out step by step, to the answer:\n{gold}"
        )
    return "\n\n".join(part for part in parts if part)
