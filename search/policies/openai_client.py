"""A policy behind any OpenAI-compatible `/v1/completions`: vLLM, SGLang, llama.cpp, TGI, hosted ones.

With a tokenizer here and a server that shows token ids (vLLM), prefixes travel as token ids.
Otherwise they travel as text, and the pieces are the tokens of `logprobs`, or, where those do not
add up to the text, parts of its lines worth their share of `usage.completion_tokens`.

"stop" ends a step or a solution, and OpenAI's interface does not say which of the two:
  1. Some servers do: `stop_reason` in vLLM, `matched_stop` in SGLang, "stop_sequence" in TGI.
  2. Or the stop string is still there, in the text or among the tokens.
  3. Or else the sample is charged, dropped, and drawn again, streamed and with no stop string sent:
     the text now shows the stop string, and the request is closed when it does; what ends by itself
     is the model's end of turn. From then on the policy's samples are drawn like this.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.errors import PolicyError, UsageError
from search.limits import charge
from search.policies.http import TURN, RefusedError, Servers, shown_tokens
from search.policies.stepping import (
    Completion,
    Piece,
    Prefix,
    Sampling,
    SteppingPolicy,
    encode_prompt,
    token_pieces,
)
from search.prompts import Prompt
from search.segment import SEGMENTERS, Segmenter
from search.types import Problem, Stop

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

log = logging.getLogger(__name__)


class ServerPolicy(SteppingPolicy):
    """Servers of one model, dealt to the problems in turn, so that steps find their prefix cached.

    urls: base URLs such as "http://localhost:8000/v1"; "/v1" is added to one that has no path.
    model: its name on the servers; "" asks them, who must then serve just one.
    tokenizer: path or hub id of the model's tokenizer; "" sends text. Chat prompts need it.
    seeded: send a seed with each sample.
    context: bound on prompt and sampled tokens together, beside what the server says of its own.
    api_key: "" takes the environment's OPENAI_API_KEY, if there is one.
    concurrency: requests in flight. timeout_s: for one request, from connecting to the last byte.
    retries: how often a request is made again after failures that may pass.

    Cached prompt tokens are counted where `usage` shows them (vLLM: --enable-prompt-tokens-details).
    vLLM on a CPU serves seeded samples only with --no-enable-chunked-prefill.
    A streamed sample's prompt tokens are known, and counted, only if it ended by itself.
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
        self._turns: dict[str, int] = {}
        self._refused: set[str] = set()
        self._connected = self._speaks_tokens = self._streams = False

    async def connect(self) -> None:
        """Find out what the servers serve. `propose` does so by itself; call it to fail early."""
        async with self._servers.session().connecting:
            if not self._connected:
                await self._find_model()
                self._speaks_tokens = await self._shows_token_ids()
                self._connected = True

    async def close(self) -> None:
        """Close the connections of the running event loop. The policy can still be used."""
        await self._servers.close()

    async def _prepare(self, problem: Problem) -> None:
        await self.connect()
        TURN.set(self._turns.setdefault(problem.id, len(self._turns)))

    def _encode(self, question: str) -> Prefix:
        if self._tokenizer is None:
            return Prefix((), self._prompt.fill(question))
        prefix = encode_prompt(self._tokenizer, self._prompt, question)
        if self._speaks_tokens:
            return prefix
        bos = self._tokenizer.bos_token_id
        if bos is not None and self._tokenizer("").input_ids[:1] == [bos]:  # the server adds its own
            return Prefix((), prefix.text.removeprefix(self._tokenizer.bos_token))
        return Prefix((), prefix.text)

    async def _generate(
        self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, seed: int, temperature: float
    ) -> Completion:
        sampling = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": self._sampling.top_p if temperature else 1.0,
            **({"seed": seed} if self._seeded and temperature else {}),
        }
        if self._speaks_tokens and self._tokenizer is not None:
            reply = await self._complete(list(prefix.token_ids), sampling, stop, salt=seed)
            if reply.text and not reply.token_ids:
                raise PolicyError("a server shows no token ids, another did; serve all by the same engine")
            logprobs = reply.logprobs or [0.0] * len(reply.token_ids)
            pieces = token_pieces(self._tokenizer, prefix.token_ids, reply.token_ids, logprobs)
            return Completion(pieces, reply.stopped(stop) or Stop.END)
        streamed = self._streams
        reply = await self._complete(prefix.text, sampling, stop, salt=seed, streamed=streamed)
        may_go_on = any(pause in stop for pause in self._segmenter.stop)
        if may_go_on and not streamed and reply.stopped(stop) is None:
            if not self._streams:
                log.warning("the server does not say why samples stop: they are streamed from now on")
            self._streams = True
            charge(policy_tokens=reply.n_tokens)
            reply = await self._complete(prefix.text, sampling, stop, salt=seed, streamed=True)
        stopped = reply.stopped(stop) or Stop.END
        return Completion(reply.pieces(stop, stopped), stopped)

    async def _complete(
        self,
        prompt: str | list[int],
        sampling: Mapping[str, Any],
        stop: Sequence[str],
        *,
        salt: int = 0,
        streamed: bool = False,
    ) -> _Reply:
        """One sample. Fields that OpenAI's interface lacks are left out if a server refuses them."""
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
                data = await self._servers.ask("completions", body | fields, salt=salt, until=stop)
                break
            except RefusedError as refusal:
                refused = {name for name in fields if name in str(refusal)}
                if not refused:
                    raise
                self._refused |= refused
        reply = _read(data)
        n_prompt = reply.prompt_tokens or (len(prompt) if isinstance(prompt, list) else 0)
        charge(prompt_tokens=n_prompt - reply.cached_tokens, prompt_tokens_cached=reply.cached_tokens)
        return reply

    async def _find_model(self) -> None:
        try:
            listing = await self._servers.ask("models", retries=1)  # a wrong URL should not take long to tell
            served = {card["id"]: card.get("max_model_len") for card in listing["data"]}
        except RefusedError as refusal:
            if not self._model or refusal.status in (401, 403):
                raise
            return
        except (KeyError, TypeError, AttributeError) as error:
            raise PolicyError(f"the server's list of models is none: {str(listing)[:200]}") from error
        if not self._model and len(served) != 1:
            raise UsageError(f"the server has {len(served)} models, name one: {', '.join(served)}")
        self._model = self._model or next(iter(served))
        self._context = min(self._context, served.get(self._model) or self._context)

    async def _shows_token_ids(self) -> bool:
        if self._tokenizer is None:
            return False
        try:
            prompt = self._tokenizer("1 2 3").input_ids
            reply = await self._complete(prompt, {"max_tokens": 1, "temperature": 0.0}, ())
            charge(policy_tokens=reply.n_tokens)
            if reply.token_ids:
                return True
        except RefusedError:
            pass
        log.warning("the server does not speak in token ids: prefixes are sent as text")
        return False


