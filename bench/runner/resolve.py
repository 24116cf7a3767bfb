"""From a model's spec to what is loaded: the one place where names become paths, engines and prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeVar

from bench.runner.checkpoints import (
    Engine,
    check_dtype,
    check_exists,
    check_is_policy,
    choose_engine,
    context_of,
    failing,
    quiet_transformers,
    tokenizer_of,
)
from bench.runner.engine_args import check_engine_args, of_identity
from bench.runner.specs import PolicySpec, PRMSpec
from bench.tasks.base import Defaults, Task
from prm.pretrained.packages import PACKAGES
from prm.reading.bundled import (
    ADAPTER_POLICIES,
    ADAPTER_PRMS,
    POLICIES,
    PRMS,
    bundled_adapter,
    bundled_policy,
    bundled_prm,
)
from prm.reading.checkpoint import check_on_hub
from prm.reading.content import fingerprint, old_fingerprint
from prm.reading.fingerprint import old_prm_fingerprint, prm_fingerprint
from prm.reading.layout import Layout
from prm.reading.local import local_policy
from prm.reading.zoo import find, is_specified, zoo
from prm.scoring.served import ServedPRM, find_served
from prm.training.question import trained_template
from search.errors import UsageError
from search.params import nearest
from search.policies.stepping import Sampling, encode_prompt
from search.prompts import Prompt, read_template
from search.segment import SEGMENTERS, Segmenter
from search.types import Problem
from search.values import Aggregate

T = TypeVar("T")

TESTS = "tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedPolicy:
    """A policy that is there and of the right kind; not loaded.

    name: as the user said it. path: a folder or hub id. tokenizer: path or hub id, None if prefixes go to a
    server as text. engine_args: vLLM's own.
    """

    name: str
    path: str
    engine: Engine
    dtype: str
    tokenizer: str | None
    servers: tuple[str, ...]
    prompt: Prompt
    segmenter: Segmenter
    sampling: Sampling
    seeded: bool
    engine_args: Mapping[str, Any] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """What of the policy a run's results depend on; kept in its trace."""
        usual = SEGMENTERS[self.segmenter.name].repetition
        return {
            "engine": self.engine,
            "policy": self.name,
            "policy_weights": fingerprint(self.path) if self._is_loaded else None,
            "tokenizer": self.tokenizer if self.engine == "server" else None,
            "sampling": asdict(self.sampling),
            "segmenter": self.segmenter.name,
            "dtype": self.dtype,
            "seeded": self.seeded,
            "prompt": asdict(self.prompt),
            **({} if (rule := self.segmenter.repetition) == usual else {"repetition": asdict(rule)}),
            **({"policy_args": args} if (args := of_identity(self.engine_args)) else {}),
        }

    @property
    def old_weights(self) -> str | None:
        """What version 0.1.0 recorded of the weights."""
        return old_fingerprint(self.path)

    @property
    def _is_loaded(self) -> bool:
        """Whether the weights are at `path`, not only on a server."""
        return self.engine != "server" or Path(self.path).is_dir()

    def shown_prompt(self, problem: Problem) -> str:
        """The text that the policy would continue."""
        if self.tokenizer is None:
            return self.prompt.fill(problem.question)
        return encode_prompt(tokenizer_of(self.tokenizer), self.prompt, problem.question).text


@dataclass(frozen=True, kw_only=True)
class ResolvedPRM:
    """What scores steps: a reward model that is there and of the right kind, public tests, or both.

    name: as the user said it, or as the server calls it. model: what `prm.reading.zoo.find` finds it by; None
    if only tests score, or if it is on a server. served: of a model on a server. engine_args: vLLM's own.
    """

    name: str
    model: str | None
    engine: Literal["hf", "vllm"]
    dtype: str
    public_tests: bool
    served: ServedPRM | None = None
    engine_args: Mapping[str, Any] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """What of the reward model a run's results depend on; kept in its trace."""
        served = self.served
        weights = None if self.model is None else prm_fingerprint(self.model)
        return {
            "prm": self.model_name,
            "prm_weights": weights if served is None else served.fingerprint,
            **({} if served is None else {"prm_server": f"{served.kind}: {served.run_as}"}),
            **({"public_tests": True} if self.public_tests else {}),
            **({"prm_args": args} if (args := of_identity(self.engine_args)) else {}),
        }

    @property
    def has_model(self) -> bool:
        """Whether more than tests scores."""
        return self.model is not None or self.served is not None

    @property
    def model_name(self) -> str | None:
        """As the user named the model alone, without the tests."""
        return self.name.removeprefix(f"{TESTS}+") if self.has_model else None

    @property
    def old_weights(self) -> str | None:
        """What version 0.1.0 recorded of the weights."""
        return None if self.model is None else old_prm_fingerprint(self.model)

    @cached_property
    def layout(self) -> Layout | None:
        """How the reward model reads its input; None if only tests score. Read once: a server asks often."""
        if self.served is not None:
            return self.served.layout
        return None if self.model is None else find(self.model).layout

    @property
    def thresholds(self) -> dict[str, float]:
        """What `prm.calibrate` fitted, by the parameters of HGS that take it; empty if nothing."""
        return {} if self.layout is None else self.layout.calibration.thresholds

    @property
    def aggregate(self) -> Aggregate | None:
        """How its step values make up the value of a solution; None if only tests score."""
        return None if self.layout is None else self.layout.solution_aggregate

    @property
    def is_outcome(self) -> bool:
        """Whether it scores whole solutions only."""
        return self.layout is not None and self.layout.is_outcome


