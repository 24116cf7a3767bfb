"""What a run is asked to do: checked in full before a model is loaded or a token spent."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import strftime
from typing import Any

from bench.runner.cli.options import BASELINE, parser
from bench.runner.models import BUILTIN_POLICIES, Settings, choose_prompt, resolve
from bench.tasks import TASKS
from bench.tasks.base import Example, Task
from bench.tasks.code import CodeTask
from search.errors import UsageError
from search.limits import CostLimits, LengthLimits
from search.params import has_param, make_strategy, nearest, params, with_params
from search.policies.stepping import Sampling
from search.segment import SEGMENTERS
from search.strategies import STRATEGIES, UNGUIDED
from search.trace import Trace
from search.tree import Strategy
from search.types import Problem

TESTS = "tests"


@dataclass(frozen=True, slots=True)
class Usual:
    """What a task's run takes where the user says nothing: the models that ship, and what ends a step."""

    models: str = "builtin"
    segment: str = "newline"


USUAL = {"builtin-code": Usual("builtin-code", "python")}
"""By task, where it is not what every other one takes."""


@dataclass(frozen=True, slots=True)
class Run:
    """A checked request: all that can be wrong with it and seen without loading a model was looked at.

    words: the command line. asked: its options, as they were given.
    """

    words: Sequence[str]
    asked: argparse.Namespace
    strategies: dict[str, Strategy]
    task: Task
    examples: list[Example]
    models: Settings
    lengths: LengthLimits
    limits: CostLimits
    seed: int
    out: Path
    data: str
    public_tests: bool
    """Whether the question's own tests are run as a reward."""

    @property
    def prm_name(self) -> str | None:
        """What scores steps, as the user named it."""
        return self.asked.prm if self.public_tests else self.models.prm_name

    def identity(self, name: str) -> dict[str, Any]:
        """What makes two runs the same run: resuming needs all of it to be equal."""
        return {
            "strategy": name,
            "knobs": params(self.strategies[name]),
            "task": self.task.name,
            "data": self.data,
            "seed": self.seed,
            "budget": [self.lengths.step_tokens, self.lengths.solution_tokens],
            "limits": [self.limits.samples, self.limits.policy_tokens, self.limits.scores],
            **({"public_tests": True} if self.public_tests else {}),
            **self.models.identity(),
        }

    def trace(self, name: str) -> Trace:
        """The trace of a strategy; close it. Raises TraceError if it is another run's."""
        self.out.mkdir(parents=True, exist_ok=True)  # not before: what is refused leaves nothing behind
        return Trace(self.out / f"{name}.jsonl", self.identity(name))


def check(words: Sequence[str]) -> Run:
    """Find everything that is wrong with the request. Raises UsageError; loads no model."""
    asked = parser().parse_args(words)
    usual = USUAL.get(asked.task, Usual())
    for option, value in (("policy", usual.models), ("prm", usual.models), ("segment", usual.segment)):
        if getattr(asked, option) is None:
            setattr(asked, option, value)
    _check_options(asked)
    strategies = _strategies(asked)
    if asked.segment not in SEGMENTERS:
        raise UsageError(f"unknown segmentation {asked.segment!r}{nearest(asked.segment, SEGMENTERS)}")
    source = asked.task if asked.problems is None else asked.problems.stem
    out: Path = asked.out or Path("runs") / f"{source}-{strftime('%Y%m%d-%H%M%S')}"
    if asked.question is None and not asked.print_prompt:
        _check_output(asked, out, strategies)
    task, examples, data = _problems(asked)
    public_tests, prm = _score(asked.prm, task)
    models = resolve(
        policy=asked.policy,
        prm=prm,
        engine=asked.engine,
        servers=asked.server,
        tokenizer=asked.tokenizer,
        dtype=asked.dtype,
        sampling=Sampling(asked.temperature, asked.top_p),
        seeded=not asked.no_seeded,
        segmenter=SEGMENTERS[asked.segment],
        guided=prm != "" and not UNGUIDED.issuperset(strategies),
    )
    strategies = _with_thresholds(strategies, asked, models.thresholds)
    stops = [text.replace("\\n", "\n") for text in asked.stop]
    problems = [example.problem for example in examples]
    models = choose_prompt(models, task.prompts, asked.prompt, stops, problems)
    run = Run(
        words, asked, strategies, task, examples, models,
        LengthLimits(asked.step_tokens, asked.solution_tokens),
        CostLimits(policy_tokens=asked.max_tokens), asked.seed, out, data, public_tests,
    )
    if asked.resume:
        for name in strategies:
            if (out / f"{name}.jsonl").exists():
                run.trace(name).close()
    return run


