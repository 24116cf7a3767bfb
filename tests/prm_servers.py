"""Servers of reward models, on threads of their own: ours, and fakes of vLLM's."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import uvicorn

from bench.runner.server.guard import BodyLimits
from bench.runner.server.scoring_app import create_scoring_app
from prm.reading.layout import Layout
from prm.scoring.served import API_KEY, ServedPRM
from search.types import StepScorer
from tests import fake_servers
from tests.fake_servers import listening

CARD = ServedPRM(
    urls=(), kind="prm.serve", name="world", fingerprint="f" * 32, layout=Layout(), run_as="hf float32",
    context=512, parameters=1000,
)  # fmt: skip


def client_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of policies' servers, without the key of reward models' either."""
    fake_servers.client_environment(monkeypatch)
    monkeypatch.delenv(API_KEY, raising=False)


@dataclass
class PRMServer:
    """Ours, which can be killed and started again on the same port.

    scorer: anything that scores; it is used on the server's own loop. options: of `create_scoring_app`.
    """

    scorer: StepScorer
    served: ServedPRM = CARD
    options: dict[str, Any] = field(default_factory=dict)
    port: int = 0
    _server: uvicorn.Server | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        app = create_scoring_app(self.served, self.scorer, **self.options)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close all connections at once, as a kill does."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join(20)


@contextmanager
def serving_prm(
    scorer: StepScorer, served: ServedPRM = CARD, *, limits: BodyLimits = BodyLimits(), **options: Any
) -> Iterator[PRMServer]:
    server = PRMServer(scorer, served, {"limits": limits, **options})
    server.start()
    try:
        yield server
    finally:
        server.stop()


def described(*servers: PRMServer) -> ServedPRM:
    """What `find_served` finds there."""
    return replace(servers[0].served, urls=tuple(server.url for server in servers))


# -- vLLM's ----------------------------------------------------------------------------------------


@dataclass
class FakeVLLM:
    """vLLM's server as it is in 0.32: one pooling task, /v1/models, /pooling, and /classify for that task.

    task: that it was started for. probabilities: of a prompt, after each token, [len(ids)][labels].
    step_tag_id: rows after these tokens only. breaks: paths that answer 500, so many times.
    requests: (path, body) of those that were answered.
    """

    probabilities: Any
    task: str = "token_classify"
    model: str = "prm"
    root: str = "org/prm"
    max_model_len: int = 512
    step_tag_id: int | None = None
    breaks: int = 0
    url: str = ""
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.breaks:
            self.breaks -= 1
            return 500, _error(500, "EngineCore encountered an issue")
        if body.get("model") != self.model:
            return 404, _error(404, f"The model `{body.get('model')}` does not exist.")
        self.requests.append((path, body))
        prompts = body["input"] if isinstance(body["input"][0], list) else [body["input"]]
        if max(map(len, prompts)) > self.max_model_len:
            message = f"This model's maximum context length is {self.max_model_len} tokens."
            return 400, _error(400, message)
        if path == "/pooling":
            return self._pooling(body, prompts)
        if path == "/classify" and self.task == "classify":
            return self._classify(prompts)
        return 404, {"detail": "Not Found"}

    def _pooling(self, body: dict[str, Any], prompts: Sequence[list[int]]) -> tuple[int, dict[str, Any]]:
        if body.get("task") not in (None, self.task):
            message = f"Try switching the model's pooling_task via --pooler-config.task {body['task']}."
            return 400, _error(400, message)
        data = []
        for index, ids in enumerate(prompts):
            rows = self.probabilities(ids)
            if self.step_tag_id is not None:
                rows = [row for row, token in zip(rows, ids, strict=True) if token == self.step_tag_id]
            data.append({"index": index, "object": "pooling", "data": rows})
        return 200, {"object": "list", "model": self.model, "data": data, "usage": _usage(prompts)}

    def _classify(self, prompts: Sequence[list[int]]) -> tuple[int, dict[str, Any]]:
        data = []
        for index, ids in enumerate(prompts):
            probs = self.probabilities(ids)[-1]
            best = probs.index(max(probs))
            data.append({"index": index, "label": f"LABEL_{best}", "probs": probs, "num_classes": len(probs)})
        return 200, {"object": "list", "model": self.model, "data": data, "usage": _usage(prompts)}

    def listing(self) -> dict[str, Any]:
        card = {"id": self.model, "object": "model", "owned_by": "vllm", "root": self.root,
                "max_model_len": self.max_model_len}  # fmt: skip
        return {"object": "list", "data": [card]}


def _usage(prompts: Sequence[list[int]]) -> dict[str, Any]:
    tokens = sum(map(len, prompts))
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0,
            "prompt_tokens_details": None}  # fmt: skip


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}


@contextmanager
def serving_vllm(fake: FakeVLLM) -> Iterator[FakeVLLM]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def reply(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            listed = self.path == "/v1/models"
            self.reply(*((200, fake.listing()) if listed else (404, {"detail": "Not Found"})))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(*fake.answer(self.path, body))

    with listening(Handler) as fake.url:
        yield fake
