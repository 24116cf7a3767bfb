"""The requests of OpenAI's API, as far as a search can honour them, and what is ours in `extra_body`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

NEUTRAL: Mapping[str, tuple[Any, ...]] = MappingProxyType({
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": ([], ["text"]),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": (),
    "web_search_options": (),
})
"""Fields that a search cannot honour, each with the values, beside null, that ask for nothing."""

Param = bool | int | float | str | None


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Budget(_Model):
    """What one search may cost; as `search.limits.CostLimits`."""

    samples: int | None = Field(default=None, ge=0)
    policy_tokens: int | None = Field(default=None, ge=0)
    scores: int | None = Field(default=None, ge=0)
    prm_tokens: int | None = Field(default=None, ge=0)


class StreamOptions(_Model):
    """include_obfuscation: accepted; nothing is added to chunks."""

    include_usage: bool = False
    include_obfuscation: bool = False


class SearchRequest(_Model):
    """What chat and text completions have in common.

    model: a strategy; "default" is the one that the server was started with.
    params: parameters of the strategy. budget: of each choice. deadline_s: seconds from the request's
        arrival; then the best solution so far is the answer. search: send the tree of each choice, too.
    metadata, service_tier, store, user and the like: accepted; nothing is done with them.
    """

    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = NEUTRAL

    model: str = "default"
    n: int = Field(default=1, ge=1, le=128)
    seed: int | None = Field(default=None, ge=-(1 << 63), lt=1 << 63)
    stop: list[str] = Field(default_factory=list, max_length=16)
    max_tokens: PositiveInt | None = None
    temperature: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1)
    stream: bool = False
    stream_options: StreamOptions | None = None

    params: dict[str, Param] = Field(default_factory=dict)
    budget: Budget = Budget()
    deadline_s: PositiveFloat | None = Field(default=None, allow_inf_nan=False)
    search: bool = False

    metadata: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    user: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_neutral(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        for name, neutral in cls.neutral.items():
            if fields.get(name) is not None and fields[name] not in neutral:
                raise ValueError(f"{name} is not supported by this server")
        nothing = {"n", "stop", "stream", "params", "budget", "search"}  # here null is the default
        return {
            name: value for name, value in fields.items()
            if name not in cls.neutral and not (value is None and name in nothing)
        }  # fmt: skip

    @field_validator("stop", mode="before")
    @classmethod
    def _listed(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @field_validator("stop")
    @classmethod
    def _not_empty(cls, stop: list[str]) -> list[str]:
        if "" in stop:
            raise ValueError("an empty stop string would end every solution at once")
        return stop

    @property
    def most_tokens(self) -> int | None:
        """How long the solution may get, in tokens; None is the server's own limit."""
        return self.max_tokens


class TextPart(_Model):
    type: Literal["text"]
    text: str


class Message(_Model):
    """A turn. The fields after `content` are what clients send back of an answer, and are not used."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatRequest(SearchRequest):
    """POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: PositiveInt | None = None

    @property
    def most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(SearchRequest):
    """POST /v1/completions. prompt: continued as it stands, without a template."""

    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {**NEUTRAL, "logprobs": ()}
    """Here `logprobs` is a number, and 0 asks for those of the sampled tokens."""

    prompt: str = Field(min_length=1)

    @field_validator("prompt", mode="before")
    @classmethod
    def _single(cls, prompt: Any) -> Any:
        return prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt
