"""Preference trees from episodes: scripted episode trees in, preference trees out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prm.preference.from_episodes import turns_of_episodes
from prm.preference.from_search import Tally
from prm.preference.records import pair_rows, sft_rows, trees_of
from prm.preference.tree import PreferenceTree, Turn
from search.node import Node
from search.types import Observation, Step, Stop

QUESTION = "Which?"


def turn_of(line: str) -> Step:
    """A message, after its mark: "+" is right, "-" wrong, "~" cut at a limit. A critique follows a colon."""
    mark, text = line[0], line[2:]
    text, _, critique = text.partition(": ")
    if mark == "~":
        return Step(text, (), 0.0, Stop.LENGTH)
    if mark == "+":
        return Step(text, (), 0.0, Stop.END, observation=Observation("Your answer is correct.", ends=True))
    seen = "\n".join(["Your answer is wrong.", *([critique] if critique else [])])
    return Step(text, (), 0.0, Stop.STEP, observation=Observation(seen))


def grown(picture: str) -> Node:
    """A line is a message in the notation of `turn_of`; those that follow it are indented."""
    root = Node((), None, None)
    path = [root]
    for line in filter(None, picture.split("\n")):
        depth = (len(line) - len(line.lstrip())) // 2
        del path[depth + 1 :]
        parent = path[depth]
        child = Node((*parent.address, len(parent.children)), parent, turn_of(line.strip()))
        parent.children.append(child)
        path.append(child)
    return root


def is_attempt(text: str) -> bool:
    return "?" not in text


def tree_of(turns: tuple[Turn, ...]) -> PreferenceTree:
    return PreferenceTree("t", "p", "Math_CoT", "mine", QUESTION, turns)


def made(picture: str) -> tuple[list[str], dict[str, int]]:
    """The turns as "RIGHT > WRONG", and what was counted; the rows of a tree make the same tree."""
    tally = Tally()
    turns = turns_of_episodes(grown(picture), is_attempt, tally)
    if turns:
        tree = tree_of(turns)
        assert [*trees_of(pair_rows(tree), sft_rows(tree))] == [tree]
    drawn = [" > ".join(text or "" for text in (turn.correct, turn.incorrect)[: 1 + bool(turn.incorrect)])
             for turn in turns]  # fmt: skip
    return drawn, {name: n for name, n in tally.report().items() if n}


# -- pictures ------------------------------------------------------------------------------------------


def test_the_wrong_message_is_expanded() -> None:
    picture = """
- a: Count again.
  - c
  + d
+ b
"""
    assert made(picture) == (["b > a", "d > c"], {})
    _, second = pair_rows(tree_of(turns_of_episodes(grown(picture), is_attempt, Tally())))
    assert second.trajectory == (QUESTION, "a", "Your answer is wrong.\nCount again.")
    assert (second.chosen, second.rejected) == ("d", "c")


def test_a_turn_without_a_right_message_is_part_of_the_history() -> None:
    assert made("""
- a
  - b
  + c
""") == ([" > a", "c > b"], {})


def test_a_right_message_after_the_last_pair_is_kept() -> None:
    assert made("""
+ a
- b
  + c
""") == (["a > b", "c"], {})


def test_the_wrong_message_with_the_most_pairs_after_it_is_taken() -> None:
    assert made("""
+ a
- b
  + c
- d
  + e
  - f
- g
  + h
  - i
""") == (["a > d", "e > f"], {"pairs_beside_another": 1})


def test_then_the_one_with_the_most_right_messages() -> None:
    assert made("""
+ a
- b
  - c
- d
  + e
""")[0] == ["a > d", "e"]


def test_equal_histories_are_one() -> None:
    """As in best-of-N, whose episodes are sampled as a whole."""
    assert made("""
- a
  + b
- a
  - c
+ d
""") == (["d > a", "b > c"], {})


def test_histories_with_other_observations_are_others() -> None:
    assert made("""
- a: once
  - c
- a: twice
  + b
+ d
""") == (["d > a", "b"], {})


def test_messages_that_were_cut_or_are_no_attempt_are_neither_side() -> None:
    assert made("""
+ a
~ b
- what?
  + c
  - d
""") == (["a"], {"nodes_unknown": 2, "forks_one_sided": 1})


def test_failed_and_blank_messages_are_left_out() -> None:
    root = grown("+ a\n- b\n- c\n-  ")
    root.children[1].failed = "lost"
    root.children[2].step, root.children[2].failed = None, "lost"
    assert turns_of_episodes(root, is_attempt, Tally()) == (Turn("a"),)


def test_siblings_with_the_same_text_are_no_pair() -> None:
    assert made("+ a\n- a") == (["a"], {"ties": 1})
    assert made("+ a\n- a\n+ b\n- b") == (["b > a"], {})


def test_a_tree_has_five_turns_at_most() -> None:
    picture = "".join(f"{'  ' * depth}+ a\n{'  ' * depth}- b\n" for depth in range(7))
    assert made(picture) == (["a > b"] * 5, {"levels_too_deep": 2})


def test_a_printed_verdict_is_no_verdict() -> None:
    """At the last turn an episode ends with a wrong answer, too."""
    lie = "Out: Your answer is correct."
    root = grown("- a\n- b\n+ c")
    for child, seen in zip(
        root.children,
        [
            Observation(f"{lie}\nYour answer is wrong.", ends=True),
            Observation(f"Your answer is wrong.\n{lie.removeprefix('Out: ')}"),  # the words of a critique
        ],
        strict=False,
    ):
        child.step = Step(child.text, (), 0.0, Stop.END, observation=seen)
    tally = Tally()
    assert turns_of_episodes(root, is_attempt, tally) == (Turn("c", "a"),)


def answered(node: Node) -> tuple[str, str]:
    """A message, and what was observed."""
    assert node.step is not None
    return node.step.text, "" if node.step.observation is None else node.step.observation.text


lines = st.tuples(st.sampled_from("+--~"), st.sampled_from(["a", "b", "c", "?", "a: x"])).map(" ".join)
pictures: st.SearchStrategy[list[str]] = st.recursive(
    st.just([]),
    lambda below: st.lists(
        st.tuples(lines, below).map(
            lambda made: [made[0], *(f"  {line}" for line in made[1] if made[0][0] == "-")]
        ),
        max_size=4,
    ).map(lambda parts: [line for part in parts for line in part]),
    max_leaves=12,
)


@given(pictures)
def test_every_pair_stands_in_the_episodes(lines: list[str]) -> None:
    picture = "\n".join(lines)
    made(picture)
    turns = turns_of_episodes(grown(picture), is_attempt, Tally())
    for row in pair_rows(tree_of(turns)) if turns else ():
        nodes = [grown(picture)]
        for action, seen in zip(row.trajectory[1::2], row.trajectory[2::2], strict=True):
            nodes = [child for node in nodes for child in node.children if answered(child) == (action, seen)]
        siblings = [answered(child) for node in nodes for child in node.children]
        assert (row.chosen, "Your answer is correct.") in siblings
        assert any(text == row.rejected and "wrong" in seen for text, seen in siblings)


# -- traces --------------------------------------------------------------------------------------------
