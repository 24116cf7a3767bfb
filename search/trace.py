"""JSONL trace of a run. Resuming replays it: strategies rerun, recorded calls cost nothing.

One event a line: `run` (first; the configuration), then for each problem `problem`, `sample`, `score`,
`observe`, `reject`, `backtrack`, `failed`, `unused`, `deadline` and `chosen`, each keyed by problem id and
node address.
The schema is in docs/guides/traces.md.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from search.errors import ScorerError, TraceError
from search.jsonl import JsonLinesFile
from search.limits import Cost, Events
from search.node import Node
from search.types import Address, Observation, Problem, Step, StepScore, Stop

Samples = tuple[list[Step], Cost]
Scores = tuple[int, list[StepScore], Cost]

_RENAMED = {
    "knobs": "params", "budget": "lengths", "known": "num_scored", "judgements": "scores", "judge": "score",
}  # fmt: skip
"""What traces of version 0.1.0 called things, and what they are called now."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a sample failed, and what it had cost by then."""

    reason: str
    spent: Cost


@dataclass(frozen=True, slots=True)
class Ended:
    """How a problem stood when its deadline ended the search: its leaf, its cost, what had happened."""

    at: Address
    cost: Cost
    events: Events


@dataclass(slots=True)
class _Recorded:
    """What is recorded of one problem, by node address."""

    digest: str = ""
    observations: dict[Address, Observation] = field(default_factory=dict)
    samples: dict[Address, Samples] = field(default_factory=dict)
    scores: dict[Address, Scores] = field(default_factory=dict)
    failures: dict[Address, Failure] = field(default_factory=dict)
    score_failures: dict[Address, str] = field(default_factory=dict)
    marks: Counter[tuple[str, Address]] = field(default_factory=Counter)
    unused: dict[Address, Cost] = field(default_factory=dict)
    ended: Ended | None = None
    chosen: tuple[Address, str | None] | None = None


