"""The routes: OpenAI's API over a `Searcher`."""

from __future__ import annotations

from time import time
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from bench.runner.models import Models
from bench.runner.request import Run
from bench.runner.server.errors import ApiError
from bench.runner.server.guard import BodyLimits, Guard
from bench.runner.server.handlers import add_errors
from bench.runner.server.metrics import Metrics
from bench.runner.server.replies import Reply
from bench.runner.server.schemas import ChatRequest, CompletionRequest, SearchRequest
from bench.runner.server.searching import Searcher, ServerLimits
from bench.runner.server.streaming import Stream, result
from search.limits import CostLimits
from search.params import params
from search.prompts import Conversation


def create_app(
    run: Run, models: Models, *, limits: ServerLimits = ServerLimits(), api_key: str | None = None
) -> FastAPI:
    """The ASGI application. To be used on the event loop that the models were loaded on.

    run: validated, of one strategy, which is the default model. api_key: None takes requests without one.
    """
    metrics = Metrics()
    searcher = Searcher(run, models, limits, metrics.outcome)
    metrics.open_requests.set_function(lambda: searcher.requests)
    metrics.running.set_function(lambda: searcher.searches)
    created = int(time())
    app = FastAPI(title="prm-search", docs_url=None, redoc_url=None)
    app.add_middleware(
        Guard, limits=BodyLimits(limits.body_bytes, limits.body_s), api_key=api_key, metrics=metrics,
        guarded=("/v1/",), counted=("/v1/chat/completions", "/v1/completions", "/v1/models"),
    )  # fmt: skip
    add_errors(app)

    async def complete(body: SearchRequest, problem: Conversation, request: Request) -> Response:
        top_p = run.policy.sampling.top_p
        if body.top_p is not None and body.top_p != top_p:
            raise ApiError(400, f"top_p is fixed at {top_p:g} when the server is started", param="top_p")
        strategy = searcher.strategy(body.model, body.params, temperature=body.temperature)
        searches = searcher.searches_of(
            body.model, strategy, problem, seed=body.seed, n=body.n,
            budget=CostLimits(**body.budget.model_dump()), solution_tokens=body.most_tokens,
            deadline_s=body.deadline_s, began=request.state.arrived,
        )  # fmt: skip
        await searcher.check(problem)
        job = searcher.start(searches)
        reply = Reply(
            searches=searches, trees=job.trees, chat=isinstance(body, ChatRequest), details=body.search,
            usage=body.stream_options is not None and body.stream_options.include_usage,
        )  # fmt: skip
        if body.stream:
            return Stream(job, reply, request.receive)
        return JSONResponse(reply.whole(await result(job, request.receive)))

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Response:
        turns = [(message.role, message.text) for message in body.messages]
        return await complete(body, searcher.chat(turns, body.stop), request)

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        return await complete(body, searcher.text(body.prompt, body.stop), request)

    def model(name: str) -> dict[str, Any]:
        strategy = searcher.strategy(name, {})
        return {
            "id": name, "object": "model", "created": created, "owned_by": "prm-search",
            "policy": run.policy.name, "prm": run.prm_name, "params": params(strategy),
        }  # fmt: skip

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [model(name) for name in searcher.names]}

    @app.get("/v1/models/{name}")
    async def one_model(name: str) -> dict[str, Any]:
        return model(name)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "requests": searcher.requests, "searches": searcher.searches}

    @app.get("/metrics")
    async def metrics_text() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app
