"""The trace of a run on many engines. The driver alone writes it, so it survives every engine and node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from search.errors import TraceError
from search.jsonl import JsonLinesFile
from search.trace import Trace

Event = Mapping[str, Any]


class Ledger:
    """A trace, and what it holds of the problems that are not finished: an engine takes them up from there.

    run: what identifies the run. Raises TraceError and UsageError as `search.trace.Trace` does.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]):
        self._events: dict[str, list[Event]] = {}
        if path.exists():
            Trace.check(path, run)
        self._file = JsonLinesFile(path, kind="trace", begins='{"event": "run"', error=TraceError)
        try:
            if not self._file.rows:
                self._file.append([{"event": "run", "config": run}])
            elif self._file.rows[0].get("event") != "run":
                raise TraceError(f"{path}, line 1: it must hold the run's configuration")
            for event in self._file.rows[1:]:
                self._keep(event)
            self._file.rows.clear()
        except BaseException:
            self.close()
            raise

    def recorded(self, problem: str) -> list[Event]:
        """What is recorded of a problem, in order."""
        return self._events.get(problem, [])

    def append(self, events: Iterable[Event]) -> None:
        events = list(events)
        self._file.append(events)
        for event in events:
            self._keep(event)

    def finish(self, problem: str) -> None:
        """Forget what is kept in memory of a problem."""
        self._events.pop(problem, None)

    def close(self) -> None:
        self._file.close()

    def _keep(self, event: Event) -> None:
        try:
            self._events.setdefault(event["problem"], []).append(event)
        except KeyError as error:
            raise TraceError(f"{self._file.path}: {dict(event)} is no event of a trace") from error
