"""Which models a run uses, as a request names them. Nothing here is loaded or looked at."""

from __future__ import annotations

from dataclasses import dataclass

from search.policies.stepping import Sampling
from search.segment import Repetition


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model and how to serve it.

    name: None is the task's default. engine: None is vLLM if it is installed, else transformers.
    dtype: the precision of the weights; "auto" is as they are stored, or float32 on a CPU without bfloat16.
        vLLM serves weights that are stored in float32 in bfloat16.
    engine_args: vLLM's own arguments, by name, as text.
    """

    name: str | None = None
    engine: str | None = None
    dtype: str = "auto"
    engine_args: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec(ModelSpec):
    """A policy: a built-in one, a checkpoint (path or hub id), or a model on a server.

    servers: base URLs, for engine "server". tokenizer: path or hub id, for engine "server".
    prompt: a prompt of the task by name, or a template file; None is the question template that this project
        trained the policy with, else the tokenizer's chat template, else the task's first prompt.
    stop: more strings that end a solution.
    segment: what ends a step, a name of `search.segment.SEGMENTERS`; None is the task's default.
    repetition: when a solution that repeats itself is cut; None is the segmenter's own rule.
    seeded: each request has its own seed, so that a run can be repeated.
    """

    servers: tuple[str, ...] = ()
    tokenizer: str | None = None
    prompt: str | None = None
    stop: tuple[str, ...] = ()
    segment: str | None = None
    repetition: Repetition | None = None
    sampling: Sampling = Sampling()
    seeded: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PRMSpec(ModelSpec):
    """A reward model: a built-in one, or a name, file or checkpoint that `prm.reading.zoo.find` knows.

    name: "tests" runs the tests that a question of a code task shows; "tests+NAME" lets them overrule the
        reward model NAME. engine: None is the policy's; beside a server, vLLM if it is installed.
    servers: base URLs of `python -m prm.serve` or of vLLM's server, all with the same model; it is then not
        loaded here, and `name` may be None for the former.
    """

    servers: tuple[str, ...] = ()
