"""A policy behind any OpenAI-compatible `/v1/completions`: vLLM, SGLang, llama.cpp, TGI, hosted ones.

Prefixes are sent as token ids if the tokenizer is given and the server returns token ids (vLLM).
Otherwise they are sent as text. The pieces of a sample are then the tokens in `logprobs`; if those
do not add up to the text, they are parts of its lines, each with a proportional share of
`usage.completion_tokens`.

A prompt that is sent as text is counted where it may not leave room for `max_tokens`: with the tokenizer if
there is one, else by drawing one token after it and reading `usage.prompt_tokens`.

OpenAI's finish reason "stop" does not distinguish a stop string, which ends a step, from the model's
end of turn. Three ways to tell them apart are tried in order:
  1. The server's own field: `stop_reason` in vLLM, `matched_stop` in SGLang, "stop_sequence" in TGI.
  2. The stop string itself, if the reply contains it in the text or among the tokens.
  3. Drawing the sample again as a stream, without stop strings. The request is closed once a stop
     string appears in the text; a stream that ends by itself is the model's end of turn. The first
     sample is charged and dropped, the second gets the tokens that it left, and all later ones are
     streamed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from search.errors import ContextError, PolicyError, UsageError
from search.limits import charge, metered
from search.policies.http import HOMES, TURN, RefusedError, Servers, reported_tokens
from search.policies.prompt_lengths import PromptLengths
from search.policies.stepping import (
    Completion,
    Piece,
    Prefix,
    Sampling,
    SteppingPolicy,
    encode_between,
    encode_conversation,
    encode_prompt,
    token_pieces,
)
from search.policies.turns import end_ids
from search.prompts import Conversation, Prompt
from search.segment import SEGMENTERS, Segmenter
from search.types import Problem, Stop

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

log = logging.getLogger(__name__)


class OpenAIPolicy(SteppingPolicy):
    """One model on one or more servers. Each problem stays on one server, where its prefixes are cached.

    urls: base URLs such as "http://localhost:8000/v1"; "/v1" is added to a URL without a path.
    model: its name on the servers; "" uses the one model that they serve.
    tokenizer: path or hub id of the model's tokenizer; "" sends text. Chat prompts need it.
    seeded: send a seed with each sample.
    context: upper bound on prompt and sampled tokens together; a lower limit reported by the server wins.
    api_key: "" uses OPENAI_API_KEY from the environment, if set.
    concurrency: upper bound on the requests in flight.
    timeout_s: for one request, from connecting to the last byte.
    retries: how often a request is repeated after failures that may pass.

    Cached prompt tokens are counted if `usage` reports them (vLLM: --enable-prompt-tokens-details).
    vLLM on a CPU serves seeded samples only with --no-enable-chunked-prefill.
    The prompt tokens of a streamed sample are counted only if the stream ended by itself. A call that is
    cancelled is charged all tokens that it might have sampled: servers do not say how many they were.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        model: str = "",
        tokenizer: str = "",
        prompt: Prompt = Prompt(),
        segmenter: Segmenter = SEGMENTERS["newline"],
        sampling: Sampling = Sampling(),
        seeded: bool = True,
        context: int = 1 << 20,
        api_key: str = "",
        concurrency: int = 64,
        timeout_s: float = 600.0,
        connect_s: float = 10.0,
        retries: int = 5,
    ):
        super().__init__(prompt, segmenter, sampling, context)
        if prompt.chat and not tokenizer:
            raise UsageError("a chat prompt needs the model's template: pass tokenizer, a path or hub id")
        self._servers = Servers(urls, api_key, concurrency, timeout_s, connect_s, retries)
        self._tokenizer = _load_tokenizer(tokenizer) if tokenizer else None
        self._model, self._seeded = model, seeded
        self._turns: dict[tuple[str, str], int] = {}
        self._next_turn = count()
        self._counted = PromptLengths()
        self._refused: set[str] = set()
        self._opened = self._sends_token_ids = self._streams = False

    async def open(self) -> None:
        """Look up the model and its context, and try whether token ids work. `propose` does so on first use.

        Raises UsageError if the model is ambiguous, PolicyError if the servers do not reply.
        """
        async with self._servers.session().opening:
            if not self._opened:
                await self._find_model()
                self._sends_token_ids = await self._accepts_token_ids()
                self._opened = True

    async def close(self) -> None:
        """Close the connections of the running event loop. They are opened again when needed."""
        await self._servers.close()

    async def _prepare(self, problem: Problem) -> None:
        await self.open()
        TURN.set(self._turn(problem))

    def _turn(self, problem: Problem) -> int:
        """The index, modulo the number of servers, of the one that keeps this problem's prefixes."""
        asked = problem.id, problem.question  # all problems of `search.serve` have the same id
        if asked not in self._turns:
            if len(self._turns) >= HOMES:
                del self._turns[next(iter(self._turns))]
            self._turns[asked] = next(self._next_turn)
        return self._turns[asked]

    def _encode(self, question: str) -> Prefix:
        if self._tokenizer is None:
            return Prefix((), self._prompt.fill(question))
        return self._as_sent(self._tokenizer, encode_prompt(self._tokenizer, self._prompt, question))

    def _encode_conversation(self, asked: Conversation) -> Prefix:
        if self._tokenizer is not None:
            return self._as_sent(self._tokenizer, encode_conversation(self._tokenizer, asked))
        if asked.prompt.chat:
            raise UsageError("a conversation needs the chat template of the policy: give its --tokenizer")
        return Prefix((), asked.prompt.fill(asked.text))

    def _between(self, prompt: Prompt, turn: str, text: str) -> Prefix:
        if self._tokenizer is None:
            return super()._between(prompt, turn, text)
        between = encode_between(self._tokenizer, prompt, turn, text)
        return between if self._sends_token_ids else Prefix((), between.text)

    @property
    def _end_ids(self) -> Collection[int]:
        return () if self._tokenizer is None else end_ids(self._tokenizer)

    def _as_sent(self, tokenizer: PreTrainedTokenizerFast, prefix: Prefix) -> Prefix:
        """As token ids, or as text to which the server adds the token of its beginning."""
        if self._sends_token_ids:
            return prefix
        bos = tokenizer.bos_token_id
        if bos is not None and tokenizer("").input_ids[:1] == [bos]:  # the server adds it too
            return Prefix((), prefix.text.removeprefix(tokenizer.bos_token))
        return Prefix((), prefix.text)

    async def _generate(
        self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, seed: int, temperature: float
    ) -> Completion:
        sampling: dict[str, Any] = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": self._sampling.top_p if temperature else 1.0,
            **({"seed": seed} if self._seeded and temperature else {}),
        }
        if self._sends_token_ids and self._tokenizer is not None:
            reply = await self._complete(list(prefix.token_ids), sampling, stop, salt=seed)
            if reply.text and not reply.token_ids:
                raise PolicyError("not all servers return token ids; run the same engine on all of them")
            logprobs = reply.logprobs or [0.0] * len(reply.token_ids)
            pieces = token_pieces(self._tokenizer, prefix.token_ids, reply.token_ids, logprobs)
            return Completion(pieces, reply.stopped(stop) or Stop.END)
        room, dropped = await self._room(prefix.text, max_tokens)
        sampling["max_tokens"] = room
        streamed = self._streams
        reply = await self._complete(prefix.text, sampling, stop, salt=seed, streamed=streamed)
        stopped = reply.stopped(stop)
        may_be_a_step = any(pause in stop for pause in self._segmenter.stop)
        if may_be_a_step and not streamed and stopped is None:
            if not self._streams:
                log.warning("the server does not report why samples stop: they are streamed from now on")
            self._streams = True
            if (left := max_tokens - dropped - reply.n_tokens) > 0:
                charge(policy_tokens=reply.n_tokens)
                dropped += reply.n_tokens
                sampling["max_tokens"] = min(room, left)
                reply = await self._complete(prefix.text, sampling, stop, salt=seed, streamed=True)
                stopped = reply.stopped(stop)
            else:
                stopped = Stop.LENGTH  # no token is left to find out with
        stopped = stopped or Stop.END
        pieces = reply.pieces(stop, stopped)
        if reply.prompt_tokens:  # the next prompt is this one with what was sampled
            sampled = "".join(piece.text for piece in pieces)
            self._counted.note(prefix.text + sampled, reply.prompt_tokens + reply.n_tokens)
        return Completion(pieces, stopped, dropped=dropped)

    async def _room(self, text: str, max_tokens: int) -> tuple[int, int]:
        """How many of `max_tokens` fit after a prompt that is sent as text, and how many were drawn for it.

        Raises ContextError if none fits.
        """
        if self._counted.fits(text, self._context - max_tokens):
            return max_tokens, 0
        drawn = 0
        if self._tokenizer is not None:
            length: int | None = len(self._tokenizer(text).input_ids)
        elif max_tokens == 1:
            return 1, 0
        else:
            with metered() as counting:  # a token is drawn for it, of those that may be
                length = await self._counted.count(text, self._count)
            charge(**asdict(counting))
            drawn = counting.policy_tokens
        if length is None:  # the server does not report it
            return max_tokens - drawn, drawn
        if length >= self._context:
            raise ContextError(
                f"prompt and steps take {length} tokens, the server's context holds {self._context}; use a "
                "shorter prompt or a model with a longer context"
            )
        return min(max_tokens - drawn, self._context - length), drawn

    async def _count(self, text: str) -> int:
        """The tokens of a prompt, as the server counts them; 0 if it does not report them."""
        reply = await self._complete(text, {"max_tokens": 1, "temperature": 0.0}, ())
        charge(policy_tokens=reply.n_tokens)
        return reply.prompt_tokens

    async def _complete(
        self,
        prompt: str | list[int],
        sampling: Mapping[str, Any],
        stop: Sequence[str],
        *,
        salt: int = 0,
        streamed: bool = False,
    ) -> _Reply:
        """Draw one sample. Fields that OpenAI's interface lacks are left out once a server rejects them."""
        extras: dict[str, Any] = {"logprobs": 1}
        if isinstance(prompt, list):
            extras["return_token_ids"] = True
        if streamed:
            extras["stream_options"] = {"include_usage": True}
        elif stop:
            extras["include_stop_str_in_output"] = True
        body = {"model": self._model, "prompt": prompt, **sampling}
        body |= {"stream": True} if streamed else {"stop": list(stop)} if stop else {}
        while True:
            fields = {name: value for name, value in extras.items() if name not in self._refused}
            try:
                data = await self._servers.request("completions", body | fields, salt=salt, until=stop)
                break
            except asyncio.CancelledError:
                charge(policy_tokens=sampling["max_tokens"])  # at most
                raise
            except RefusedError as refusal:
                refused = {name for name in fields if name in str(refusal)}
                if not refused:
                    raise
                self._refused |= refused
        reply = _read(data)
        if isinstance(prompt, str):
            self._counted.note(prompt, reply.prompt_tokens)
        n_prompt = reply.prompt_tokens or (len(prompt) if isinstance(prompt, list) else 0)
        charge(prompt_tokens=n_prompt - reply.cached_tokens, prompt_tokens_cached=reply.cached_tokens)
        return reply

    async def _find_model(self) -> None:
        try:
            listing = await self._servers.request("models", retries=1)  # so that a wrong URL is reported soon
            served = {card["id"]: card.get("max_model_len") for card in listing["data"]}
        except RefusedError as refusal:
            if not self._model or refusal.status in (401, 403):
                raise
            return
        except (KeyError, TypeError, AttributeError) as error:
            raise PolicyError(f"the server's list of models is malformed: {str(listing)[:200]}") from error
        if not self._model and len(served) != 1:
            raise UsageError(f"the server has {len(served)} models; name one: {', '.join(served)}")
        self._model = self._model or next(iter(served))
        self._context = min(self._context, served.get(self._model) or self._context)

    async def _accepts_token_ids(self) -> bool:
        """True if the servers take token ids as a prompt and return those that they sample."""
        if self._tokenizer is None:
            return False
        try:
            prompt = self._tokenizer("1 2 3").input_ids
            if (await self._complete(prompt, {"max_tokens": 1, "temperature": 0.0}, ())).token_ids:
                return True
        except RefusedError:
            pass
        log.warning("the server does not return token ids: prefixes are sent as text")
        return False


