"""From sampled tokens to steps, with a model that always generates the same text."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from search.errors import ContextError
from search.limits import Cost, metered
from search.policies.stepping import Completion, Piece, Prefix, Sampling, SteppingPolicy
from search.prompts import Prompt
from search.segment import SEGMENTERS
from search.types import Policy, Problem, Step, Stop, Until
from tests.contracts import PolicyContract, text, tokens

T = TypeVar("T")
Q = Problem("q", "1 + 1?")
PROMPT_TOKENS = (900, 901, 902)
END_OF_TURN = 999


@dataclass
class Call:
    """One request to the model: the text that it continues, and the options."""

    after: str
    stop: Sequence[str]
    max_tokens: int
    seed: int
    temperature: float


@dataclass
class Speaker(SteppingPolicy):
    """Generates `words`, one token each, then ends its turn. The prefix decides which word comes next.

    Like an inference engine, it stops after the token that completes a stop string within the tokens of
    the request, and the stop string is included.
    """

    words: Sequence[str]
    segment: str = "newline"
    stop: tuple[str, ...] = ()
    context: int = 10_000
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        SteppingPolicy.__init__(
            self, Prompt(stop=self.stop), SEGMENTERS[self.segment], Sampling(temperature=0.8), self.context
        )

    def _encode(self, question: str) -> Prefix:
        return Prefix(PROMPT_TOKENS, question)

    async def _generate(
        self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, seed: int, temperature: float
    ) -> Completion:
        assert prefix.text.startswith(Q.question)
        self.calls.append(Call(prefix.text[len(Q.question) :], stop, max_tokens, seed, temperature))
        at = len(prefix.token_ids) - len(PROMPT_TOKENS)
        assert prefix.token_ids == PROMPT_TOKENS + tuple(range(at)), "the prefix is not what was generated"
        assert max_tokens > 0
        pieces: list[Piece] = []
        while len(pieces) < max_tokens:
            if at == len(self.words):
                return Completion([*pieces, Piece("", END_OF_TURN, -1.0)], Stop.END)
            pieces.append(Piece(self.words[at], at, -1.0))
            at += 1
            if any(s in "".join(piece.text for piece in pieces) for s in stop):
                return Completion(pieces, Stop.STEP)
        return Completion(pieces, Stop.LENGTH)


async def step(policy: Policy, before: Sequence[Step] = (), max_tokens: int = 99) -> tuple[Step, Cost]:
    with metered() as spent:
        [one] = await policy.propose(Q, before, until=Until.STEP, max_tokens=max_tokens, seed=5)
    return one, spent


async def rest(policy: Policy, before: Sequence[Step] = (), max_tokens: int = 99) -> tuple[list[Step], Cost]:
    with metered() as spent:
        steps = await policy.propose(Q, before, until=Until.END, max_tokens=max_tokens, seed=5)
    return steps, spent


async def walk(policy: Policy, max_tokens: int = 99) -> list[Step]:
    steps: list[Step] = []
    while not steps or steps[-1].stop is Stop.STEP:
        steps.append((await step(policy, steps, max_tokens))[0])
    return steps


def shown(steps: Sequence[Step]) -> list[tuple[str, str]]:
    return [(s.text, s.stop.value) for s in steps]


async def test_a_step_ends_after_the_token_that_completes_its_delimiter() -> None:
    one, spent = await step(Speaker(["1+1", " = 2", ".\nThe", " answer"]))
    assert (one.text, one.stop, one.token_ids) == ("1+1 = 2.\nThe", Stop.STEP, (0, 1, 2))
    assert one.logprob == -3.0
    assert spent.policy_tokens == 3  # none was dropped


async def test_single_steps_and_whole_solutions() -> None:
    words = ["a", "\n", "b", "\n", "c"]
    assert shown(await walk(Speaker(words))) == [("a\n", "step"), ("b\n", "step"), ("c", "end")]
    steps, _ = await rest(Speaker(words))
    assert shown(steps) == [("a\n", "step"), ("b\n", "step"), ("c", "end")]
    assert tokens(steps) == [0, 1, 2, 3, 4, END_OF_TURN]
    steps, _ = await rest(Speaker(words), [Step("a\n", (0, 1), 0.0, Stop.STEP)])
    assert shown(steps) == [("b\n", "step"), ("c", "end")]


async def test_a_blank_line_is_not_a_step_and_sampling_continues() -> None:
    policy = Speaker(["\n", "\n", "a", "\n", "b"])
    one, _ = await step(policy)
    assert one.text == "\n\na\n"
    assert [call.after for call in policy.calls] == ["", "\n", "\n\n"]
    assert [call.max_tokens for call in policy.calls] == [99, 98, 97]
    assert len({call.seed for call in policy.calls}) == 3  # with equal seeds the samples would be equal


async def test_sampling_continues_after_a_false_stop_within_a_statement() -> None:
    policy = Speaker(["f(", "\n", "1", "\n", ")", "\n", "g"], segment="python")
    one, _ = await step(policy)
    assert (one.text, one.stop) == ("f(\n1\n)\n", Stop.STEP)
    assert len(policy.calls) == 3


async def test_a_false_stop_at_the_token_limit_is_a_cut() -> None:
    one, _ = await step(Speaker(["f(", "\n", "1"], segment="python"), max_tokens=2)
    assert (one.text, one.stop) == ("f(\n", Stop.LENGTH)


async def test_a_formula_of_several_lines_is_one_step() -> None:
    words = ["So", "\n", "\\[", "\n", "x", "\n", "\\]", "\n", "Done."]
    steps = await walk(Speaker(words))
    assert shown(steps) == [("So\n", "step"), ("\\[\nx\n\\]\n", "step"), ("Done.", "end")]
    assert shown((await rest(Speaker(words)))[0]) == shown(steps)


async def test_a_table_ends_where_its_last_row_is_known_to_be_the_last() -> None:
    rows = ["| a | b |", "\n", "| 1 | 2 |", "\n"]
    one, spent = await step(Speaker([*rows, "So", " 2", "\n"]))
    assert (one.text, one.token_ids) == ("".join(rows), (0, 1, 2, 3))
    assert spent.policy_tokens == 4 + 3  # the line after the table was sampled to find its end
    one, spent = await step(Speaker([*rows, "\n", "So"]))
    assert (one.token_ids, spent.policy_tokens) == ((0, 1, 2, 3, 4), 5)
    assert shown(await walk(Speaker(rows))) == [("".join(rows), "end")]


async def test_delimiters_after_the_last_step_belong_to_it() -> None:
    assert shown((await rest(Speaker(["x", "\n", "\\]", "\n"])))[0]) == [("x\n\\]\n", "end")]


@pytest.mark.parametrize("segment", SEGMENTERS)
def test_a_sample_is_split_in_one_pass(segment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the segmenter reads, in characters, is in proportion to the text."""
    segmenter = SEGMENTERS[segment]
    read = 0

    def ends(text: str, start: int) -> Iterator[int]:
        nonlocal read
        for end in segmenter.ends(text, start):
            read += end - start
            start = end
            yield end

    lines = ["Step ", "1: a", "\n"] * 400 + ["\n"] * 400 + ["$$", "\n", "x", "\n"] * 100
    speaker = Speaker([])
    speaker._segmenter = replace(segmenter, ends=ends)
    groups, blank = speaker._split([Piece(word, i, 0.0) for i, word in enumerate(lines)])
    assert sum(map(len, groups)) + len(blank) == len(lines)
    assert read <= 2 * sum(map(len, lines))


