"""What the page on strategies says of each in words and pseudo-code; the figures are generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class About:
    """code: pseudo-code. helps: when the strategy helps, one or two sentences."""

    code: str
    helps: str


ABOUT: Mapping[str, About] = MappingProxyType({
    "cot": About(
        "while the solution is unfinished:\n    append the most probable next token",
        "The baseline: the cheapest answer, and the only one without a choice to make.",
    ),
    "self_consistency": About(
        "sample n solutions\ngroup them by their answers\nreturn the first of the largest group",
        "Needs no reward model. It helps where right answers agree and wrong ones scatter.",
    ),
    "adaptive_vote": About(
        "repeat at most n times:\n    sample a solution, group all by answer\n"
        "    stop if P(the leader stays in the lead) > threshold\nreturn the first of the largest group",
        "The vote of self-consistency, for fewer tokens on easy problems.",
    ),
    "best_of_n": About(
        "sample n solutions\nscore their steps\nreturn the one with the highest value",
        "Helps as far as the reward model ranks whole solutions well. Simple and fully parallel.",
    ),
    "weighted_vote": About(
        "sample n solutions, score their steps\ngroup them by their answers\n"
        "weight of a group = sum of its solutions' values\nreturn the best solution of the heaviest group",
        "More robust than best-of-N to single solutions that are scored too high.",
    ),
    "hgs": About(
        "enter(node): if it is finished, return it\n    repeat width times, warmer each time:\n"
        "        sample a step; if positive, return enter(step)\n"
        "    for the neutral steps, best first: return enter(step)\n    go back\n"
        "enter(root); while nothing is found: enter the best rejected step",
        "Spends only where a step is rejected, so it is cheap where the policy is right. It relies on "
        "verdicts on single steps, and ends with the first solution that it accepts.",
    ),
    "beam": About(
        "beams = [root]\nrepeat at most depth times, until all beams are finished:\n"
        "    sample width steps from each beam (n from the root)\n    score them\n"
        "    beams = the n / width best\nreturn the weighted vote of the solutions found",
        "Helps with small budgets and long solutions, if scores of prefixes can be trusted.",
    ),
    "dvts": About(
        "sample n first steps, divide them into n / width subtrees\nin each subtree, until it is finished:\n"
        "    keep the best of width steps\n    sample width steps from it\nreturn the best solution of all",
        "Beam search whose subtrees do not compete: it stays diverse where one beam would take over.",
    ),
    "rebase": About(
        "sample n first steps\nuntil all are finished:\n    B = n - solutions found\n"
        "    children of a node = B * softmax(reward / T), rounded\n    sample and score them\n"
        "return the weighted vote of the solutions",
        "Between beam search and sampling: good prefixes get more of a fixed number of samples.",
    ),
    "particle": About(
        "n particles at the root\nuntil all are finished:\n    sample a step for each, score it\n"
        "    weights = softmax of the logits\n    draw n particles by weight\n"
        "return the finished particle of the highest weight",
        "Keeps unlikely prefixes alive by chance, so one wrong score does less harm than in a beam.",
    ),
    "tot": About(
        "states = [root]\nrepeat at most depth times:\n    sample width steps from each state\n"
        "    score them\n    states = the breadth best\n"
        "return the best state",
        "As beam search, with its own width and breadth; its depth-first form goes back as HGS does.",
    ),
    "mcts": About(
        "repeat simulations times:\n    go down by Q + w * sqrt(ln N / n)\n"
        "    sample and score width children of the leaf\n    back up the value of the best child\n"
        "return the best solution found",
        "Returns to earlier decisions when later scores disappoint. It needs many simulations.",
    ),
    "puct": About(
        "repeat simulations times:\n    go down by Q + c * P * sqrt(N) / (1 + n)\n"
        "    sample and score width children of the leaf\n    back up the leaf's own value\n"
        "return the best solution found",
        "As MCTS, guided by the policy's own probabilities P: good where these are informative.",
    ),
    "ab_mcts": About(
        "repeat samples times:\n    from the root on, draw from the posteriors of:\n"
        "        a new child here, or one of the children\n    sample and score where it ends\n"
        "    add the reward to all nodes above\nreturn the best solution found",
        "Decides by itself between wider and deeper, so there is no width to choose.",
    ),
})  # fmt: skip

TITLE = "Results: strategies at equal cost"
INTRO = """\
Every strategy runs at the same budgets, in multiples of the mean cost of greedy decoding on the same \
problems. The cost of a problem is the sampled tokens, plus the tokens of scored steps times \
{weight:.2f}, the parameters of the reward model over those of the policy; see \
[equal cost](../guides/running.md#equal-cost). The built-in task with the built-in models, the first {n:,} \
test problems, seed {seed}. Greedy decoding takes {greedy:,.0f} tokens a problem, and solves {accuracy}."""
COLUMNS = """\
Accuracies have 95 % Wilson intervals. Total tokens are means per problem. Used is their share of the \
budget: strategies that end by themselves, or have an answer only at their end, cannot use all of it. \
Against best-of-N: the difference in points at the same budget, with p of McNemar's exact test. Seconds are \
wall-clock time per problem, with many problems at a time, left out for what was resumed; solutions that \
several strategies share are sampled once. Pass@N is the share of problems for which the pool of \
best-of-N holds a right solution: an upper bound for a choice from that pool, not a result."""
