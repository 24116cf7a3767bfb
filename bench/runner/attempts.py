"""The record of a collection: every action that was sampled, so that a run is resumed at no cost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.data.rows import json_lines
from prm.preference.collection import Attempt, Place, Status
from prm.preference.tree import Observation
from search.errors import TraceError
from search.jsonl import JsonLinesFile


@dataclass(frozen=True, slots=True)
class Recorded:
    """An attempt, and the policy tokens that it took."""

    attempt: Attempt
    tokens: int


class AttemptLog:
    """A JSON-lines file: the configuration, then one attempt a line, keyed by problem and place.

    An existing file is read back. Raises TraceError if it belongs to another collection, naming what differs.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]):
        self._attempts: dict[tuple[str, str], Recorded] = {}
        self._file = JsonLinesFile(path, kind="record", begins='{"event": "run"', error=TraceError)
        try:
            self._load(json.loads(json.dumps(config)))
        except BaseException:
            self.close()
            raise

    def get(self, problem: str, place: Place) -> Recorded | None:
        return self._attempts.get((problem, str(place)))

    def add(self, problem: str, place: Place, made: Recorded) -> None:
        self._attempts[problem, str(place)] = made
        attempt = made.attempt
        row = {
            "event": "attempt", "problem": problem, "place": str(place), "status": attempt.status,
            "text": attempt.text, "observation": attempt.observation.text, "tokens": made.tokens,
        }  # fmt: skip
        self._file.append([row])

    @property
    def statuses(self) -> Counter[Status]:
        return Counter(made.attempt.status for made in self._attempts.values())

    @property
    def tokens(self) -> int:
        """Policy tokens of all attempts."""
        return sum(made.tokens for made in self._attempts.values())

    def close(self) -> None:
        self._file.close()

    def _load(self, config: Mapping[str, Any]) -> None:
        rows, path = self._file.rows, self._file.path
        if not rows:
            self._file.append([{"event": "run", "config": config}])
            return
        number = 1
        try:
            recorded = rows[0]["config"]
            names = sorted(set(recorded) | set(config))
            for row in rows[1:]:
                number += 1
                attempt = Attempt(row["text"], Status(row["status"]), Observation(row["observation"]))
                self._attempts[row["problem"], row["place"]] = Recorded(attempt, int(row["tokens"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TraceError(f"{path}, line {number}: not an attempt ({error})") from error
        if differing := [name for name in names if recorded.get(name) != config.get(name)]:
            raise TraceError(
                f"{path} is the record of another collection (it differs in {', '.join(differing)}): "
                "resume it with the same settings, or choose another --out"
            )
        rows.clear()


def recorded_attempts(path: Path) -> dict[str, list[Attempt]]:
    """The attempts of a record by problem, in the order of their places."""
    found: dict[str, list[tuple[tuple[int, ...], Attempt]]] = {}
    for row in json_lines(path):
        fields = row.fields
        if fields["event"] == "attempt":
            place = tuple(map(int, fields["place"].split("/")))
            attempt = Attempt(fields["text"], Status(fields["status"]), Observation(fields["observation"]))
            found.setdefault(fields["problem"], []).append((place, attempt))
    return {
        problem: [attempt for _, attempt in sorted(made, key=lambda one: one[0])]
        for problem, made in found.items()
    }
