"""`mcts` and LLM Reasoners' MCTS on the same random trees: nodes expanded, visits and Q values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from bench.experiments.peers.packages import load
from bench.experiments.peers.plain_mcts import PlainMCTS
from bench.experiments.peers.scripted import RandomTree
from search.seeds import derive
from search.strategies.mcts import MCTS
from search.tree import Tree
from search.types import Address

SIMULATIONS = 24
EXPLORATIONS = (0.0, 0.3, 1.0, 4.0)


@dataclass(frozen=True, slots=True)
class Search:
    """What a search has done. opened: the nodes expanded, in order. visits, q: of every node visited."""

    opened: list[Address]
    visits: Mapping[Address, int]
    q: Mapping[Address, float]


def ours(tree: RandomTree, exploration: float) -> Search:
    tree.asked.clear()
    params = MCTS(simulations=SIMULATIONS, width=tree.width, exploration=exploration, aggregate="last")
    stats, _ = asyncio.run(params.search(Tree(tree.problem, tree, tree)))
    seen = {node.address: own for node, own in stats.items() if own.visits}
    return Search(
        list(dict.fromkeys(address[:-1] for address in tree.asked)),
        {at: own.visits for at, own in seen.items()},
        {at: own.total / own.visits for at, own in seen.items()},
    )


def plain(tree: RandomTree, exploration: float, *, whole_paths: bool) -> Search:
    search = PlainMCTS(tree.children, tree.reward, exploration, whole_paths)
    search.run(SIMULATIONS)
    seen = search.backed_up
    return Search(search.opened, {at: len(seen[at]) for at in seen}, {at: search.q(at) for at in seen})


def theirs(tree: RandomTree, exploration: float, *, whole_paths: bool) -> Search:
    """The package, with rewards backed up as ours are: that of the last step, to all nodes of the path.

    whole_paths: as it is. If not, `_simulate` takes one step instead of going on to the end of a solution.
    """
    package = load("reasoners", "reasoners.algorithm.mcts")
    opened: list[Address] = []

    class World:
        def init_state(self) -> Address:
            return ()

        def step(self, state: Address, action: int) -> tuple[Address, dict[str, Any]]:
            return (*state, action), {}

        def is_terminal(self, state: Address) -> bool:
            return bool(state) and tree.is_end(state)

    class Config:
        def get_actions(self, state: Address) -> list[int]:
            opened.append(state)
            return [child[-1] for child in tree.children(state)]

        def fast_reward(self, state: Address, action: int) -> tuple[float, dict[str, Any]]:
            return tree.reward((*state, action)), {}

        def reward(self, state: Address, action: int, **details: Any) -> tuple[float, dict[str, Any]]:
            return tree.reward((*state, action)), {}

    def one_step(path: list[Any]) -> None:
        if children := path[-1].children:
            path.append(children[search.simulate_choice([child.fast_reward for child in children])])

    search = package.MCTS(
        w_exp=exploration, depth_limit=tree.depth + 1, n_iters=SIMULATIONS, cum_reward=itemgetter(-1)
    )
    if not whole_paths:
        search._simulate = one_step
    root = search(World(), Config()).tree_state
    visits, q = dict[Address, int](), dict[Address, float]()
    todo: list[tuple[Address, Any]] = [((), root)]
    while todo:
        at, node = todo.pop()
        if node.cum_rewards:
            visits[at], q[at] = len(node.cum_rewards), float(node.Q)
        todo += [((*at, child.action), child) for child in node.children or ()]
    return Search(opened, visits, q)


def compare(trees: int) -> bool:
    """Print on how many random trees the searches agree. Returns whether they agree on all."""
    package_whole, package_step, reference = "package", "package, one step", "plain reference"
    searches: dict[str, Callable[[RandomTree, float], Search]] = {
        package_whole: lambda tree, w: theirs(tree, w, whole_paths=True),
        package_step: lambda tree, w: theirs(tree, w, whole_paths=False),
        reference: lambda tree, w: plain(tree, w, whole_paths=True),
        f"{reference}, one step": lambda tree, w: plain(tree, w, whole_paths=False),
        "mcts": ours,
    }
    rows = [
        (1, "mcts", package_whole), (6, "mcts", package_step), (6, f"{reference}, one step", package_step),
        (6, reference, package_whole),
    ]  # fmt: skip
    print(f"{trees} random trees, {SIMULATIONS} simulations each, w of {EXPLORATIONS}\n")
    print("| depth | | and | same nodes expanded, in order | same visits | same Q values |")
    print("|---|---|---|---|---|---|")
    agreed = True
    for depth, one, other in rows:
        same = [0, 0, 0]
        for number in range(trees):
            tree = RandomTree(number, 2 + derive("width", number) % 4, depth)
            w = EXPLORATIONS[number % len(EXPLORATIONS)]
            a, b = searches[one](tree, w), searches[other](tree, w)
            for i, equal in enumerate((a.opened == b.opened, a.visits == b.visits, a.q == b.q)):
                same[i] += equal
        print(f"| up to {depth} | {one} | {other} | {' | '.join(map(str, same))} |")
        agreed = agreed and same == [trees] * 3
    return agreed
