"""What scorers behind HTTP have in common: requests to servers that may be lost, for a while or for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from time import monotonic
from typing import Any

from prm.scoring.scorers import ManagedScorer
from prm.scoring.served import API_KEY, ServedPRM, key_header
from search.errors import ContextError, PolicyError, ScorerError, UnavailableError
from search.policies.http import HOMES, NoReplyError, RefusedError, Servers
from search.types import Problem

PATIENCE_S = 300.0
"""Seconds without a server after which a run stops: time to start one again."""
ELSEWHERE = (401, 403, 404)
"""What a server answers that is not, or no longer, the one that was looked at."""


class HTTPScorer(ManagedScorer):
    """Sends the calls of a problem to one server, where its prefixes are cached; new problems go to the
    server with the fewest calls in flight.

    A server that fails is avoided for a while, and its calls go to others. While all are away, calls wait;
    after `patience_s` seconds they raise UnavailableError, which stops the run.

    concurrency: upper bound on the requests in flight. timeout_s: for one request.
    """

    def __init__(
        self, served: ServedPRM, *, concurrency: int = 256, timeout_s: float = 600.0,
        patience_s: float = PATIENCE_S,
    ):  # fmt: skip
        self.served, self.context = served, served.context
        key = key_header().get("Authorization", "").removeprefix("Bearer ")
        self._servers = Servers(served.urls, key, concurrency, timeout_s, 10.0, 5, root="")
        self._patience_s = patience_s
        self._away_since: float | None = None
        self._homes: dict[tuple[str, str], int] = {}
        self._in_flight: Counter[int] = Counter()
        self._given: Counter[int] = Counter()

    async def close(self) -> None:
        await self._servers.close()

    async def _request(self, problem: Problem, path: str, body: Mapping[str, Any]) -> Any:
        """The reply to a POST, as JSON. Raises ContextError, ScorerError, UnavailableError."""
        home = self._home(problem)
        self._in_flight[home] += 1
        try:
            return await self._patiently(problem, path, body, home)
        finally:
            self._in_flight[home] -= 1

    async def _patiently(self, problem: Problem, path: str, body: Mapping[str, Any], home: int) -> Any:
        while True:
            try:
                reply = await self._servers.request(path, body, salt=home, first=home)
            except NoReplyError as error:
                self._away_since = self._away_since or monotonic()
                if monotonic() - self._away_since >= self._patience_s:
                    raise UnavailableError(f"the reward model's servers are lost: {error}") from error
            except RefusedError as error:
                if error.status in ELSEWHERE:
                    raise UnavailableError(
                        f"the reward model's server has changed (its key is read from {API_KEY}): {error}"
                    ) from error
                raise ScorerError(f"{problem.id}: {error}") from error
            except ContextError as error:
                raise ContextError(f"{problem.id}: {error}") from error
            except PolicyError as error:
                raise ScorerError(f"{problem.id}: {error}") from error
            else:
                self._away_since = None
                return reply

    def _home(self, problem: Problem) -> int:
        """The index of the server that keeps this problem's prefixes."""
        asked = problem.id, problem.question  # all problems of `search.serve` have the same id
        if asked not in self._homes:
            if len(self._homes) >= HOMES:
                del self._homes[next(iter(self._homes))]
            servers = range(len(self.served.urls))
            home = min(servers, key=lambda i: (self._in_flight[i], self._given[i]))
            self._homes[asked] = home
            self._given[home] += 1
        return self._homes[asked]
