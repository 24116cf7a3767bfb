"""From sampled tokens to steps, over a model that says a fixed text."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
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
    """One request to the model: what it continued, and how."""

    after: str
    stop: Sequence[str]
    max_tokens: int
    seed: int
    temperature: float


@dataclass
class Speaker(SteppingPolicy):
    """Says `words`, one token each, and ends its turn; what comes next is read off the prefix.

    Stops as an inference engine does: after the token that completes a stop string in what this
    request has said, that string included.
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
        assert prefix.token_ids == PROMPT_TOKENS + tuple(range(at)), "the prefix is not what was said"
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
    assert spent.policy_tokens == 3  # nothing was thrown away


async def test_steps_and_the_rest() -> None:
    words = ["a", "\n", "b", "\n", "c"]
    assert shown(await walk(Speaker(words))) == [("a\n", "step"), ("b\n", "step"), ("c", "end")]
    steps, _ = await rest(Speaker(words))
    assert shown(steps) == [("a\n", "step"), ("b\n", "step"), ("c", "end")]
    assert tokens(steps) == [0, 1, 2, 3, 4, END_OF_TURN]
    steps, _ = await rest(Speaker(words), [Step("a\n", (0, 1), 0.0, Stop.STEP)])
    assert shown(steps) == [("b\n", "step"), ("c", "end")]


async def test_a_line_that_is_blank_is_no_step_so_sampling_goes_on() -> None:
    policy = Speaker(["\n", "\n", "a", "\n", "b"])
    one, _ = await step(policy)
    assert one.text == "\n\na\n"
    assert [call.after for call in policy.calls] == ["", "\n", "\n\n"]
    assert [call.max_tokens for call in policy.calls] == [99, 98, 97]
    assert len({call.seed for call in policy.calls}) == 3  # the same seed would say the same again


async def test_a_false_stop_in_the_middle_of_a_statement_goes_on() -> None:
    policy = Speaker(["f(", "\n", "1", "\n", ")", "\n", "g"], segment="python")
    one, _ = await step(policy)
    assert (one.text, one.stop) == ("f(\n1\n)\n", Stop.STEP)
    assert len(policy.calls) == 3


async def test_a_false_stop_at_the_last_token_is_a_cut() -> None:
    one, _ = await step(Speaker(["f(", "\n", "1"], segment="python"), max_tokens=2)
    assert (one.text, one.stop) == ("f(\n", Stop.LENGTH)


async def test_a_solution_that_ends_right_after_a_step_ends_blank() -> None:
    steps = await walk(Speaker(["a", "\n"]))
    assert shown(steps) == [("a\n", "step"), ("", "end")]
    assert steps[-1].is_blank and steps[-1].token_ids == (END_OF_TURN,)
    assert shown((await rest(Speaker(["a", "\n"])))[0]) == [("a\n", "end")]


async def test_a_model_that_says_nothing() -> None:
    assert shown(await walk(Speaker([]))) == [("", "end")]
    assert shown((await rest(Speaker([])))[0]) == [("", "end")]


async def test_a_delimiter_known_by_what_follows_it_drops_and_charges_the_tokens_after() -> None:
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
    if stop == "Q:" and words[1] == " Q:":
        want = [("a", "end")]
    if stop == "Q:" and words[1] == "\nQ:":
        want = [("a", "end")]
    assert shown(await walk(Speaker(words, stop=(stop,)))) == want


async def test_half_a_stop_string_is_text() -> None:
    words = ["a", "\n", "Q", "uestion", "\n", ":"]
    assert text(await walk(Speaker(words, stop=("\nQ:",)))) == "a\nQuestion\n:"
    policy = Speaker(["a", "\n", "b", " :", "c", " :"], stop=("\n:",))
    assert text(await walk(policy)) == "a\nb :c :"  # ":" stops only where a line has just ended


async def test_what_a_stop_string_throws_away_is_charged() -> None:
    words = ["a", "\n", "Q", ":", "b"]
    steps, spent = await rest(Speaker(words, stop=("\nQ:",)))
    assert shown(steps) == [("a\n", "end")]
    assert (tokens(steps), spent.policy_tokens) == ([0, 1], 4)