@dataclass(frozen=True, slots=True)
class _Reply:
    """A completion. says_why: the server tells a stop string, `matched`, from the end of turn."""

    text: str
    finish: str
    says_why: bool
    matched: str
    tokens: Sequence[str]
    logprobs: Sequence[float]
    token_ids: Sequence[int]
    n_tokens: int
    prompt_tokens: int
    cached_tokens: int

    @property
    def _shown(self) -> str:
        """The text of the tokens, if the server's is its beginning: that may lack the stop string."""
        shown = "".join(self.tokens)
        return shown if shown.startswith(self.text) else ""

    def stopped(self, stop: Sequence[str]) -> Stop | None:
        """Why it ended, None if that cannot be known."""
        if self.matched or any(end in (self._shown or self.text) for end in stop):
            return Stop.STEP
        if self.finish == "length":
            return Stop.LENGTH
        return Stop.END if self.says_why or not stop else None

    def pieces(self, stop: Sequence[str], stopped: Stop) -> list[Piece]:
        """The tokens with their texts if they add up to the text, else parts of its lines."""
        cut_off = self.matched and not any(end in self.text for end in stop)
        text = self.text + self.matched if cut_off else self.text
        pieces, at = [], 0
        if self.tokens and self._shown.startswith(text):
            end = len(self._shown) if stopped is Stop.STEP else len(text)  # </s> may be shown as text
            for token, logprob in zip(self.tokens, self.logprobs, strict=True):
                pieces.append(Piece(token[: max(0, end - at)], None, logprob))
                at += len(token)
            return pieces
        if not text:
            return [Piece("", None, sum(self.logprobs), self.n_tokens)]
        ends = {"\n", *(end.strip("\n") for end in stop)} - {""}  # stepping may cut at any of them
        for part in re.split(f"({'|'.join(map(re.escape, sorted(ends)))})", text):
            share = self.n_tokens * (at + len(part)) // len(text) - self.n_tokens * at // len(text)
            pieces.append(Piece(part, None, sum(self.logprobs) * len(part) / len(text), share))
            at += len(part)
        return pieces


def _read(data: Any) -> _Reply:
    try:
        choice, usage = data["choices"][0], data.get("usage") or {}
        tokens, logprobs = shown_tokens(choice)
        token_ids = choice.get("token_ids") or ()
        why = choice.get("stop_reason", choice.get("matched_stop"))
        reply = _Reply(
            text=choice["text"],
            finish=choice["finish_reason"],
            says_why=not {"stop_reason", "matched_stop"}.isdisjoint(choice),
            matched=why if isinstance(why, str) else "",
            tokens=tokens,
            logprobs=logprobs,
            token_ids=token_ids,
            n_tokens=usage.get("completion_tokens") or len(token_ids) or len(tokens),
            prompt_tokens=usage.get("prompt_tokens") or 0,
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise PolicyError(f"the server's answer is no completion: {str(data)[:300]}") from error
    if reply.finish not in ("stop", "stop_sequence", "length"):
        raise PolicyError(f"the server ended a sample with {reply.finish!r}")
    if reply.text and not reply.n_tokens:
        raise PolicyError("the server shows neither `usage` nor `logprobs`: what it costs cannot be counted")
    return reply


def _load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot load the tokenizer {name}: {error}") from error
    return tokenizer
