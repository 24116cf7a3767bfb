"""Joins traces of shares of one run into the trace that one machine would have written.

Problems come in the order of the task; within a problem, events keep their order, which is the search's own.
Lines are copied as they are. Memory grows with the number of events by their offsets alone.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from bench.report.recorded import is_trace
from bench.runner.shards import FOLDERS
from search.errors import TraceError, UsageError
from search.lock import only_writer
from search.trace import differences

_COMPARED = ("sample", "observe", "chosen")
"""The events that are the same in equal searches. Which of several equal steps was scored, what was stopped,
and which calls failed may depend on timing."""
_MEASURED = ("prompt_tokens", "prompt_tokens_cached", "prm_tokens", "prm_tokens_cached")
"""What a call cost depends on what was in the caches: it may differ between equal searches."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged trace. unfinished: problems without an end in it, in the order of the task."""

    strategy: str
    path: Path
    traces: int
    problems: int
    unfinished: tuple[str, ...]


@dataclass(slots=True)
class _Source:
    """One trace. offsets: where the lines of each problem begin. chosen: the problems at their end."""

    path: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    header: bytes = b""
    offsets: dict[str, array[int]] = field(default_factory=dict)
    chosen: set[str] = field(default_factory=set)


def folders_with_shards(folders: Sequence[Path]) -> list[Path]:
    """The folders that hold traces: each of those given, and the shards in it. Raises UsageError."""
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}")
        own = [part for part in (folder, *sorted(folder.glob(FOLDERS))) if traces_in(part)]
        if not own:
            raise UsageError(f"{folder} holds no traces, nor shards that do")
        found |= dict.fromkeys(own)
    return list(found)


def traces_in(folder: Path) -> list[Path]:
    """The traces in a folder, by name."""
    return [path for path in sorted(folder.glob("*.jsonl")) if is_trace(path)]


def merge(paths: Sequence[Path], problems: Sequence[str], out: Path, progress: Progress) -> Merged:
    """Merge traces of one strategy.

    problems: the ids of all, in order. out: the merged trace; it may be one of `paths`, and is there whole or
    as before. progress: told of every problem.
    Raises TraceError if the traces are not of one run, or tell different things of one problem, and
    UsageError if a run is writing to `out`: what it wrote from now on would be lost.
    """
    if out.exists():
        with out.open("ab") as there:
            only_writer(there, out)
    sources = [_indexed(path) for path in paths]
    first, known = sources[0], set(problems)
    for other in sources[1:]:
        if found := differences(first.config, other.config):
            raise TraceError(f"{first.path} and {other.path} are not of one run: {'; '.join(found)}")
    for source in sources:
        if foreign := [name for name in source.offsets if name not in known]:
            raise TraceError(f"{source.path}: the run has no problem {foreign[0]}, nor would it be graded")
    unfinished = []
    temporary = out.with_name(f".{out.name}.unfinished")
    files = [source.path.open("rb") for source in sources]
    try:
        with temporary.open("wb") as merged:
            merged.write(first.header)
            for number, problem in enumerate(problems, start=1):
                merged.writelines(_lines(problem, sources, files))
                if not any(problem in source.chosen for source in sources):
                    unfinished.append(problem)
                progress(number)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
        for file in files:
            file.close()
    return Merged(
        str(first.config.get("strategy")), out, len(sources), len(problems), tuple(unfinished)
    )  # fmt: skip


def _indexed(path: Path) -> _Source:
    """A last line that a kill cut off is left out. Raises TraceError."""
    source, at = _Source(path), 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                event = json.loads(line)
                if number == 1:
                    source.config, source.header = event["config"], line
                else:
                    source.offsets.setdefault(event["problem"], array("Q")).append(at)
                    if event["event"] == "chosen":
                        source.chosen.add(event["problem"])
            except (ValueError, KeyError, TypeError) as error:
                raise TraceError(f"{path}, line {number}: not an event of a trace ({error})") from error
            at += len(line)
    if not source.header:
        raise TraceError(f"{path} is no trace of a run")
    return source


def _lines(problem: str, sources: Sequence[_Source], files: Sequence[BinaryIO]) -> list[bytes]:
    """The lines on a problem, from the trace that tells most of it. Raises TraceError."""
    told = [
        (source, list(_read(file, source.offsets[problem])))
        for source, file in zip(sources, files, strict=True)
        if problem in source.offsets
    ]
    if not told:
        return []
    best, most = max(told, key=lambda each: (problem in each[0].chosen, len(each[1])))
    if len(told) > 1:
        whole = _facts(most)
        for source, lines in told:
            if not _facts(lines) <= whole:
                raise TraceError(
                    f"{best.path} and {source.path} tell different things of {problem}: keep one of them"
                )
    return most


def _read(file: BinaryIO, offsets: Sequence[int]) -> Iterator[bytes]:
    for offset in offsets:
        file.seek(offset)
        yield file.readline()


def _facts(lines: Sequence[bytes]) -> set[str]:
    """What two searches of one problem must agree on: events, without what is measured and in no order."""
    facts = set()
    for line in lines:
        event = json.loads(line)
        if event["event"] not in _COMPARED:
            continue
        if "spent" in event:
            spent = event["spent"]
            event["spent"] = {name: amount for name, amount in spent.items() if name not in _MEASURED}
        facts.add(json.dumps(event, sort_keys=True))
    return facts