@pytest.mark.parametrize("most", range(1, 9))
async def test_no_call_takes_more_than_its_tokens(most: int) -> None:
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


async def test_a_prefix_beyond_the_context_is_an_error_and_never_cut() -> None:
    policy = Speaker(["a", "\n", "b", "\n", "c"], context=len(PROMPT_TOKENS) + 2)
    one, _ = await step(policy)
    with pytest.raises(ContextError, match="q: prompt and steps take 5 tokens, the policy's context holds 5"):
        await step(policy, [one])
    steps, _ = await rest(policy)
    assert (text(steps), steps[-1].stop) == ("a\n", Stop.LENGTH)  # cut at the context, and saying so


async def test_the_same_step_over_and_over_is_cut_and_charged() -> None:
    words = ["b", "\n", *["a", "\n"] * 6]
    steps, spent = await rest(Speaker(words))
    assert shown(steps) == [("b\n", "step"), *[("a\n", "step")] * 3, ("a\n", "repetition")]
    assert spent.policy_tokens == len(words) + 1  # the two steps after it, and the end of turn, too
    assert shown(await walk(Speaker(words))) == shown(steps)


async def test_a_repetition_that_ends_is_no_endless_one() -> None:
    words = ["a", "\n"] * 3 + ["a"]
    assert shown(await walk(Speaker(words)))[-1] == ("a", "end")


async def test_the_temperature_is_the_policys_own_unless_asked() -> None:
    policy = Speaker(["a", "\n"])
    await step(policy)
    await policy.propose(Q, [], until=Until.STEP, max_tokens=9, seed=1, temperature=0.0)
    assert [call.temperature for call in policy.calls] == [0.8, 0.0]


WORDS = st.lists(
    st.sampled_from(
        ["a", "b", "\n", "\n\n", " ", "a\n", "\nQ", "Q", ":", "Q:", "\nQ:", "a\nb\n", "Step", " 2", "\nStep ",
         "x = (", ")", "# c", "a\n\n"]
    ),
    max_size=14,
)  # fmt: skip
STOP_STRINGS = st.lists(
    st.sampled_from(["\nQ:", "Q:", "\n\nQ:", "\nQ", ":", "\n\n\n", "\n a"]), max_size=2, unique=True
).map(tuple)


@pytest.mark.parametrize("segment", ["newline", "blank_line", "python"])
@given(words=WORDS, stop=STOP_STRINGS)
@example(words=["a", "\n", "Q:"], stop=("\nQ:",))
@example(words=["a", "\nQ", ":"], stop=("\nQ:",))
@example(words=["a", "\n\n", "Q:"], stop=("\n\nQ:",))
@example(words=["a\n", "a\n\n", "a", "\n", "a\n", "\n"], stop=())  # blank after the step that repeats
@settings(max_examples=250, deadline=None)
def test_stepping_gives_the_tokens_of_one_uninterrupted_decode(
    segment: str, words: list[str], stop: tuple[str, ...]
) -> None:
    stepped = run(walk(Speaker(words, segment, stop)))
    whole, _ = run(rest(Speaker(words, segment, stop)))
    ids = [token for token in tokens(stepped) if token != END_OF_TURN]
    assert ids == [token for token in tokens(whole) if token != END_OF_TURN]
    assert text(stepped) == text(whole)
    assert stepped[-1].stop is whole[-1].stop


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine that never waits; an event loop for each example would take most of the time."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    raise AssertionError("it waits")


class TestTheContract(PolicyContract):
    """Speakers are greedy: the seed does not matter, so that test is not theirs."""

    problem, others = Q, ()

    @pytest.fixture
    def policy(self) -> Policy:
        return Speaker(["\n", "2", " + ", "12", "\n", "\n", "is", " 14", ".\n", "So", " 14", "\n"])

    async def test_different_seeds_differ(self, policy: Policy) -> None:
        pytest.skip("a fixed text")