class Trace:
    """Append-only, flushed line by line; without a path it records nothing.

    An existing file is read back first; a last line cut off by a crash is removed.
    Raises TraceError if the file belongs to another run, naming what differs, UsageError if another
    process is writing to it.

    run: what identifies the run (strategy, parameters, models, seed, ...); JSON values.
    """

    def __init__(self, path: Path | None = None, run: Mapping[str, Any] | None = None):
        self._recorded: dict[str, _Recorded] = defaultdict(_Recorded)
        self._run: dict[str, Any] | None = None
        self._path = path
        self._file: JsonLinesFile | None = None
        if path is None:
            return
        self._file = JsonLinesFile(path, kind="trace", begins='{"event": "run"', error=TraceError)
        try:
            self._load(self._file)
            if self._run is None:
                self._write({"event": "run", "config": _plain(run)})
            else:
                _check_same(path, self._run, run)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def check(path: Path, run: Mapping[str, Any]) -> None:
        """Raise TraceError if the file is a trace of another run. Reads its first line only."""
        try:
            with path.open("rb") as file:
                event = json.loads(file.readline())
            config = _renamed(event["config"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # not a whole first line: opening the trace says what is wrong
        _check_same(path, config, run)

    def recorder(self, problem: Problem) -> Recorder:
        """What is recorded of `problem`, and where to record more. Raises TraceError.

        The recorded part is handed over, not kept: call it once for a problem.
        """
        recorded = self._recorded.pop(problem.id, None) or _Recorded()
        digest = blake2b(problem.question.encode(errors="surrogatepass"), digest_size=8).hexdigest()
        if not recorded.digest:
            self._write({"event": "problem", "problem": problem.id, "digest": digest})
        elif recorded.digest != digest:
            raise TraceError(f"{self._path}: problem {problem.id} had another question when it was recorded")
        return Recorder(recorded, self, problem.id)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, event: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.append([event])

    def _load(self, file: JsonLinesFile) -> None:
        for number, event in enumerate(file.rows, start=1):
            try:
                self._read_event(event)
                if self._run is None:
                    raise ValueError("the first line must hold the run's configuration")
            except (ValueError, KeyError, TypeError, ScorerError) as error:
                raise TraceError(f"{file.path}, line {number}: not an event of a trace ({error})") from error
        file.rows.clear()

    def _read_event(self, event: Mapping[str, Any]) -> None:
        event = _renamed(event)
        if event["event"] == "run":
            self._run = _renamed(event["config"])
            return
        recorded = self._recorded[event["problem"]]
        match _RENAMED.get(event["event"], event["event"]):
            case "problem":
                recorded.digest = event["digest"]
            case "observe":
                recorded.observations[tuple(event["at"])] = read_observation(event)
            case "sample":
                steps = read_steps(event, recorded.observations)
                recorded.samples[tuple(event["at"])] = steps, Cost(**_renamed(event["spent"]))
            case "score":
                scores = [StepScore(*parts) for parts in event["scores"]]
                spent = Cost(**_renamed(event["spent"]))
                recorded.scores[tuple(event["at"])] = event["num_scored"], scores, spent
            case "failed" if event["of"] == "sample":
                spent = Cost(**_renamed(event["spent"]))
                recorded.failures[tuple(event["at"])] = Failure(event["reason"], spent)
            case "failed":
                recorded.score_failures[tuple(event["at"])] = event["reason"]
            case "unused":
                at = tuple(event["at"])
                recorded.unused[at] = recorded.unused.get(at, Cost()) + Cost(**event["spent"])
            case "deadline":
                at = tuple(event["at"])
                recorded.ended = Ended(at, Cost(**event["spent"]), Events(**event["events"]))
            case "reject" | "backtrack" as mark:
                recorded.marks[mark, tuple(event["at"])] += 1
            case "chosen":
                recorded.chosen = tuple(event["at"]), event["answer"]
            case other:
                raise ValueError(f"no event is called {other!r}")


class RemoteTrace(Trace):
    """A trace whose file is elsewhere: events are taken from there, and new ones collected in `written`."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Mapping[str, Any]] = []

    def take(self, events: Iterable[Mapping[str, Any]]) -> None:
        """What is recorded of a problem, before its search begins. Raises TraceError."""
        for event in events:
            try:
                self._read_event(event)
            except (ValueError, KeyError, TypeError, ScorerError) as error:
                raise TraceError(f"{json.dumps(event)}: not an event of a trace ({error})") from error

    def _write(self, event: Mapping[str, Any]) -> None:
        self.written.append(event)


class Recorder:
    """The part of a trace that belongs to one problem.

    Failures, and calls that were not used, are written once the problem has an answer. A problem that fails
    as a whole, or is interrupted, tries its failed candidates again when it is resumed.
    """

    def __init__(self, recorded: _Recorded | None = None, trace: Trace | None = None, problem: str = ""):
        self._recorded, self._trace, self._problem = recorded or _Recorded(), trace, problem
        self._unwritten: list[dict[str, Any]] = []
        self._step_scores: dict[Address, tuple[StepScore, Address]] = {}  # with the record it stands in
        self._costs: dict[Address, Cost] = {}  # of records that were not used yet
        for at, (known, scores, spent) in self._recorded.scores.items():
            self._costs[at] = spent
            for depth, score in enumerate(scores, start=known + 1):
                self._step_scores.setdefault(at[:depth], (score, at))
        self._scored_texts = {
            (at[:-1], steps[0].text, steps[0].stop): at
            for at, (steps, _) in self._recorded.samples.items()
            if len(steps) == 1 and at in self._step_scores and min(at) >= 0  # scratch is no sibling
        }

    def sample(self, at: Address) -> Samples | None:
        """The steps sampled at an address and their cost, None if not recorded."""
        return self._recorded.samples.get(at)

    def failure(self, at: Address) -> Failure | None:
        """Why the sample at an address failed, None if it is not recorded or did not fail."""
        return self._recorded.failures.get(at)

    def score_failure(self, at: Address) -> str | None:
        """Why scoring the node at an address failed, None if it is not recorded or did not fail."""
        return self._recorded.score_failures.get(at)

    @property
    def is_complete(self) -> bool:
        """Whether the problem is recorded to its end."""
        return self._recorded.chosen is not None

    @property
    def unused(self) -> Cost:
        """What calls have cost whose results were not used."""
        return sum(self._recorded.unused.values(), Cost())

    @property
    def ended(self) -> Ended | None:
        """How the problem stood at its deadline, if that ended it."""
        return self._recorded.ended if self.is_complete else None

    def was_stopped(self, at: Address) -> bool:
        """Whether a call for this address was made and not used, and no other."""
        return at in self._recorded.unused and not self.holds(at)

    def holds(self, at: Address) -> bool:
        """Whether it is recorded what sampling at an address gave."""
        return at in self._recorded.samples or at in self._recorded.failures

    def scores(self, nodes: Sequence[Node]) -> tuple[list[StepScore], Cost]:
        """The recorded scores of the first of these nodes, up to one that has none.

        The cost is that of the records they stand in; each record is counted once. A node has the score of
        an equal sibling, whichever of them was scored.
        """
        scores, spent = list[StepScore](), Cost()
        for node in nodes:
            assert node.step is not None
            key = node.address[:-1], node.step.text, node.step.stop
            found = self._step_scores.get(node.address) or self._step_scores.get(
                self._scored_texts.get(key, node.address)
            )
            if found is None:
                break
            score, record = found
            scores.append(score)
            spent += self._costs.pop(record, Cost())
        return scores, spent

    def write_sample(self, at: Address, steps: Sequence[Step], spent: Cost) -> None:
        """Record a sample, its observations first: a kill parts none from its step."""
        for depth, step in enumerate(steps):
            if step.observation is not None:
                self._write("observe", (*at, *[0] * depth), **asdict(step.observation))
        parts = [(step.text, step.token_ids, step.logprob, step.stop, step.n_tokens) for step in steps]
        self._write("sample", at, steps=parts, spent=_nonzero(spent))

    def write_scores(self, at: Address, known: int, scores: Sequence[StepScore], spent: Cost) -> None:
        parts = [(score.negative, score.neutral, score.positive) for score in scores]
        self._write("score", at, num_scored=known, scores=parts, spent=_nonzero(spent))

    def write_mark(self, mark: str, at: Address) -> None:
        """Record that a strategy rejected a node or went back from it; for readers, not for resuming."""
        if self._recorded.marks[mark, at] > 0:  # recorded already: a resumed run comes to it again
            self._recorded.marks[mark, at] -= 1
            return
        self._write(mark, at)

    def note_failure(self, at: Address, reason: str, spent: Cost) -> None:
        self._unwritten.append(
            {"event": "failed", "at": at, "of": "sample", "reason": reason, "spent": _nonzero(spent)}
        )

    def note_score_failure(self, at: Address, reason: str) -> None:
        self._unwritten.append({"event": "failed", "at": at, "of": "score", "reason": reason})

    def note_unused(self, at: Address, spent: Cost) -> None:
        """Note a call that was stopped, or whose result was not used."""
        if cost := _nonzero(spent):
            self._unwritten.append({"event": "unused", "at": at, "spent": cost})

    def note_deadline(self, at: Address, spent: Cost, events: Events) -> None:
        """Note that the deadline ended the search. What was in flight is lost, so all of it is recorded."""
        counts = {name: count for name, count in asdict(events).items() if count and name != "replayed"}
        self._unwritten.append({"event": "deadline", "at": at, "spent": _nonzero(spent), "events": counts})

    def write_chosen(self, at: Address, answer: str | None) -> None:
        """Record the end of the problem, and what failed or was not used on the way."""
        for noted in self._unwritten:
            self._write(**noted)
        self._unwritten.clear()
        if self._recorded.chosen != (at, answer):
            self._write("chosen", at, answer=answer)

    def _write(self, event: str, at: Address, **data: Any) -> None:
        if self._trace is not None:
            self._trace._write({"event": event, "problem": self._problem, "at": at, **data})


def read_observation(event: Mapping[str, Any]) -> Observation:
    """The observation of an `observe` event. Raises KeyError, TypeError or ValueError if it is none."""
    fields_ = {name: event[name] for name in Observation.__dataclass_fields__}
    return Observation(**{**fields_, "token_ids": tuple(event["token_ids"])})


def read_steps(event: Mapping[str, Any], observations: dict[Address, Observation]) -> list[Step]:
    """The steps of a `sample` event. Raises KeyError, TypeError or ValueError if it is none.

    observations: those read before it, by address; the steps take theirs.
    """
    steps, at = list[Step](), tuple(event["at"])
    for depth, (text, ids, logprob, stop, n_tokens) in enumerate(event["steps"]):
        observation = observations.pop((*at, *[0] * depth), None)
        whole = Stop(stop) in (Stop.STEP, Stop.END)  # a turn that was cut has none: what is there is older
        steps.append(
            Step(text, tuple(ids), logprob, Stop(stop), n_tokens, observation if whole else None)
        )
    return steps


def _plain(run: Mapping[str, Any] | None) -> dict[str, Any]:
    """A configuration as JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(run or {}))
    return plain


def _check_same(path: Path, recorded: Mapping[str, Any], run: Mapping[str, Any] | None) -> None:
    if differing := differences(recorded, _plain(run)):
        raise TraceError(
            f"{path} is the trace of another run ({'; '.join(differing)}): "
            "resume it with the same settings, or choose another --out"
        )


def _nonzero(cost: Cost) -> dict[str, int]:
    return {name: amount for name, amount in asdict(cost).items() if amount}


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What differs between two configurations, in words."""
    found = list[str]()
    for name in sorted(set(a) | set(b)):
        was, now = a.get(name), b.get(name)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            found += [f"{name}: {difference}" for difference in differences(was, now)]
        elif was != now:
            found.append(f"{name} was {was!r}, is {now!r}")
    return found


def _renamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {_RENAMED.get(name, name): value for name, value in fields.items()}