async def test_a_solution_that_ends_right_after_a_step_has_a_blank_last_step() -> None:
    steps = await walk(Speaker(["a", "\n"]))
    assert shown(steps) == [("a\n", "step"), ("", "end")]
    assert steps[-1].is_blank and steps[-1].token_ids == (END_OF_TURN,)
    assert shown((await rest(Speaker(["a", "\n"])))[0]) == [("a\n", "end")]


async def test_an_empty_solution() -> None:
    assert shown(await walk(Speaker([]))) == [("", "end")]
    assert shown((await rest(Speaker([])))[0]) == [("", "end")]


async def test_tokens_after_a_delimiter_are_charged_and_dropped() -> None:
    words = ["Step 1:", " a", "\n", "Step", " 2:", " b"]
    one, spent = await step(Speaker(words, segment="step_marker"))
    assert (one.text, one.token_ids) == ("Step 1: a\n", (0, 1, 2))
    assert spent.policy_tokens == 3 + 2  # "Step", " 2:"
    steps = await walk(Speaker(words, segment="step_marker"))
    assert shown(steps) == [("Step 1: a\n", "step"), ("Step 2: b", "end")]


@pytest.mark.parametrize(
    ("words", "want"),
    [
        (["a", " Q:", "b"], [("a", "end")]),  # in the middle of a line
        (["a", "\n", "Q:", "b"], [("a\n", "step"), ("", "end")]),
        (["a", "\n", "Q", ":", "b"], [("a\n", "step"), ("", "end")]),
        (["a", "\nQ", ":", "b"], [("a\nQ", "step"), ("", "end")]),  # a token is never split
        (["a", "\nQ:", "b"], [("a", "end")]),
        (["a", "b\nQ:", "c"], [("ab", "end")]),  # but ends with its text before the stop string
        (["a", "\n", "b Q", "\n", "Q:"], [("a\n", "step"), ("b Q\n", "step"), ("", "end")]),
        (["Q:", "b"], [("", "end")]),
    ],
)
@pytest.mark.parametrize("stop", ["Q:", "\nQ:"])
async def test_a_stop_string_of_the_prompt_ends_the_solution(
    words: list[str], want: list[tuple[str, str]], stop: str
) -> None:
    if stop == "\nQ:" and "\n" not in "".join(words):
        pytest.skip("the string is not in the text")
    if stop == "Q:" and (word := words[1]).endswith("Q:"):
        want = [("a" + word.removesuffix("Q:"), "end")]
    assert shown(await walk(Speaker(words, stop=(stop,)))) == want


