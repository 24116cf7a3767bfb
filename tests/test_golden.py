"""Golden trees: what every strategy grows in the random world, node by node, with its cost.

A change here is a change of behaviour. If it is meant, write them anew and read the difference:

    GOLDEN=write python -m pytest tests/test_golden.py
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from search.strategies import STRATEGIES
from search.strategies.hgs import HGS
from search.strategies.mcts import MCTS
from search.tree import Budget, Node, Tree
from search.types import Problem, Strategy
from tests.fakes import FractionAnswers, RandomWorld

GOLDEN = Path(__file__).parent / "golden"
SUBJECTS: dict[str, Strategy] = {
    **{name: strategy() for name, strategy in STRATEGIES.items()},
    "hgs_narrow": HGS(width=2, max_samples=12, neutral="reject", reject=0.3),
    "mcts_rollout": MCTS(value="rollout", simulations=8, width=2),
}


def grow(strategy: Strategy) -> dict[str, Any]:
    """The tree as nested dicts; "path" is the chosen one."""
    world = RandomWorld(jitter=1)
    tree = Tree(
        Problem("golden/3", "Which way?"), world, world, seed=20,
        budget=Budget(step_tokens=12, solution_tokens=40), answers=FractionAnswers(),
    )
    chosen = asyncio.run(strategy(tree))
    usage = {name: getattr(tree.usage, name) for name in tree.usage.__slots__}
    return {
        "path": list(chosen.address),
        "answer": tree.answer(chosen),
        "usage": {name: amount for name, amount in usage.items() if amount},
        "children": [_as_dict(child) for child in tree.root.children],
    }


def _as_dict(node: Node) -> dict[str, Any]:
    assert node.step is not None
    j = node.judgement
    return {
        "step": node.step.text,
        "stop": node.step.stop.value,
        "judgement": j and [round(p, 4) for p in (j.negative, j.neutral, j.positive)],
        **({"twin": list(node.twin.address)} if node.twin else {}),
        **({"children": [_as_dict(child) for child in node.children]} if node.children else {}),
    }


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_tree_is_the_golden_one(name: str) -> None:
    path = GOLDEN / f"{name}.json"
    tree = grow(SUBJECTS[name])
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(json.dumps(tree, indent=1) + "\n")
    assert tree == json.loads(path.read_text()), f"see the docstring of {Path(__file__).name}"


def test_every_golden_tree_belongs_to_a_strategy() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(SUBJECTS)
