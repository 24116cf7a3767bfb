"""The routes of `python -m prm.serve`: a reward model over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from bench.runner.server.disconnect import unless_gone
from bench.runner.server.errors import ApiError
from bench.runner.server.guard import BodyLimits, Guard
from bench.runner.server.handlers import add_errors
from bench.runner.server.metrics import ScoringMetrics
from prm.scoring.served import ServedPRM
from search.errors import ContextError, ScorerError, SearchError
from search.limits import metered
from search.types import Problem, Step, StepScore, StepScorer, Stop

ID = "the solution"
"""What error messages call what is scored."""


class ScoreRequest(BaseModel):
    """POST /score.

    num_scored: so many steps, the first ones, need no score.
    model: the fingerprint of the model that must score; a server with another one refuses.
    """

    model_config = ConfigDict(extra="forbid")

    question: str
    steps: list[str] = Field(max_length=4096)
    num_scored: int = Field(default=0, ge=0)
    model: str | None = None


def create_scoring_app(
    served: ServedPRM, scorer: StepScorer, *, limits: BodyLimits = BodyLimits(), max_requests: int = 1024,
    api_key: str | None = None,
) -> FastAPI:  # fmt: skip
    """The ASGI application. To be used on the event loop that the scorer was opened on.

    served: what is said about the model. max_requests: worked on at a time; more are refused with 429.
    api_key: None takes requests without one.
    """
    metrics = ScoringMetrics()
    in_flight = 0
    metrics.open_requests.set_function(lambda: in_flight)
    card = served.card()
    app = FastAPI(title="prm-search reward model", docs_url=None, redoc_url=None)
    app.add_middleware(
        Guard, limits=limits, api_key=api_key, metrics=metrics, guarded=("/score", "/model"),
        counted=("/score", "/model"),
    )  # fmt: skip
    add_errors(app)

    @app.post("/score")
    async def score(body: ScoreRequest, request: Request) -> Response:
        nonlocal in_flight
        if body.model not in (None, served.fingerprint):
            raise ApiError(
                409, f"this server has another reward model: {served.name}, {served.fingerprint}",
                code="model_mismatch", param="model",
            )  # fmt: skip
        if body.num_scored > len(body.steps):
            raise ApiError(
                400, f"num_scored is {body.num_scored}, and there are {len(body.steps)} steps",
                param="num_scored",
            )  # fmt: skip
        if in_flight >= max_requests:
            raise ApiError(
                429, f"{in_flight} requests are being worked on, which is the limit", retry_after_s=1,
                kind="rate_limit_error", code="rate_limit_exceeded",
            )  # fmt: skip
        in_flight += 1
        try:
            return JSONResponse(await unless_gone(_scored(scorer, body, metrics), request.receive))
        finally:
            in_flight -= 1

    @app.get("/model")
    async def model() -> dict[str, Any]:
        return card

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "requests": in_flight}

    @app.get("/metrics")
    async def metrics_text() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


async def _scored(scorer: StepScorer, body: ScoreRequest, metrics: ScoringMetrics) -> dict[str, Any]:
    """The reply. Raises ApiError."""
    steps = [Step(text, (), 0.0, Stop.STEP, 0) for text in body.steps]
    try:
        with metered() as spent:
            scores = await scorer.score(Problem(ID, body.question), steps, num_scored=body.num_scored)
    except SearchError as error:
        raise _refusal(error) from error
    metrics.scores.inc(len(scores))
    usage = {"prm_tokens": spent.prm_tokens, "prm_tokens_cached": spent.prm_tokens_cached}
    for kind, amount in usage.items():
        metrics.tokens.labels(kind).inc(amount)
    return {"scores": [_as_json(score) for score in scores], "usage": usage}


def _as_json(score: StepScore) -> dict[str, float]:
    return {**asdict(score), "logit": score.logit}


def _refusal(error: SearchError) -> ApiError:
    """What scoring these steps fails with again and again is the request's; a failing engine is the server's,
    and the client may try elsewhere.
    """
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, ContextError):
        return ApiError(400, str(error), code="context_length_exceeded")
    if isinstance(error, ScorerError) and error.__cause__ is not None:
        return ApiError(500, message, kind="server_error")
    return ApiError(422, message, code="not_scored")
