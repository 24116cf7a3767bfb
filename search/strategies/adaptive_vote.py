"""Adaptive consistency: sample until the vote is settled (Aggarwal et al. 2023, arXiv:2305.11860)."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

from search.node import Node
from search.tree import Tree, Unguided
from search.values import at_least, share


@dataclass(frozen=True, slots=True)
class AdaptiveVote(Unguided):
    """Self-consistency that stops once the leading answer is likely enough to stay in the lead.

    n: most solutions. threshold: stop once `lead_stays` of the two most frequent answers exceeds it.
    at_once: solutions in flight. Those in flight at the stop are cut, and what they cost is counted; which
        answers are counted, and when it stops, depends on the order of addresses alone.

    A solution without an answer has no vote. Ties go to the first.
    """

    n: int = 40
    threshold: float = 0.95
    at_once: int = 1
    temperature: float | None = None

    def __post_init__(self) -> None:
        at_least(1, n=self.n, at_once=self.at_once)
        at_least(0, temperature=self.temperature)
        share(threshold=self.threshold)

    async def __call__(self, tree: Tree) -> Node:
        solutions: list[Node] = []
        sampled = tree.completions(tree.root, self.n, at_once=self.at_once, temperature=self.temperature)
        try:
            async for solution in sampled:
                solutions.append(solution)
                votes = sorted(map(len, await tree.vote(solutions)), reverse=True)
                if votes and lead_stays(votes[0], sum(votes[1:2])) > self.threshold:
                    break
        finally:
            await sampled.aclose()
        return await tree.choose(solutions, "vote") if solutions else tree.root  # limits may allow none


def lead_stays(first: int, second: int) -> float:
    """P(the first answer is the more frequent of two), given their votes: the paper's beta criterion.

    The share of the first has the posterior Beta(first + 1, second + 1). That it exceeds 1/2 has the
    probability that of first + second + 1 fair coins at most `first` show heads: an exact sum.
    """
    coins = first + second + 1
    return sum(comb(coins, heads) for heads in range(first + 1)) / (1 << coins)