async def test_part_of_a_stop_string_is_text() -> None:
    words = ["a", "\n", "Q", "uestion", "\n", ":"]
    assert text(await walk(Speaker(words, stop=("\nQ:",)))) == "a\nQuestion\n:"
    policy = Speaker(["a", "\n", "b", " :", "c", " :"], stop=("\n:",))
    assert text(await walk(policy)) == "a\nb :c :"  # ":" is a stop string only at the beginning of a line


@pytest.mark.parametrize(
    ("words", "stop", "want", "kept"),
    [
        (["The", " answer", " is 42;", " so"], ";", "The answer is 42", [0, 1, 2]),
        (["Sum is", " 4", "2###", "x"], "###", "Sum is 42", [0, 1, 2]),
        (["Sum is", " 42#", "##", "x"], "###", "Sum is 42", [0, 1]),
        (["a:\n ;"], ";", "a:\n ", [0]),  # a step ends inside the token, too
    ],
)
async def test_a_token_in_which_a_stop_string_begins_is_kept_up_to_there(
    words: list[str], stop: str, want: str, kept: list[int]
) -> None:
    steps, spent = await rest(Speaker(words, stop=(stop,)))
    for solution in (steps, await walk(Speaker(words, stop=(stop,)))):
        assert shown(solution) == [(want, "end")]
        assert tokens(solution) == kept
    assert spent.policy_tokens == next(n for n in range(9) if stop in "".join(words[:n]))


async def test_tokens_dropped_at_a_stop_string_are_charged() -> None:
    words = ["a", "\n", "Q", ":", "b"]
    steps, spent = await rest(Speaker(words, stop=("\nQ:",)))
    assert shown(steps) == [("a\n", "end")]
    assert (tokens(steps), spent.policy_tokens) == ([0, 1], 4)


@pytest.mark.parametrize("most", range(1, 9))
async def test_no_call_exceeds_its_token_limit(most: int) -> None:
    words = ["\n", "a", "\n", "Q", "x", "\n", "\n", "b"]
    for until in (step, rest):
        policy = Speaker(words, stop=("\nQ:",))
        got, spent = await until(policy, (), most)
        steps = got if isinstance(got, list) else [got]
        assert sum(s.n_tokens for s in steps) <= spent.policy_tokens <= most
        assert all(call.max_tokens <= most for call in policy.calls)
    steps, _ = await rest(Speaker(words), max_tokens=most)
    assert steps[-1].stop is Stop.LENGTH
    assert tokens(steps) == list(range(most))


