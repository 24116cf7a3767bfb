"""Cross-turn pairs: the correct actions of a tree with the incorrect actions of its other turns.

The 240,000 single-turn pairs that Eurus-RM is trained on besides UltraInteract's own (Yuan et al. 2024,
section 3 and appendix B): N correct and N incorrect actions of an instruction make N x N pairs less those of
the same turn, only where N x N is at most 10; at most 9 pairs, and each action at most 3 times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prm.preference.records import PairRow, RowId
from prm.preference.tree import PreferenceTree, tree_id

MOST_PRODUCTS = 10
MOST_PAIRS = 9
MOST_USES = 3


def cross_turn_pairs(tree: PreferenceTree) -> Iterator[PairRow]:
    """New single-turn pairs of a tree's actions; none if it has too many of them.

    Its own pairs count towards the limits. Turns that are closest together are matched first, and equal
    texts never.
    """
    correct = {n: turn.correct for n, turn in enumerate(tree.turns, start=1) if turn.correct is not None}
    wrong = {n: turn.incorrect for n, turn in enumerate(tree.turns, start=1) if turn.incorrect is not None}
    if len(correct) * len(wrong) > MOST_PRODUCTS:
        return
    uses = Counter[tuple[str, int]]()
    n_pairs = len(tree.pairs)
    for number, _, _ in tree.pairs:
        uses["correct", number] = uses["incorrect", number] = 1
    across = [(a, b) for a in correct for b in wrong if a != b and correct[a] != wrong[b]]
    for a, b in sorted(across, key=lambda turns: (abs(turns[0] - turns[1]), turns)):
        if n_pairs == MOST_PAIRS:
            return
        if max(uses["correct", a], uses["incorrect", b]) == MOST_USES:
            continue
        uses["correct", a] += 1
        uses["incorrect", b] += 1
        n_pairs += 1
        yield PairRow(
            RowId(tree_id(tree.id, f"{a} {b}"), 1, 1), tree.parent_id, tree.task, tree.dataset,
            (tree.instruction,), correct[a], wrong[b],
        )  # fmt: skip