def resolve_policy(
    spec: PolicySpec, task: Task, problems: Sequence[Problem], *, turns: bool = False
) -> ResolvedPolicy:
    """Check that the policy is there, and choose its prompt. Loads no weights. Raises UsageError.

    problems: each must leave room in the model's context. turns: whether the policy is to take several, which
    a prompt without a chat template renders badly.
    """
    engine = check_policy(spec, task.defaults)
    args = check_engine_args("--policy-args", dict(spec.engine_args), engine)
    name = spec.name or task.defaults.policy
    path = _policies(engine)(name) or name
    tokenizer = None if spec.tokenizer is None else local_policy(spec.tokenizer) or spec.tokenizer
    if tokenizer is None and (engine != "server" or Path(path).is_dir()):
        tokenizer = path
    loaded = None
    if tokenizer is not None:
        quiet_transformers()
        loaded = tokenizer_of(tokenizer)
    prompt = _choose_prompt(name, tokenizer, task, spec.prompt, loaded, turns=turns)
    prompt = replace(prompt, stop=(*prompt.stop, *spec.stop))
    if loaded is not None and engine != "server":
        with failing("--policy", name):
            context = context_of(path)
        context = min((n for n in (context, args.get("max_model_len")) if n is not None), default=None)
        _check_room(name, context, loaded, prompt, problems)
    segmenter = SEGMENTERS[spec.segment or task.defaults.segment]
    if spec.repetition is not None:
        segmenter = replace(segmenter, repetition=spec.repetition)
    return ResolvedPolicy(
        name=name, path=path, engine=engine, dtype=spec.dtype, tokenizer=tokenizer, servers=spec.servers,
        prompt=prompt, segmenter=segmenter, sampling=spec.sampling, seeded=spec.seeded,
        engine_args=args,
    )


def check_policy(spec: PolicySpec, defaults: Defaults) -> Engine:
    """Check all of the spec that takes no tokenizer to check; a local checkpoint is checked at once.

    defaults: of the task. Returns the engine. Raises UsageError.
    """
    name = spec.name or defaults.policy
    _check_sampling(spec.sampling)
    check_dtype(spec.dtype)
    segment = spec.segment or defaults.segment
    if segment not in SEGMENTERS:
        raise UsageError(f"unknown segmentation {segment!r}{nearest(segment, SEGMENTERS)}")
    if "" in spec.stop:
        raise UsageError("--stop is empty: it would end every solution at once")
    engine = choose_engine(spec.engine, servers=bool(spec.servers))
    if engine == "server" and not spec.servers:
        raise UsageError("--engine server needs --server URL, e.g. http://localhost:8000/v1")
    if spec.servers and engine != "server":
        raise UsageError(f"--server is for --engine server, not {engine}")
    if spec.tokenizer is not None and engine != "server":
        raise UsageError(f"--tokenizer is for --engine server; {engine} takes the policy's own")
    check_engine_args("--policy-args", dict(spec.engine_args), engine)
    if (
        spec.tokenizer is not None
        and _named("--tokenizer", local_policy, spec.tokenizer) is None
        and not Path(spec.tokenizer).is_dir()
    ):
        _named("--tokenizer", check_on_hub, spec.tokenizer)
    path = _named("--policy", _policies(engine), name)
    if engine != "server" or path is not None:
        check_exists("--policy", name, path or name, [*POLICIES, *PACKAGES, *ADAPTER_POLICIES])
        check_is_policy(name, path or name)
    return engine


def _policies(engine: Engine) -> Callable[[str], str | None]:
    """What finds the folder of a policy by its name. A server may use any name for a model of its own."""
    return bundled_policy if engine == "server" else local_policy


def _named(option: str, look_up: Callable[[str], T], name: str) -> T:
    """`look_up(name)`. Raises its UsageError, naming the option."""
    try:
        return look_up(name)
    except UsageError as error:
        raise UsageError(f"{option} {name}: {str(error).removeprefix(f'{name}: ')}") from error