async def test_a_prefix_longer_than_the_context_is_an_error_and_never_truncated() -> None:
    policy = Speaker(["a", "\n", "b", "\n", "c"], context=len(PROMPT_TOKENS) + 2)
    one, _ = await step(policy)
    with pytest.raises(ContextError, match="q: prompt and steps take 5 tokens, the policy's context holds 5"):
        await step(policy, [one])
    steps, _ = await rest(policy)
    assert (text(steps), steps[-1].stop) == ("a\n", Stop.LENGTH)  # cut at the context limit, and marked so


async def test_a_step_repeated_many_times_is_cut_and_charged() -> None:
    line = "The same step once more."
    words = ["b", "\n", *[line, "\n"] * 6]
    steps, spent = await rest(Speaker(words))
    assert shown(steps) == [("b\n", "step"), *[(f"{line}\n", "step")] * 3, (f"{line}\n", "repetition")]
    assert spent.policy_tokens == len(words) + 1  # with the two steps after the cut and the end of turn
    assert shown(await walk(Speaker(words))) == shown(steps)


async def test_short_steps_and_statements_may_be_repeated() -> None:
    rows = ["0 0 0", "\n"] * 6
    assert [stop for _, stop in shown((await rest(Speaker(rows)))[0])] == ["step"] * 5 + ["end"]
    code = ["    values.append(total + 1)", "\n"] * 6
    steps, _ = await rest(Speaker(code, segment="python"))
    assert [stop for _, stop in shown(steps)] == ["step"] * 5 + ["end"]


async def test_repeated_steps_are_kept_if_the_solution_ends_by_itself() -> None:
    words = ["a", "\n"] * 3 + ["a"]
    assert shown(await walk(Speaker(words)))[-1] == ("a", "end")


async def test_a_call_may_override_the_policys_temperature() -> None:
    policy = Speaker(["a", "\n"])
    await step(policy)
    await policy.propose(Q, [], until=Until.STEP, max_tokens=9, seed=1, temperature=0.0)
    assert [call.temperature for call in policy.calls] == [0.8, 0.0]


WORDS = st.lists(
    st.sampled_from(
        ["a", "b", "\n", "\n\n", " ", "a\n", "\nQ", "Q", ":", "Q:", "\nQ:", "a\nb\n", "Step", " 2", "\nStep ",
         "x = (", ")", "# c", "a\n\n", "\\[", "\\]", "$$", "| a | b |", "a:", "\r\n"]
    ),
    max_size=14,
)  # fmt: skip
STOP_STRINGS = st.lists(
    st.sampled_from(["\nQ:", "Q:", "\n\nQ:", "\nQ", ":", "\n\n\n", "\n a"]), max_size=2, unique=True
).map(tuple)


@pytest.mark.parametrize("segment", ["newline", "blank_line", "step_marker", "python"])
@given(words=WORDS, stop=STOP_STRINGS)
@example(words=["a", "\n", "Q:"], stop=("\nQ:",))
@example(words=["a", "\nQ", ":"], stop=("\nQ:",))
@example(words=["a", "\n\n", "Q:"], stop=("\n\nQ:",))
@example(words=["a\n", "a\n\n", "a", "\n", "a\n", "\n"], stop=())  # blank after the step that repeats
@settings(max_examples=250, deadline=None)
def test_stepping_gives_the_tokens_of_one_decode(
    segment: str, words: list[str], stop: tuple[str, ...]
) -> None:
    stepped = run(walk(Speaker(words, segment, stop)))
    whole, _ = run(rest(Speaker(words, segment, stop)))
    ids = [token for token in tokens(stepped) if token != END_OF_TURN]
    assert ids == [token for token in tokens(whole) if token != END_OF_TURN]
    assert text(stepped) == text(whole)
    assert stepped[-1].stop is whole[-1].stop


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits. An event loop per example would take most of the time."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    raise AssertionError("the coroutine waits")


class TestTheContract(PolicyContract):
    """A Speaker ignores the seed, so the test of different seeds does not apply."""

    problem, others = Q, ()

    @pytest.fixture
    def policy(self) -> Policy:
        return Speaker(["\n", "2", " + ", "12", "\n", "\n", "is", " 14", ".\n", "So", " 14", "\n"])

    async def test_different_seeds_differ(self, policy: Policy) -> None:
        pytest.skip("the text is fixed")
