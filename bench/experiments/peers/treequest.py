"""`ab_mcts` and TreeQuest's AB-MCTS-A: posteriors, draws, and trees of the same rewards."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import Any
from unittest.mock import patch

from bench.experiments.peers.packages import load
from bench.experiments.peers.scripted import RandomTree
from search.seeds import derive
from search.strategies.ab_mcts import ABMCTS
from search.tree import Tree
from search.types import Address
from search.values import Prior, Rewards

SAMPLES = 24
PRIORS: tuple[Prior, ...] = ("gaussian", "beta")
OBSERVED: tuple[list[float], ...] = ([], [0.5], [0.75, 0.25, 0.5], [1.0] * 8, [0.0, 0.125, 1.0, 0.5, 0.25])
P_VALUE = 0.001
"""The least that passes. There are about twenty tests."""


def endless(number: int) -> RandomTree:
    """No solution ends: in `ab_mcts`, unlike in TreeQuest, a finished child is no place to go on from."""
    return RandomTree(number, width=SAMPLES, depth=10**9, ends=0.0)


class Coupled(random.Random):
    """Draws that depend on their distribution and the number of samples so far, for both searches alike."""

    samples: Sequence[Address] = ()

    def _quantile(self, *what: float) -> random.Random:
        return random.Random(derive(len(self.samples), *(round(float(number), 9) + 0.0 for number in what)))

    def gammavariate(self, alpha: float, beta: float) -> float:
        return alpha * beta

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return mu + sigma * NormalDist().inv_cdf(self._quantile(mu, sigma).random())

    def betavariate(self, alpha: float, beta: float) -> float:
        return self._quantile(alpha, beta).betavariate(alpha, beta)


def ours(rewards: RandomTree, prior: Prior, seed: int = 0, rng: Coupled | None = None) -> list[Address]:
    """The addresses sampled, in order."""
    rewards.asked.clear()
    tree = Tree(rewards.problem, rewards, rewards, aggregate="last")
    tree.rng = random.Random(seed) if rng is None else rng
    if rng is not None:
        rng.samples = rewards.asked
    asyncio.run(ABMCTS(samples=SAMPLES, prior=prior).search(tree))
    return list(rewards.asked)


def theirs(rewards: RandomTree, prior: Prior) -> list[Address]:
    """The addresses sampled, in order. It draws from NumPy's global generator."""
    return _theirs(rewards, prior, [])


def _theirs(rewards: RandomTree, prior: Prior, asked: list[Address]) -> list[Address]:
    children: Counter[Address] = Counter()

    def generate(parent: Address | None) -> tuple[Address, float]:
        above = parent or ()
        new = (*above, children[above])
        children[above] += 1
        asked.append(new)
        return new, rewards.reward(new)

    search = load("treequest", "treequest").ABMCTSA(dist_type=prior)
    state = search.init_tree()
    for _ in range(SAMPLES):
        state = search.step(state, {"sample": generate}, inplace=True)
    return asked


def theirs_coupled(rewards: RandomTree, prior: Prior) -> list[Address]:
    rng, asked = Coupled(), list[Address]()
    rng.samples = asked

    def draw(posterior: Any) -> float:
        of = posterior.params
        if prior == "beta":
            return rng.betavariate(of["a"], of["b"])
        return rng.gauss(of["m"], sqrt(of["tau_square"] / of["kappa"]))

    package = load("treequest", "treequest.algos.ab_mcts_a.prob_state")
    with patch.object(package.ProbabilisticDist, "draw_sample", draw):
        return _theirs(rewards, prior, asked)


def compare(trees: int) -> bool:
    """Print the comparisons. Returns whether all agree."""
    import numpy as np

    np.random.seed(0)
    agreed = True
    print("| prior | same posteriors (largest difference) | draws: least p | same trees | shapes: p |")
    print("|---|---|---|---|---|")
    for prior in PRIORS:
        off = max(_posterior_off(prior, number) for number in range(200))
        draws = min(_draws_p(prior, rewards) for rewards in OBSERVED)
        same = sum(
            ours(endless(number), prior, rng=Coupled()) == theirs_coupled(endless(number), prior)
            for number in range(trees)
        )
        shapes = min(_shapes_p(prior, number, trees) for number in range(2))
        print(f"| {prior} | {off:.1e} | {draws:.3f} | {same} of {trees} | {shapes:.3f} |")
        agreed = agreed and off < 1e-8 and same == trees and min(draws, shapes) > P_VALUE
    return agreed


def _observed(rewards: Sequence[float], prior: Prior) -> tuple[Rewards, Any]:
    package = load("treequest", "treequest.algos.ab_mcts_a.prob_state")
    own, other = Rewards(), package.ProbabilisticDist(package.PriorConfig(dist_type=prior))
    for reward in rewards:
        own.observe(reward)
        other.tell_observation(reward)
    return own, other


def _posterior_off(prior: Prior, seed: int) -> float:
    """The largest difference of the parameters of a posterior."""
    rng = random.Random(seed)
    own, other = _observed([rng.random() for _ in range(rng.randrange(30))], prior)
    if prior == "beta":
        return max(abs(a - float(b)) for a, b in zip(own.beta, other.params.values(), strict=True))
    wanted = [other.params[name] for name in ("m", "kappa", "tau_square")]
    assert other.params["nu"] == other.params["kappa"]
    return max(abs(a - float(b)) for a, b in zip(own.gaussian, wanted, strict=True))


def _draws_p(prior: Prior, rewards: Sequence[float], n: int = 4000) -> float:
    """Kolmogorov-Smirnov: whether the means drawn after these rewards have one distribution."""
    from scipy.stats import ks_2samp

    (own, other), rng = _observed(rewards, prior), random.Random(0)
    draws = [own.draw(rng, prior) for _ in range(n)], [other.draw_sample() for _ in range(n)]
    return float(ks_2samp(*draws).pvalue)


def _shapes_p(prior: Prior, number: int, trees: int) -> float:
    """Chi-square: whether the numbers of children of the root have one distribution."""
    from scipy.stats import chi2_contingency

    def width(asked: list[Address]) -> int:
        return sum(len(address) == 1 for address in asked)

    tree = endless(number)
    counts = [
        Counter(width(ours(tree, prior, seed)) for seed in range(trees)),
        Counter(width(theirs(tree, prior)) for _ in range(trees)),
    ]
    return float(chi2_contingency(_binned(counts, least=10)).pvalue)


def _binned(counts: Sequence[Counter[int]], least: int) -> list[list[int]]:
    """Neighbouring values in one bin until it has `least` in all. Returns [len(counts), bins]."""
    bins, left = list[list[int]](), [0] * len(counts)
    for value in sorted(set().union(*counts)):
        left = [a + own[value] for a, own in zip(left, counts, strict=True)]
        if sum(left) >= least:
            bins.append(left)
            left = [0] * len(counts)
    bins[-1] = [a + b for a, b in zip(bins[-1], left, strict=True)]
    return [list(row) for row in zip(*bins, strict=True)]