@dataclass(frozen=True, slots=True)
class _Reply:
    """A completion. reports_stop: the server reports if a stop string ended it, and in `matched` which."""

    text: str
    finish: str
    reports_stop: bool
    matched: str
    tokens: Sequence[str]
    logprobs: Sequence[float]
    token_ids: Sequence[int]
    n_tokens: int
    prompt_tokens: int
    cached_tokens: int

    @property
    def _token_text(self) -> str:
        """The text of the tokens, which may include a stop string that `text` lacks; "" if they differ."""
        joined = "".join(self.tokens)
        return joined if joined.startswith(self.text) else ""

    def stopped(self, stop: Sequence[str]) -> Stop | None:
        """Why the sample ended; None if that is unknown."""
        if self.matched or any(end in (self._token_text or self.text) for end in stop):
            return Stop.STEP
        if self.finish == "length":
            return Stop.LENGTH
        return Stop.END if self.reports_stop or not stop else None

    def pieces(self, stop: Sequence[str], stopped: Stop) -> list[Piece]:
        """The tokens with their texts if they add up to the text, else parts of its lines."""
        cut_off = self.matched and not any(end in self.text for end in stop)
        text = self.text + self.matched if cut_off else self.text
        pieces, at = [], 0
        if self.tokens and self._token_text.startswith(text):
            # After the end of turn, the tokens may include </s> as text.
            end = len(self._token_text) if stopped is Stop.STEP else len(text)
            for token, logprob in zip(self.tokens, self.logprobs, strict=True):
                pieces.append(Piece(token[: max(0, end - at)], None, logprob))
                at += len(token)
            return pieces
        if not text:
            return [Piece("", None, sum(self.logprobs), self.n_tokens)]
        ends = {"\n", *(end.strip("\n") for end in stop)} - {""}  # a step may end at any of them
        for part in re.split(f"({'|'.join(map(re.escape, sorted(ends)))})", text):
            share = self.n_tokens * (at + len(part)) // len(text) - self.n_tokens * at // len(text)
            pieces.append(Piece(part, None, sum(self.logprobs) * len(part) / len(text), share))
            at += len(part)
        return pieces


def _read(data: Any) -> _Reply:
    try:
        choice, usage = data["choices"][0], data.get("usage") or {}
        tokens, logprobs = reported_tokens(choice)
        token_ids = choice.get("token_ids") or ()
        reason = choice.get("stop_reason", choice.get("matched_stop"))
        reply = _Reply(
            text=choice["text"],
            finish=choice["finish_reason"],
            reports_stop=not {"stop_reason", "matched_stop"}.isdisjoint(choice),
            matched=reason if isinstance(reason, str) else "",
            tokens=tokens,
            logprobs=logprobs,
            token_ids=token_ids,
            n_tokens=usage.get("completion_tokens") or len(token_ids) or len(tokens),
            prompt_tokens=usage.get("prompt_tokens") or 0,
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise PolicyError(f"the server's reply is not a completion: {str(data)[:300]}") from error
    if reply.finish not in ("stop", "stop_sequence", "length"):
        raise PolicyError(f"the server ended a sample with finish_reason {reply.finish!r}")
    if reply.text and not reply.n_tokens:
        raise PolicyError("the server reports neither `usage` nor `logprobs`: tokens cannot be counted")
    return reply


def _load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot load the tokenizer {name}: {error}") from error
    return tokenizer
