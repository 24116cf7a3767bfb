"""What all policies share: prompts, token-exact prefixes, and splitting samples into steps.

A subclass only samples tokens (`_generate`). This module turns them into steps:

- A prefix is the prompt's tokens followed by the steps' own tokens, never re-tokenised text. So the
  prefix cache is hit, and stepping at temperature 0 gives the tokens of one greedy decode.
- A step ends after the token that completes its delimiter. Tokens past the end are charged and
  dropped: a stop string, or text by which the delimiter was recognised.
- A token in which a stop string begins is kept, with its text up to there: the solution ends with it.
- White space and delimiters of formulas alone are never a step: sampling continues until there is text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from search.errors import ContextError, PolicyError, UsageError
from search.lifecycle import ManagedModel
from search.limits import charge
from search.policies.turns import between_turns, plain_between, tokens_of
from search.prompts import Conversation, Prompt
from search.seeds import derive
from search.segment import Segmenter
from search.types import Observation, Problem, Step, Stop, Until, since_observation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class Sampling:
    """A policy's default sampling parameters. temperature 0 is greedy; top_p is in (0, 1]."""

    temperature: float = 0.8
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a policy continues. token_ids is empty if the policy works on text only."""

    token_ids: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A sampled token and its text, or a piece of text that stands for `n_tokens` unreported tokens."""

    text: str
    token_id: int | None
    logprob: float
    n_tokens: int = 1


@dataclass(frozen=True, slots=True)
class Completion:
    """What a policy sampled after a prefix.

    stop: STEP at a stop string, END at the model's end of turn, LENGTH at the token limit.
    dropped: tokens that were sampled beside the pieces, and charged; they count towards the token limit.
    """

    pieces: Sequence[Piece]
    stop: Stop
    dropped: int = 0


