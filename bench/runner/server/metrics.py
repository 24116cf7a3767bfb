"""What GET /metrics shows, for Prometheus."""

from __future__ import annotations

from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from search.engine import Outcome

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)


class Metrics:
    """The counters of one server; those of another in the same process are its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "prm_search_requests", "Requests answered; 499: the client went away.", ["path", "status"],
            registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "prm_search_request_seconds", "From a request's arrival to the end of its reply.", ["path"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.searches = Counter(
            "prm_search_searches", "Searches ended.", ["strategy", "ending"], registry=registry
        )
        self.cost = Counter(
            "prm_search_cost", "What searches cost, by the fields of Cost.", ["kind"], registry=registry
        )
        self.open_requests = Gauge("prm_search_open_requests", "Requests being worked on.", registry=registry)
        self.running = Gauge("prm_search_running_searches", "Searches that have begun.", registry=registry)

    def outcome(self, strategy: str, outcome: Outcome) -> None:
        """Count a search that ended by itself."""
        ending = "failed" if outcome.error else "finished" if outcome.finished else "unfinished"
        self.searches.labels(strategy, ending).inc()
        for kind, amount in asdict(outcome.cost).items():
            self.cost.labels(kind).inc(amount)

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self._registry)