def _check_options(asked: argparse.Namespace) -> None:
    """Options that exclude each other, and values out of range."""
    if not (math.isfinite(asked.temperature) and asked.temperature >= 0):
        raise UsageError(f"--temperature must be 0 or more, not {asked.temperature}")
    if not 0 < asked.top_p <= 1:
        raise UsageError(f"--top-p must be above 0 and at most 1, not {asked.top_p}")
    if asked.question is not None:
        if not asked.question.strip():
            raise UsageError("--question is empty")
        for option in ("out", "json", "data"):
            if getattr(asked, option) is not None:
                raise UsageError(f"--{option} does not go with --question: one question keeps no record")
    if asked.problems is not None and asked.data is not None:
        raise UsageError("--data is for --task; --problems names its file already")
    if "" in asked.stop:
        raise UsageError("--stop is empty: it would end every solution at once")
    if asked.resume and asked.out is None:
        raise UsageError("--resume needs --out DIR, the run to go on with")


def _strategies(asked: argparse.Namespace) -> dict[str, Strategy]:
    """The strategies with their knobs, the baseline before them."""
    names = list(STRATEGIES) if asked.strategy == "all" else [n.strip() for n in asked.strategy.split(",")]
    settings = dict(map(_setting, asked.set))
    strategies = {}
    for name in names:
        alone = len(names) == 1 or name not in STRATEGIES
        own = {param: text for param, text in settings.items() if alone or has_param(name, param)}
        strategies[name] = make_strategy(name, own)
    for param in settings:
        if not any(has_param(name, param) for name in names):
            known = {known for name in names for known in params(strategies[name])}
            raise UsageError(f"none of {', '.join(names)} has a parameter {param!r}{nearest(param, known)}")
    if asked.question is not None:
        if len(names) > 1:
            raise UsageError(f"--question takes one strategy, not {', '.join(names)}")
    elif not asked.no_baseline and BASELINE not in strategies:
        strategies = {BASELINE: make_strategy(BASELINE), **strategies}
    return strategies


def _with_thresholds(
    strategies: dict[str, Strategy], asked: argparse.Namespace, fitted: dict[str, float]
) -> dict[str, Strategy]:
    """The reward model's own thresholds, where the user names none: it knows best what its numbers mean."""
    if any(param in ("accept", "reject") for param, _ in map(_setting, asked.set)):
        return strategies
    return {
        name: with_params(strategy, {param: at for param, at in fitted.items() if has_param(name, param)})
        for name, strategy in strategies.items()
    }


def _check_output(asked: argparse.Namespace, out: Path, strategies: dict[str, Strategy]) -> None:
    """Whether the run can be recorded in `out`, and its results where --json says."""
    existing = [name for name in strategies if (out / f"{name}.jsonl").exists()]
    if existing and not asked.resume:
        there = ", ".join(existing)
        raise UsageError(f"{out} holds a run of {there} already: add --resume, or give another --out")
    if asked.resume and not out.is_dir():
        raise UsageError(f"--resume: there is no run in {out}")
    if asked.json is not None and (asked.json.is_dir() or not os.access(asked.json.parent, os.W_OK)):
        raise UsageError(f"--json: cannot write {asked.json}")
    above = next(folder for folder in (out, *out.parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        fault = "it may not be written to" if above.is_dir() else "it is a file"
        raise UsageError(f"--out: cannot write to {out}: {above}: {fault}")


def _problems(asked: argparse.Namespace) -> tuple[Task, list[Example], str]:
    """The task, its problems, and where they are from. Raises UsageError."""
    if asked.question is not None:
        name = asked.task if asked.policy in BUILTIN_POLICIES else "jsonl"
        return TASKS[name](), [Example(Problem("question", asked.question), "")], ""
    if asked.problems is not None:
        task, data = TASKS["jsonl"](), asked.problems
    elif asked.task not in TASKS:
        raise UsageError(f"unknown task {asked.task!r}{nearest(asked.task, TASKS)}")
    else:
        task, data = TASKS[asked.task](), asked.data
    return task, task.load(data, asked.limit), "" if data is None else str(data.resolve())


def _score(asked: str, task: Task) -> tuple[bool, str]:
    """Whether to run the question's own tests, and which reward model there is, "" if none."""
    first, _, prm = asked.partition("+")
    if first != TESTS:
        return False, asked
    if not isinstance(task, CodeTask):
        raise UsageError(f"--prm {asked}: the task {task.name} is not one of programs: no tests to run")
    return True, prm


def _setting(text: str) -> tuple[str, str]:
    param, equals, value = text.partition("=")
    if not equals or not param or not value:
        raise UsageError(f"--set takes KNOB=VALUE, not {text!r}")
    return param.strip(), value.strip()
