"""Reward models on servers as step scorers: on `python -m prm.serve`, and on vLLM's own server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from prm.reading.encoder import Encoder
from prm.reading.zoo import find
from prm.scoring.http_scorer import HTTPScorer
from prm.scoring.scorers import ManagedScorer, check_length
from prm.scoring.served import ServedPRM
from search.errors import ScorerError, SearchError, UsageError
from search.limits import charge
from search.policies.http import RefusedError
from search.types import Problem, Step, StepScore, texts_read

PROBE = ("What is 1 + 1?", ("1 + 1 = 2.", "So 2.", "It is 2.", "That is 2.", "The answer is 2."))
"""More steps than any chat template has turns, so that steps are not mistaken for turns."""


def load_remote_scorer(served: ServedPRM, **options: Any) -> ManagedScorer:
    """A client of the servers. Use it in `async with`. options: of `HTTPScorer`."""
    client = PRMServerScorer if served.kind == "prm.serve" else VLLMServerScorer
    return client(served, **options)


class PRMServerScorer(HTTPScorer):
    """A client of `python -m prm.serve`, which keeps prefixes and batches the calls of all its clients.

    The server refuses to score for another model than the one that was looked at, so that one that is
    started again with another model counts as lost.
    """

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        reply = await self._request(problem, "score", {
            "question": problem.question, "steps": texts_read(steps), "num_scored": num_scored,
            "model": self.served.fingerprint,
        })  # fmt: skip
        with _read(problem):
            scores = [StepScore(s["negative"], s["neutral"], s["positive"]) for s in reply["scores"]]
            usage = reply["usage"]
            charge(prm_tokens=usage["prm_tokens"], prm_tokens_cached=usage["prm_tokens_cached"])
        if len(scores) != len(steps) - num_scored:
            raise ScorerError(
                f"{problem.id}: the server returned {len(scores)} scores for {len(steps) - num_scored} steps"
            )
        return scores


class VLLMServerScorer(HTTPScorer):
    """A client of vLLM's server (0.32). The steps are laid out and tokenised here.

    `open` finds out which of its tasks the server was started for. With `token_classify`, all steps are
    read from one pass over the solution (`/pooling`), which uses no prefix cache. With `classify`, which
    suits outcome models, each step is read at the end of a prompt of its own (`/classify`), and the prompts
    share their prefixes in the cache. vLLM does not say what it read from there: all tokens are charged.

    The outputs must be the probabilities of the layout's labels, in their order.
    Raises UsageError if the tokenizer lacks what the layout needs.
    """

    def __init__(self, served: ServedPRM, **options: Any):
        super().__init__(served, **options)
        from prm.scoring.model import load_tokenizer

        entry = find(served.name)
        self._layout = served.layout
        self._encode = Encoder(entry.layout, load_tokenizer(entry))
        self._by_token = self._by_step = False
        self._opened = False

    async def open(self) -> None:
        """Raises UsageError if the server does not pool as this needs, and as `_request`."""
        question, steps = PROBE
        pieces = self._encode(question, steps)
        ids = [token for piece in pieces for token in piece]
        problem = Problem("the first request", question)
        try:
            rows = await self._pooled(problem, ids)
        except SearchError as refusal:
            await self._open_classify(problem, ids, _only_refused(refusal))
        else:
            self._by_token, self._by_step = len(rows) == len(ids), len(rows) == len(steps)
            if not self._by_token and not self._by_step:
                raise UsageError(
                    f"{self.served.urls[0]} pools {len(rows)} of {len(ids)} tokens of a solution of "
                    f"{len(steps)} steps: start it without step_tag_id, or with that of the steps' separator"
                )
            self._check_labels(rows[-1])
        self._opened = True

    async def _open_classify(self, problem: Problem, ids: list[int], refusal: SearchError) -> None:
        try:
            [probabilities] = await self._classified(problem, [ids])
        except SearchError as error:
            raise UsageError(
                f"the server takes neither /pooling with the task token_classify ({refusal}) nor /classify "
                f"({_only_refused(error)}): start it with --runner pooling and --pooler-config.task "
                "token_classify"
            ) from error
        self._check_labels(probabilities)

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        if not self._opened:
            raise ScorerError("the reward model is not open: use it in `async with`")
        pieces = self._encode(problem.question, texts_read(steps))
        ids = [token for piece in pieces for token in piece]
        check_length(problem, len(ids), self.context)
        ends = list(accumulate(map(len, pieces)))[1 + num_scored :]
        if not ends:
            return []
        try:
            if self._by_token:
                pooled = await self._pooled(problem, ids)
                self._check_count(problem, pooled, len(ids))
                rows = [pooled[end - 1] for end in ends]
            elif self._by_step:
                rows = await self._pooled(problem, ids)
                self._check_count(problem, rows, len(steps))
                rows = rows[num_scored:]
            else:
                rows = await self._classified(problem, [ids[:end] for end in ends])
        except asyncio.CancelledError:
            charge(prm_tokens=len(ids))  # at most; vLLM does not say how far it came
            raise
        with _read(problem):
            return [self._layout.step_score(row) for row in rows]

    async def _pooled(self, problem: Problem, ids: list[int]) -> list[list[float]]:
        """Probabilities after each pooled token, [tokens, labels]."""
        reply = await self._request(problem, "pooling", {
            "model": self.served.model, "input": ids, "task": "token_classify", "use_activation": True,
            "encoding_format": "float",
        })  # fmt: skip
        with _read(problem):
            [item] = reply["data"]
            rows = [[float(p) for p in row] for row in item["data"]]
            charge(prm_tokens=reply["usage"]["prompt_tokens"])
        return rows

    async def _classified(self, problem: Problem, prompts: list[list[int]]) -> list[list[float]]:
        """Probabilities after the last token of each prompt, [len(prompts), labels]."""
        reply = await self._request(problem, "classify", {
            "model": self.served.model, "input": prompts, "use_activation": True,
        })  # fmt: skip
        with _read(problem):
            items = {item["index"]: [float(p) for p in item["probs"]] for item in reply["data"]}
            rows = [items[index] for index in range(len(prompts))]
            charge(prm_tokens=reply["usage"]["prompt_tokens"])
        return rows

    def _check_count(self, problem: Problem, rows: Sequence[object], expected: int) -> None:
        if len(rows) != expected:
            raise ScorerError(f"{problem.id}: vLLM's server pooled {len(rows)} of {expected} tokens or steps")

    def _check_labels(self, row: Sequence[float]) -> None:
        labels = self._layout.head.labels
        if len(row) != len(labels):
            raise UsageError(
                f"{self.served.urls[0]} returns {len(row)} outputs, the layout of {self.served.name} names "
                f"{len(labels)} labels: it serves another model, or vLLM does not apply this model's head; "
                "`python -m prm.serve` does"
            )


def _only_refused(error: SearchError) -> SearchError:
    """The error of a request that the server refused. Raises any other."""
    if not isinstance(error.__cause__, RefusedError):
        raise error
    return error


@contextmanager
def _read(problem: Problem) -> Iterator[None]:
    """Raise ScorerError for a reply that is not as its schema says."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ScorerError(f"{problem.id}: the server's reply is malformed: {error!r}") from error
