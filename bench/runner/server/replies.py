"""Replies in OpenAI's form, with what a search adds to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from time import time
from typing import Any
from uuid import uuid4

from bench.runner.server.errors import ApiError
from bench.runner.server.searching import Search
from search.engine import Outcome
from search.limits import Cost
from search.node import Node
from search.params import params
from search.types import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The reply to one request.

    chat: whether it is a chat's, else a text's. details: whether each choice tells of its search.
    usage: whether the chunks of a stream have the field `usage`.
    """

    searches: Sequence[Search]
    trees: Sequence[Sequence[Node]]
    chat: bool
    details: bool = False
    usage: bool = False
    created: int = field(default_factory=lambda: int(time()))
    key: str = field(default_factory=lambda: uuid4().hex)

    def whole(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """The reply that is not streamed."""
        choices = []
        for i, outcome in enumerate(outcomes):
            content = (
                {"message": {"role": "assistant", "content": outcome.text, "refusal": None}}
                if self.chat else {"text": outcome.text}
            )  # fmt: skip
            choices.append(self._choice(i, content, outcome))
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": choices, "usage": usage(o.cost for o in outcomes)}

    def opening(self) -> Iterator[dict[str, Any]]:
        """The first chunk of each choice of a chat: who speaks."""
        if self.chat:
            for i in range(len(self.searches)):
                yield self._chunk(i, {"delta": {"role": "assistant", "content": ""}})

    def step(self, choice: int, step: Step) -> dict[str, Any]:
        """The chunk of a settled step."""
        return self._chunk(choice, {"delta": {"content": step.text}} if self.chat else {"text": step.text})

    def ending(self, choice: int, outcome: Outcome) -> dict[str, Any]:
        """The last chunk of a choice."""
        return self._chunk(choice, {"delta": {}} if self.chat else {"text": ""}, outcome)

    def closing(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """The chunk after all choices, which holds the usage."""
        return {**self._head(self._chunks), "choices": [], "usage": usage(o.cost for o in outcomes)}

    @property
    def _chunks(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _head(self, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.chat else "cmpl"
        return {
            "id": f"{prefix}-{self.key}", "object": kind, "created": self.created,
            "model": self.searches[0].name, "system_fingerprint": None,
        }  # fmt: skip

    def _chunk(self, i: int, content: dict[str, Any], outcome: Outcome | None = None) -> dict[str, Any]:
        chunk = {**self._head(self._chunks), "choices": [self._choice(i, content, outcome)]}
        return {**chunk, "usage": None} if self.usage else chunk

    def _choice(self, i: int, content: dict[str, Any], outcome: Outcome | None) -> dict[str, Any]:
        choice = {"index": i, **content, "logprobs": None, "finish_reason": None}
        if outcome is not None:
            choice["finish_reason"] = "stop" if outcome.finished else "length"
            if self.details:
                choice["search"] = details(self.searches[i], outcome, self.trees[i])
        return choice


def unsent(sent: Sequence[Step], outcome: Outcome) -> Sequence[Step]:
    """The steps of the solution after those that were sent. Raises ApiError if they are not its first."""
    if list(outcome.steps[: len(sent)]) != list(sent):
        raise ApiError(
            500, "sampling failed after steps had been sent, and the solution that was found instead begins "
            "with others", kind="server_error",
        )  # fmt: skip
    return outcome.steps[len(sent) :]


def usage(costs: Iterable[Cost]) -> dict[str, Any]:
    """OpenAI's fields, for everything that the searches read and sampled, and the counts of `Cost`."""
    cost = sum(costs, Cost())
    prompt = cost.prompt_tokens + cost.prompt_tokens_cached
    return {
        "prompt_tokens": prompt,
        "completion_tokens": cost.policy_tokens,
        "total_tokens": prompt + cost.policy_tokens,
        "prompt_tokens_details": {"cached_tokens": cost.prompt_tokens_cached},
        "completion_tokens_details": {"rejected_prediction_tokens": cost.policy_tokens_discarded},
        "policy_tokens": cost.policy_tokens,
        "policy_tokens_discarded": cost.policy_tokens_discarded,
        "prm_tokens": cost.prm_tokens,
        "prm_tokens_cached": cost.prm_tokens_cached,
        "samples": cost.samples,
        "scores": cost.scores,
    }


def details(search: Search, outcome: Outcome, nodes: Sequence[Node]) -> dict[str, Any]:
    """What was searched, and how; the nodes of the tree in the order of their addresses."""
    return {
        "strategy": search.name,
        "params": params(search.strategy),
        "seed": search.seed,
        "answer": outcome.answer,
        "value": outcome.value,
        "finished": outcome.finished,
        "seconds": round(outcome.seconds, 3),
        "cost": asdict(outcome.cost),
        "events": asdict(outcome.events),
        "nodes": [_node(node) for node in sorted(nodes, key=lambda node: node.address)],
    }


def _node(node: Node) -> dict[str, Any]:
    step, score = node.step, node.score
    return {
        "address": node.address,
        "text": None if step is None else step.text,
        "tokens": None if step is None else step.n_tokens,
        "logprob": None if step is None else step.logprob,
        "stop": None if step is None else step.stop.value,
        "score": None if score is None else asdict(score),
        "duplicate_of": None if node.duplicate_of is None else node.duplicate_of.address,
        "failed": node.failed,
    }
