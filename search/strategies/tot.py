"""Tree of Thoughts, breadth-first and depth-first (Yao et al. 2023, arXiv:2305.10601, algorithms 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from search.node import Node
from search.tree import StepGuided, Tree
from search.values import Aggregate, at_least, share


@dataclass(frozen=True, slots=True)
class TreeOfThoughts(StepGuided):
    """A thought is a step, a state the path to it. Sample thoughts, value the states, go on from the best.

    The paper asks the language model for values, and for the order in which DFS tries thoughts; here both are
    the reward model's. The paper's solutions all have T thoughts; here they may end before. A finished state
    is an output of DFS; in BFS it is its own only thought. Duplicates and dead ends (`Tree.is_dead`) are
    dropped. Ties go to the lower address.

    search: "bfs" keeps the best states of each depth, and answers with the best of the last. "dfs" enters the
        thoughts of a state best first, then goes back; it answers with the best of its outputs.
    width: thoughts sampled at a state (the paper's k). breadth: states that BFS keeps (b).
    threshold: DFS prunes states of this value or less (v_th).
    depth: thoughts (T) after which a state is only completed; BFS completes the best one, greedily.
    outputs: DFS ends with so many; None records all, as algorithm 2 does.
    max_states: DFS enters at most so many, 100 in the paper. Without an output, the deepest state that it
        entered, the first of several, is completed greedily.
    aggregate: how step values make the value of a state; None is the reward model's own way.
    temperature: of the policy; 0.7 in the paper.
    """

    search: Literal["bfs", "dfs"] = "bfs"
    width: int = 5
    breadth: int = 5
    threshold: float = 0.1
    depth: int = 32
    outputs: int | None = 1
    max_states: int = 100
    aggregate: Aggregate | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        at_least(1, width=self.width, breadth=self.breadth, depth=self.depth, outputs=self.outputs)
        at_least(1, max_states=self.max_states)
        at_least(0, temperature=self.temperature)
        share(threshold=self.threshold)

    async def __call__(self, tree: Tree) -> Node:
        return await (self._bfs(tree) if self.search == "bfs" else self._dfs(tree))

    async def _bfs(self, tree: Tree) -> Node:
        states = [tree.root]
        for _ in range(self.depth):
            if not (candidates := await self._thoughts(tree, states)):
                break
            states = candidates[: self.breadth]
            for pruned in candidates[self.breadth :]:
                tree.reject(pruned)
            tree.settle(states)
        return states[0] if states[0].is_terminal else await tree.finish(states[0])

    async def _dfs(self, tree: Tree) -> Node:
        path, entered, outputs, untried = [tree.root], [tree.root], list[Node](), dict[Node, list[Node]]()
        while path:
            state = path[-1]
            if state.is_terminal or len(path) > self.depth:
                [leaf] = await tree.complete([state], temperature=self.temperature)
                outputs += [leaf] if tree.answer(leaf) is not None else []
                if len(outputs) == self.outputs:
                    break
            elif len(entered) > self.max_states:
                break
            else:
                if state not in untried:
                    thoughts = await self._thoughts(tree, [state])
                    untried[state] = [t for t in thoughts if tree.value(t, self.aggregate) > self.threshold]
                    for pruned in thoughts[len(untried[state]) :]:
                        tree.reject(pruned)
                if untried[state]:
                    path.append(untried[state].pop(0))
                    entered.append(path[-1])
                    continue
            tree.backtrack(path.pop())
        if outputs:
            outputs.sort(key=lambda node: node.address)
            return await tree.choose(outputs, "best", self.aggregate)
        return await tree.finish(max(entered, key=lambda state: len(state.path)))

    async def _thoughts(self, tree: Tree, states: Sequence[Node]) -> list[Node]:
        """The states that follow, best first; a finished state follows itself."""
        unfinished = [state for state in states if not state.is_terminal]
        sampled = await tree.expand(unfinished, self.width, temperature=self.temperature)
        new = [child for child in sampled if child.duplicate_of is None and not tree.is_dead(child)]
        new += [state for state in states if state.is_terminal]
        return sorted(new, key=lambda node: (-tree.value(node, self.aggregate), node.address))