class SteppingPolicy(ManagedModel, ABC):
    """A `Policy` for models that sample tokens; subclasses say how.

    context: upper bound on prompt and sampled tokens together.
    """

    def __init__(self, prompt: Prompt, segmenter: Segmenter, sampling: Sampling, context: int):
        self._prompt, self._segmenter, self._sampling = prompt, segmenter, sampling
        self._context = context
        self._root = lru_cache(4096)(self._encode)
        self._conversation = lru_cache(256)(self._encode_conversation)  # fewer: their prompts may be long

    async def check(self, problem: Problem) -> None:
        """Check that the prompt can be made and leaves room for a sample. `propose` does so, too.

        Raises UsageError if the chat template cannot render the conversation, ContextError if it is too long.
        """
        await self._prepare(problem)
        self._check_room(problem, len(self._prompt_of(problem).token_ids))

    def _check_room(self, problem: Problem, taken: int) -> None:
        if taken >= self._context:
            raise ContextError(
                f"{problem.id}: prompt and steps take {taken} tokens, the policy's context holds "
                f"{self._context}; use a shorter prompt or a model with a longer context"
            )

    def _prompt_of(self, problem: Problem) -> Prefix:
        if isinstance(problem, Conversation):
            return self._conversation(problem)
        return self._root(problem.question)

    async def _prepare(self, problem: Problem) -> None:
        """Called at the start of every `propose`, in its task."""

    @abstractmethod
    def _encode(self, question: str) -> Prefix:
        """The filled prompt."""

    def _encode_conversation(self, asked: Conversation) -> Prefix:
        """The prompt of a conversation. Raises UsageError if it cannot be rendered."""
        raise UsageError("this policy takes questions only, no conversations")

    @abstractmethod
    async def _generate(
        self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, seed: int, temperature: float
    ) -> Completion:
        """Sample until the end of turn, one of the `stop` strings (included) or `max_tokens`."""

    async def propose(
        self,
        problem: Problem,
        steps: Sequence[Step],
        *,
        until: Until,
        max_tokens: int,
        seed: int,
        temperature: float | None = None,
    ) -> list[Step]:
        await self._prepare(problem)
        root = self._prompt_of(problem)
        ends = problem.prompt.stop if isinstance(problem, Conversation) else self._prompt.stop
        prefix = root.token_ids + _path_tokens(steps)
        sent = root.text + _path_text(steps)
        own = since_observation(steps)  # of the message that goes on, where earlier ones are turns
        before = "".join(step.text for step in own)
        self._check_room(problem, len(prefix))
        room = min(max_tokens, self._context - len(prefix))
        pauses = self._segmenter.stop if until is Until.STEP else ()
        pieces: list[Piece] = []
        stop = Stop.STEP
        while True:
            text, used = _text(pieces), sum(piece.n_tokens for piece in pieces)
            completion = await self._generate(
                Prefix(prefix + _token_ids(pieces), sent + text),
                stop=(*pauses, *_stops_after(ends, before + text)),
                max_tokens=room - used,
                seed=derive(seed, used) if used else seed,
                temperature=self._sampling.temperature if temperature is None else temperature,
            )
            if not completion.pieces and completion.stop is Stop.STEP:
                raise PolicyError(f"{problem.id}: the policy stopped for a step without sampling a token")
            charge(policy_tokens=sum(piece.n_tokens for piece in completion.pieces))
            room -= completion.dropped
            pieces += completion.pieces
            stop, text = completion.stop, _text(pieces)
            if (kept := self._before_stop(ends, before, pieces)) is not None:
                pieces, stop = kept, Stop.END
            elif stop is Stop.STEP and (until is Until.END or self._segmenter.first_step(text) is None):
                if sum(piece.n_tokens for piece in pieces) < room:
                    continue  # a false stop: no step is complete yet
                stop = Stop.LENGTH
            break
        text = _text(pieces)
        if until is Until.END:
            groups, blank = self._split(pieces)
            made = self._cut_repetition(own, _steps(groups, Stop.STEP if blank else stop))
            if made[-1].stop is Stop.REPETITION:  # sampled step by step, it would have ended there
                return made
            return _steps([*groups[:-1], [*groups[-1], *blank]], stop)
        first = self._segmenter.first_step(text)
        if first is not None and first < len(text):
            through = _through(pieces, first)
            if kept is None or through < len(pieces):  # nothing can follow a piece that is cut
                pieces, stop = pieces[:through], Stop.STEP
        return self._cut_repetition(own, _steps([pieces], stop))

    def answered(self, problem: Problem, turn: Step, observation: Observation) -> Step:
        """A whole message as a turn: with what stands between it and the next, as this policy reads it.

        The message's own tokens stay as they were sampled, but for the token that ended it.
        """
        prompt = problem.prompt if isinstance(problem, Conversation) else self._prompt
        between = self._between(prompt, turn.text, observation.text)
        ids = turn.token_ids
        if ids and ids[-1] in self._end_ids:
            ids = ids[:-1]
        observation = replace(observation, rendered=between.text, token_ids=between.token_ids)
        return replace(turn, token_ids=ids, stop=Stop.STEP, observation=observation)

    @property
    def _end_ids(self) -> Collection[int]:
        """The tokens that end a message."""
        return ()

    def _between(self, prompt: Prompt, turn: str, text: str) -> Prefix:
        """What stands between two messages of the policy, `turn` the first of them: `text` as it reads it.

        By default it is text alone, between line ends.
        """
        return Prefix((), plain_between(turn, text))

    def _cut_repetition(self, before: Sequence[Step], new: list[Step]) -> list[Step]:
        """Cut `new` after a complete step that was repeated too often in a row."""
        repetition = self._segmenter.repetition
        texts = [step.text for step in before[-repetition.times :]] if repetition.times else []
        for index, step in enumerate(new):
            texts.append(step.text)
            complete = step.stop is not Stop.END or self._segmenter.first_step(step.text) is not None
            if complete and repetition.is_reached(texts):
                return [*new[:index], replace(step, stop=Stop.REPETITION)]
        return new

    def _split(self, pieces: Sequence[Piece]) -> tuple[list[list[Piece]], list[Piece]]:
        """Group pieces into the steps that sampling step by step would give.

        Also returns the pieces without content after the last step, which belong to it if the solution
        ends there.
        """
        steps: list[list[Piece]] = []
        begin = 0
        for kept, _ in self._step_ends(pieces):
            steps.append(list(pieces[begin:kept]))
            begin = kept
        rest = list(pieces[begin:])
        if not steps or self._segmenter.has_content(_text(rest)):
            return [*steps, rest], []
        return steps, rest

    def _step_ends(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, int]]:
        """Where complete steps end: the number of pieces and the length of text before each end.

        A step ends with a piece; the next one begins after it. Takes time linear in the length of the text.
        """
        text = _text(pieces)
        kept, at = 0, 0
        while (end := self._segmenter.first_step(text, at)) is not None:
            while at < end:
                at += len(pieces[kept].text)
                kept += 1
            yield kept, at

    def _before_stop(self, stops: Sequence[str], before: str, pieces: list[Piece]) -> list[Piece] | None:
        """The pieces before the prompt's first stop string; None if there is no stop string.

        If it begins inside a piece, that is the last one, with its text up to there. A step that is complete
        before the stop string is complete is kept whole, even if its delimiter is the beginning of the stop
        string: sampling step by step would have paused there.
        """
        longest = max(map(len, stops), default=0)
        tail = before[max(0, len(before) - longest + 1) :]  # a stop string may have begun here
        text = tail + _text(pieces)
        matches = [(at, at + len(stop)) for stop in stops if (at := text.find(stop)) >= 0]
        if not matches:
            return None
        begin, over = (offset - len(tail) for offset in min(matches))
        kept = 0
        for through, length in self._step_ends(pieces):
            if length >= over:
                break
            kept = through
        whole, at = _before(pieces, begin)
        if kept > whole:
            return pieces[:kept]
        rest = [replace(pieces[whole], text=pieces[whole].text[: begin - at])] if at < begin else []
        return [*pieces[:whole], *rest]