def resolve_prm(spec: PRMSpec, task: Task, policy_engine: Engine | None) -> ResolvedPRM:
    """Check that the reward model is there and of the right kind. Loads no weights. Raises UsageError.

    A model on a server is asked for there. policy_engine: None if the policy could not be resolved.
    """
    name = spec.name or ("" if spec.servers else task.defaults.prm)
    check_dtype(spec.dtype)
    first, plus, model = name.partition("+")
    tests = first == TESTS
    if tests and task.public_tests is None:
        raise UsageError(f"--prm {name}: the task {task.name} is not one of programs: no tests to run")
    model = model if tests else name
    if spec.servers:
        if tests and not plus:
            raise UsageError(f"--prm {TESTS} uses no model, and --prm-server has one: drop one of them")
        return _resolve_served(spec, model, tests=tests)
    return replace(
        resolve_reward_model(spec, model or None, policy_engine), name=name, public_tests=tests
    )


def resolve_reward_model(spec: PRMSpec, name: str | None, policy_engine: Engine | None) -> ResolvedPRM:
    """The model of this name, to be loaded here; None if only tests score. Raises UsageError.

    policy_engine: what it runs on unless the spec says so.
    """
    check_dtype(spec.dtype)
    wanted = spec.engine or policy_engine
    if spec.engine == "server":
        raise UsageError("--prm-engine server: name the server by --prm-server URL")
    engine = choose_engine(None if wanted == "server" else wanted, servers=False)
    args = check_engine_args("--prm-args", dict(spec.engine_args), engine)
    path = None
    if name:
        path = _named("--prm", bundled_prm, name) or _named("--prm", bundled_adapter, name)
    if name is not None and path is not None:
        if not is_specified(path):
            check_exists("--prm", name, path, [*PRMS, *ADAPTER_PRMS, *zoo()])
        try:
            find(path)
        except UsageError as error:
            raise UsageError(f"--prm: {error}") from error
    return ResolvedPRM(
        name=name or "", model=path, engine="vllm" if engine == "vllm" else "hf", dtype=spec.dtype,
        public_tests=False, engine_args=args,
    )


def _resolve_served(spec: PRMSpec, name: str, *, tests: bool) -> ResolvedPRM:
    """The model on the spec's servers. name: "" if the servers are to say. Raises UsageError."""
    if spec.engine is not None or spec.engine_args:
        option = "--prm-engine" if spec.engine is not None else "--prm-args"
        raise UsageError(f"{option} is for a model that is loaded here; give it to `python -m prm.serve`")
    if name:
        _named("--prm", bundled_prm, name)
    served = find_served(spec.servers, name or None)
    served = replace(served, name=name or served.name)
    return ResolvedPRM(
        name=f"{TESTS}+{served.name}" if tests else served.name, model=None, engine="hf", dtype=spec.dtype,
        public_tests=tests, served=served,
    )


def _check_sampling(sampling: Sampling) -> None:
    if not (isfinite(sampling.temperature) and sampling.temperature >= 0):
        raise UsageError(f"--temperature must be 0 or more, not {sampling.temperature}")
    if not 0 < sampling.top_p <= 1:
        raise UsageError(f"--top-p must be above 0 and at most 1, not {sampling.top_p}")


def _choose_prompt(
    policy: str, folder: str | None, task: Task, name: str | None, tokenizer: Any, *, turns: bool
) -> Prompt:
    """A prompt of the task by name, or a template file.

    By default that of the policy's training, if this project trained it; else its chat template; else the
    task's first. folder: of the tokenizer, and of what its training recorded. turns: the chat template comes
    first.
    """
    has_template = tokenizer is not None and bool(tokenizer.chat_template)
    if name is None:
        if folder is not None and not (turns and has_template):
            own = trained_template(folder, tokenizer)
            if own is not None:
                return Prompt(own)
        prompts = task.prompts
        return prompts["chat"] if "chat" in prompts and has_template else next(iter(prompts.values()))
    if name in task.prompts:
        prompt = task.prompts[name]
    elif Path(name).is_file():
        prompt = read_template(Path(name))
    else:
        raise UsageError(f"unknown prompt {name!r}, which is no file either{nearest(name, task.prompts)}")
    if prompt.chat and tokenizer is None:
        raise UsageError(f"--prompt {name}: a chat prompt needs the model's template: give its --tokenizer")
    if prompt.chat and not has_template:
        raise UsageError(f"--prompt {name}: the tokenizer of {policy} has no chat template")
    return prompt


def _check_room(
    policy: str, context: int | None, tokenizer: Any, prompt: Prompt, problems: Sequence[Problem]
) -> None:
    """Raise UsageError if a problem's prompt fills the policy's context."""
    if context is None:
        return
    for problem in problems:
        taken = len(encode_prompt(tokenizer, prompt, problem.question).token_ids)
        if taken >= context:
            raise UsageError(
                f"{problem.id}: its prompt takes {taken} tokens, the context of {policy} "
                f"holds {context}; choose a shorter --prompt or another --policy"
            )
