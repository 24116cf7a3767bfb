"""Golden trees: what every strategy grows in the random world, node by node, with its cost.

A change here is a change of behaviour. If it is meant, write them anew and read the difference:

    GOLDEN=write python -m pytest tests/test_golden.py
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from search.limits import LengthLimits
from search.node import Node
from search.strategies import STRATEGIES
from search.strategies.beam import BeamSearch
from search.strategies.hgs import HGS
from search.strategies.mcts import MCTS
from search.strategies.tot import TreeOfThoughts
from search.tree import Strategy, Tree
from search.types import Problem
from tests.fakes import FractionAnswers, RandomWorld

GOLDEN = Path(__file__).parent / "golden"
SUBJECTS: dict[str, Strategy] = {
    **{name: strategy() for name, strategy in STRATEGIES.items()},
    "beam_lookahead": BeamSearch(n=4, lookahead=2),
    "hgs_narrow": HGS(width=2, max_samples=12, neutral="reject", reject=0.3),
    "mcts_rollout": MCTS(value="rollout", simulations=8, width=2),
    "tot_dfs": TreeOfThoughts(search="dfs", width=3, outputs=3),
}


def grow(strategy: Strategy) -> dict[str, Any]:
    """The tree as nested dicts; "path" is the chosen one."""
    world = RandomWorld(jitter=1)
    tree = Tree(
        Problem("golden/3", "Which way?"), world, world, seed=20,
        lengths=LengthLimits(step_tokens=12, solution_tokens=40), answers=FractionAnswers(),
    )
    chosen = asyncio.run(strategy(tree))
    return {
        "path": list(chosen.address),
        "answer": tree.answer(chosen),
        "cost": {name: amount for name, amount in asdict(tree.cost).items() if amount},
        "events": {name: count for name, count in asdict(tree.events).items() if count},
        "children": [_as_dict(child) for child in tree.root.children],
    }


def _as_dict(node: Node) -> dict[str, Any]:
    assert node.step is not None
    score = node.score
    return {
        "step": node.step.text,
        "stop": node.step.stop.value,
        "score": score and [round(p, 4) for p in (score.negative, score.neutral, score.positive)],
        **({"duplicate_of": list(node.duplicate_of.address)} if node.duplicate_of else {}),
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