def _stops_after(stops: Sequence[str], text: str) -> list[str]:
    """The prompt's stop strings, and the remainder of each that the end of `text` has begun."""
    return [stop[k:] for stop in stops for k in range(len(stop)) if text.endswith(stop[:k])]


def _path_tokens(steps: Sequence[Step]) -> tuple[int, ...]:
    """The tokens of a path: those of its steps, and of the observations between turns."""
    ids = list[int]()
    for step in steps:
        ids += step.token_ids
        if step.observation is not None:
            ids += step.observation.token_ids
    return tuple(ids)


def _path_text(steps: Sequence[Step]) -> str:
    return "".join(
        step.text if step.observation is None else step.text + step.observation.rendered for step in steps
    )


def _text(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _token_ids(pieces: Sequence[Piece]) -> tuple[int, ...]:
    return tuple(piece.token_id for piece in pieces if piece.token_id is not None)


def _before(pieces: Sequence[Piece], end: int) -> tuple[int, int]:
    """The number of pieces that lie wholly before offset `end`, and the length of their text."""
    kept, at = 0, 0
    while kept < len(pieces) and at + len(pieces[kept].text) <= end:
        at += len(pieces[kept].text)
        kept += 1
    return kept, at


def _through(pieces: Sequence[Piece], end: int) -> int:
    """The number of pieces that it takes to reach offset `end`."""
    kept, at = 0, 0
    while kept < len(pieces) and at < end:
        at += len(pieces[kept].text)
        kept += 1
    return kept


def _steps(groups: Sequence[Sequence[Piece]], stop: Stop) -> list[Step]:
    """Make one step of each group of pieces; `stop` is that of the last step."""
    steps = [
        Step(
            _text(own), _token_ids(own), sum(piece.logprob for piece in own), Stop.STEP,
            sum(piece.n_tokens for piece in own),
        )
        for own in groups
    ]
    return [*steps[:-1], replace(steps[-1], stop=stop)]


def encode_prompt(tokenizer: PreTrainedTokenizerFast, prompt: Prompt, question: str) -> Prefix:
    """Fill and tokenise a prompt, with the tokenizer's chat template if `prompt.chat`."""
    if prompt.chat:
        text = tokenizer.apply_chat_template(
            prompt.messages(question), add_generation_prompt=True, tokenize=False
        )
        assert isinstance(text, str)
        ids = tokenizer(text, add_special_tokens=False).input_ids  # the template has added them
    else:
        text = prompt.fill(question)
        ids = tokenizer(text).input_ids
        if ids and ids[-1] == tokenizer.eos_token_id:  # some tokenizers append it to every text
            ids = ids[:-1]
    return Prefix(tuple(ids), text)


def encode_conversation(tokenizer: PreTrainedTokenizerFast, asked: Conversation) -> Prefix:
    """Render and tokenise a conversation. Raises UsageError if the chat template refuses or drops a turn."""
    from jinja2 import TemplateError

    if not asked.prompt.chat:
        return encode_prompt(tokenizer, asked.prompt, asked.text)
    messages = asked.messages()
    marks = [f"turn {i:06}" for i in range(len(messages))]
    marked = [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)]
    try:
        text, probe = (
            tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            for turns in (messages, marked)
        )
    except TemplateError as error:
        raise UsageError(f"the policy's chat template refuses these messages: {error}") from error
    assert isinstance(text, str) and isinstance(probe, str)
    for message, mark in zip(messages, marks, strict=True):
        if mark not in probe:
            raise UsageError(
                f"the policy's chat template leaves out the {message['role']} message "
                f"{message['content'][:40]!r}: it does not take a conversation of these turns"
            )
    return Prefix(tuple(tokenizer(text, add_special_tokens=False).input_ids), text)


def encode_between(tokenizer: PreTrainedTokenizerFast, prompt: Prompt, turn: str, text: str) -> Prefix:
    """An observation between two turns, tokenised by itself. Raises UsageError if the template has none."""
    rendered = between_turns(tokenizer, prompt, turn, text)
    return Prefix(tokens_of(tokenizer, rendered), rendered)


def token_pieces(
    tokenizer: PreTrainedTokenizerFast,
    prefix: Sequence[int],
    token_ids: Sequence[int],
    logprobs: Sequence[float],
) -> list[Piece]:
    """Sampled tokens with their texts. A character that is split over tokens goes to the last of them."""
    from tokenizers.decoders import DecodeStream

    stream = DecodeStream(ids=list(prefix[-8:]), skip_special_tokens=True)
    return [
        Piece(stream.step(tokenizer.backend_tokenizer, token) or "", token, logprob)
        for token, logprob in zip(token_ids, logprobs, strict=True)
    ]
