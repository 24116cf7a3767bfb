"""A preference tree from a search tree of episodes, whose nodes are actions with the observations they got.

Nothing is put in afterwards: the policy read each verdict before its next message. The messages that follow
one history of wrong actions are

    right     by the environment's verdict; the episode ends
    wrong     by the verdict; the messages of the next turn follow its observation
    unknown   cut at a limit, or no attempt

The pair of a turn is the first right message and a wrong one, which is expanded. Of several wrong ones, it is
the one after which the most pairs follow, then the most right actions, then the first. Messages with equal
texts and observations after one history are one action: episodes that are sampled as a whole may begin alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prm.preference.from_search import Tally, Verdict
from prm.preference.tree import MAX_DEPTH, Observation, Turn, canonical
from search.node import Node
from search.types import Step

CORRECT = Observation.of(True).text


@dataclass(slots=True)
class _Fork:
    """The messages after one history, in the order of addresses.

    wrong: the nodes of each wrong message and its observation; what follows them follows one history.
    """

    right: list[str] = field(default_factory=list)
    wrong: dict[tuple[str, Observation], list[Node]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    @property
    def turns(self) -> list[Turn]:
        """A turn for each wrong action, with the first right action that differs from it, if there is one."""
        return [
            Turn(next((text for text in self.right if text.strip() != wrong.strip()), None), wrong, seen)
            for wrong, seen in self.wrong
        ]


def turns_of_episodes(root: Node, is_attempt: Callable[[str], bool], tally: Tally) -> tuple[Turn, ...]:
    """The turns of a preference tree, at most 5; none is a pair if no history has a right and a wrong side.

    root: of a tree whose episodes had verdicts (`search.environments.python`). is_attempt: whether a message
    attempts the problem; one that does not is neither right nor wrong, and what follows it is not read.
    """
    chains: list[tuple[Turn, ...]] = []
    n_pairs = Counter[int]()  # forks with a pair, by turn
    stack: list[tuple[list[Node], tuple[Turn, ...]]] = [([root], ())]
    while stack:
        nodes, before = stack.pop()
        fork = _fork(nodes, is_attempt)
        turns = fork.turns
        last = [Turn(text) for text in fork.right[:1]]
        chains.append(canonical((*before, *last)[:MAX_DEPTH]))
        n_pairs[len(before) + 1] += _count(fork, turns, tally)
        below = zip(fork.wrong.values(), turns, strict=True)
        stack += reversed([(same, (*before, turn)) for same, turn in below])
    best = max(chains, key=lambda chain: (_pairs(chain), sum(turn.correct is not None for turn in chain)))
    tally.beside += sum(n for turn, n in n_pairs.items() if turn <= MAX_DEPTH) - _pairs(best)
    tally.deep += sum(n > 0 for turn, n in n_pairs.items() if turn > MAX_DEPTH)
    return best


def _fork(nodes: Sequence[Node], is_attempt: Callable[[str], bool]) -> _Fork:
    """nodes: equal actions after one history; their children are siblings."""
    fork = _Fork()
    for child in sorted((c for node in nodes for c in node.children), key=lambda c: c.address):
        if child.step is None or child.step.is_blank or child.failed is not None:
            continue
        text, seen = child.step.text, child.step.observation
        if seen is None or not is_attempt(text):
            fork.unknown.add(text)
        elif _is_correct(child.step):
            fork.right.append(text)
        else:
            fork.wrong.setdefault((text, Observation(seen.text)), []).append(child)
    return fork


def _is_correct(turn: Step) -> bool:
    """The environment's verdict on a turn.

    A program can print one, too. But a correct answer ends its episode, and then nothing follows the verdict.
    """
    seen = turn.observation
    return seen is not None and seen.ends and seen.text.rpartition("\n")[2] == CORRECT


def _count(fork: _Fork, turns: Sequence[Turn], tally: Tally) -> bool:
    """Whether there is a pair; what is left out is counted."""
    if len({*fork.right, *fork.unknown, *(text for text, _ in fork.wrong)}) > 1:
        tally.nodes[Verdict.UNKNOWN] += len(fork.unknown)
        tally.one_sided += not (fork.right and fork.wrong)
    has_pair = _pairs(turns) > 0
    tally.ties += bool(fork.right and fork.wrong) and not has_pair
    return has_pair


def _pairs(turns: Sequence[Turn]) -> int:
    return sum(turn.is_pair for turn in turns)
