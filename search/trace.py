"""JSONL trace of a run. Resuming replays it: strategies rerun, recorded calls cost nothing.

One event a line: `run` (first; which run this is), then per problem `problem`, `sample`, `judge`
and `chosen`, each keyed by problem id and node address.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

from search.errors import ScorerError, TraceError
from search.limits import Usage
from search.lock import only_writer
from search.types import Address, Judgement, Problem, Step, Stop

Samples = tuple[list[Step], Usage]
Judgements = tuple[int, list[Judgement], Usage]


_RUN = b'{"event": "run"'
"""How every trace begins."""


@dataclass(slots=True)
class _Recorded:
    """What the models already said about one problem, by node address."""

    digest: str = ""
    samples: dict[Address, Samples] = field(default_factory=dict)
    judgements: dict[Address, Judgements] = field(default_factory=dict)


class Trace:
    """Append-only, flushed line by line; without a path it records nothing.

    A file that exists already is read back first: a last line torn by a crash is cut off.
    Raises TraceError if the file belongs to another run, naming what differs, UsageError if another
    process is writing to it.

    run: what identifies the run (strategy, knobs, models, seed, ...); JSON values.
    """

    def __init__(self, path: Path | None = None, run: Mapping[str, Any] | None = None):
        self._recorded: dict[str, _Recorded] = defaultdict(_Recorded)
        self._run: dict[str, Any] | None = None
        self._path = path
        self._file: BinaryIO | None = None
        if path is None:
            return
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise TraceError(f"cannot write the trace {path}: {error.strerror}") from error
        try:
            only_writer(self._file, path)
            self._load()
            wanted = json.loads(json.dumps(run or {}))
            if self._run is None:
                self._write({"event": "run", "config": wanted})
            elif differing := _differences(self._run, wanted):
                raise TraceError(
                    f"{path} is the trace of another run ({'; '.join(differing)}): "
                    "resume it with the same settings, or choose another --out"
                )
        except BaseException:
            self.close()
            raise

    def recorder(self, problem: Problem) -> Recorder:
        """What is recorded of `problem`, and where to record more. Raises TraceError.

        The recorded part is handed over, not kept: ask once a problem.
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
            self._file.write(json.dumps(event, ensure_ascii=False).encode(errors="surrogatepass") + b"\n")
            self._file.flush()

    def _load(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        whole, end, torn = self._file.read().rpartition(b"\n")
        for number, line in enumerate(whole.split(b"\n") if end else [], start=1):
            try:
                self._remember(json.loads(line))
                if self._run is None:
                    raise ValueError("the first line must say which run this is")
            except (ValueError, KeyError, TypeError, ScorerError) as error:
                raise TraceError(f"{self._path}, line {number}: not an event of a trace ({error})") from error
        if not end and not torn.startswith(_RUN[: len(torn)]):
            raise TraceError(f"{self._path} is not a trace; choose another --out")
        if torn:  # or the next event would be glued to it and both be lost
            self._file.truncate(len(whole) + len(end))

    def _remember(self, event: dict[str, Any]) -> None:
        if event["event"] == "run":
            self._run = event["config"]
            return
        recorded = self._recorded[event["problem"]]
        match event["event"]:
            case "problem":
                recorded.digest = event["digest"]
            case "sample":
                steps = [Step(t, tuple(ids), lp, Stop(stop), n) for t, ids, lp, stop, n in event["steps"]]
                recorded.samples[tuple(event["at"])] = steps, Usage(**event["spent"])
            case "judge":
                found = [Judgement(*parts) for parts in event["judgements"]]
                recorded.judgements[tuple(event["at"])] = event["known"], found, Usage(**event["spent"])
            case "chosen":
                pass  # for the reader; resuming comes to it again
            case other:
                raise ValueError(f"no event is called {other!r}")


class Recorder:
    """The part of a trace that belongs to one problem."""

    def __init__(self, recorded: _Recorded | None = None, trace: Trace | None = None, problem: str = ""):
        self._recorded, self._trace, self._problem = recorded or _Recorded(), trace, problem

    def sample(self, at: Address) -> Samples | None:
        """The steps sampled at an address and their cost, None if not recorded."""
        return self._recorded.samples.get(at)

    def judgements(self, at: Address) -> Judgements | None:
        """How many steps were known, what was said of the rest, and its cost; None if not recorded."""
        return self._recorded.judgements.get(at)

    def write_sample(self, at: Address, steps: Sequence[Step], spent: Usage) -> None:
        parts = [(step.text, step.token_ids, step.logprob, step.stop, step.n_tokens) for step in steps]
        self._write("sample", at, steps=parts, spent=_nonzero(spent))

    def write_judgements(self, at: Address, known: int, found: Sequence[Judgement], spent: Usage) -> None:
        parts = [(j.negative, j.neutral, j.positive) for j in found]
        self._write("judge", at, known=known, judgements=parts, spent=_nonzero(spent))

    def write_chosen(self, at: Address, answer: str | None) -> None:
        self._write("chosen", at, answer=answer)

    def _write(self, event: str, at: Address, **data: Any) -> None:
        if self._trace is not None:
            self._trace._write({"event": event, "problem": self._problem, "at": at, **data})


def _nonzero(usage: Usage) -> dict[str, int]:
    return {name: amount for name, amount in asdict(usage).items() if amount}


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    names = sorted(set(a) | set(b))
    return [f"{name} was {a.get(name)!r}, is {b.get(name)!r}" for name in names if a.get(name) != b.get(name)]
