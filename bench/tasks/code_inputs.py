"""Inputs for a function, made from examples of its arguments: other values of the same types."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from search.seeds import derive

LARGE = 100


def generated_inputs(examples: Sequence[Sequence[object]], n: int, name: str) -> list[list[Any]]:
    """The examples themselves and variations of them, `n` in all; empty if there is no example.

    name: draws the variations; the same name, the same inputs.
    """
    if not examples:
        return []
    rng = random.Random(derive(0, name, "inputs"))
    inputs: list[list[Any]] = [list(example) for example in examples[:n]]
    seen = {repr(given) for given in inputs}
    for _ in range(10 * n):
        if len(inputs) >= n:
            break
        given = [_varied(value, rng) for value in rng.choice(examples)]
        if repr(given) not in seen:
            seen.add(repr(given))
            inputs.append(given)
    return inputs


def _varied(value: Any, rng: random.Random) -> Any:
    """Another value of the same type; now and then the same one."""
    if rng.random() < 0.2:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([value + 1, value - 1, 2 * value, 0, 1, rng.randint(0, LARGE)])
    if isinstance(value, float):
        return rng.choice([value + 1, -value, value / 2, 0.0, round(rng.uniform(-LARGE, LARGE), 2)])
    if isinstance(value, str):
        return _varied_text(value, rng)
    if isinstance(value, list | tuple):
        return type(value)(_varied_items(list(value), rng))
    if isinstance(value, dict):
        return {key: _varied(inner, rng) for key, inner in value.items() if rng.random() < 0.8}
    if isinstance(value, set | frozenset):
        return type(value)(_varied_items(sorted(value, key=repr), rng))
    return value


def _varied_items(items: list[Any], rng: random.Random) -> list[Any]:
    kind = rng.randrange(5)
    if kind == 0:
        return []
    if kind == 1:
        return items[:-1]
    if kind == 2:
        return items + items[:1]
    if kind == 3:
        return rng.sample(items, len(items))
    return [_varied(item, rng) for item in items]


def _varied_text(text: str, rng: random.Random) -> str:
    kind = rng.randrange(5)
    if kind == 0:
        return ""
    if kind == 1:
        return text[::-1]
    if kind == 2:
        return text + text[:1]
    if kind == 3:
        return "".join(rng.sample(text, len(text)))
    return text.swapcase()
