"""What GET /metrics shows, for Prometheus."""

from __future__ import annotations

from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from search.engine import Outcome

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)


class RequestMetrics:
    """The counters of one server's requests; those of another in the same process are its own.

    prefix: of the metrics' names.
    """

    def __init__(self, prefix: str) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            f"{prefix}_requests", "Requests answered; 499: the client went away.", ["path", "status"],
            registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            f"{prefix}_request_seconds", "From a request's arrival to the end of its reply.", ["path"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.open_requests = Gauge(f"{prefix}_open_requests", "Requests being worked on.", registry=registry)

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self.registry)


class Metrics(RequestMetrics):
    """The counters of a server of searches."""

    def __init__(self) -> None:
        super().__init__("prm_search")
        registry = self.registry
        self.searches = Counter(
            "prm_search_searches", "Searches ended.", ["strategy", "ending"], registry=registry
        )
        self.cost = Counter(
            "prm_search_cost", "What searches cost, by the fields of Cost.", ["kind"], registry=registry
        )
        self.running = Gauge("prm_search_running_searches", "Searches that have begun.", registry=registry)

    def outcome(self, strategy: str, outcome: Outcome) -> None:
        """Count a search that ended by itself."""
        ending = "failed" if outcome.error else "finished" if outcome.finished else "unfinished"
        self.searches.labels(strategy, ending).inc()
        for kind, amount in asdict(outcome.cost).items():
            self.cost.labels(kind).inc(amount)


class ScoringMetrics(RequestMetrics):
    """The counters of a server of a reward model."""

    def __init__(self) -> None:
        super().__init__("prm_serve")
        self.scores = Counter("prm_serve_scores", "Steps scored.", registry=self.registry)
        self.tokens = Counter(
            "prm_serve_tokens", "Tokens of solutions, computed and read from a cache.", ["kind"],
            registry=self.registry,
        )  # fmt: skip
