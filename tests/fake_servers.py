"""HTTP servers whose replies depend on the request only, in the dialects of several kinds of server."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from search.policies import http
from search.policies.openai_client import OpenAIPolicy
from search.prompts import Prompt
from search.seeds import derive
from search.types import Problem, Step, Until

PROMPT = Prompt("Q: {question}\n", stop=("\nQ:",))
SOLUTIONS = {
    "pies?": "Ann has 3 pies.\nBob has 4 pies.\n\nThey have 7 pies.\n#### 7",
    "chatty": "It is 7.\n#### 7\nQ: and now?\nIt is 8.\n#### 8",
    "maths": "√9 · 4 = 12 ≤ π³.\nSo 12 ≤ 13.\n#### 12",
    "marked": "Step 1: ab.\nStep 2: cd.\nStep 3: ef.",
    "late": "\nYes.",
    "long": "Yes.\n" + "and on " * 400,
}
Make = Callable[..., OpenAIPolicy]
WORDS = ["pies", "nuts", "figs", "eggs"]  # the seed decides which of them replaces "pies"


def _tokenizer() -> Tokenizer:
    """Bytes and the token ".\\n", so that a stop string may begin inside a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate([*alphabet, ".Ċ", "<eos>", "<bos>"])}
    tokenizer = Tokenizer(models.BPE(vocab, [(".", "Ċ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<eos>", "<bos>"])
    return tokenizer


TOKENIZER = _tokenizer()
EOS = TOKENIZER.encode("<eos>").ids[0]


@dataclass(frozen=True)
class Dialect:
    """What a kind of server accepts and reports."""

    token_ids: bool = False
    stop_field: str = ""  # the field that contains the stop string
    keeps_stop: bool = False
    refuses: tuple[str, ...] = ()
    logprobs: str = ""  # all | cut (without the tokens of the stop string) | content
    stop_finish: str = "stop"
    usage: bool = True


DIALECTS = {
    "vllm": Dialect(token_ids=True, stop_field="stop_reason", keeps_stop=True, logprobs="all"),
    "sglang": Dialect(stop_field="matched_stop", logprobs="cut"),
    "openai": Dialect(refuses=("include_stop_str_in_output", "return_token_ids"), logprobs="all"),
    "llama.cpp": Dialect(logprobs="content"),
    "tgi": Dialect(keeps_stop=True, stop_finish="stop_sequence"),
    "bare": Dialect(),
}


Failure = tuple[int, dict[str, str], str]  # status, headers, content


@dataclass
class Fake:
    """A server's behaviour, and the requests that it has received."""

    dialect: Dialect
    failures: list[Failure] = field(default_factory=list)
    listing: Any = None
    delay_s: float = 0.0
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)  # their bodies
    headers: list[dict[str, str]] = field(default_factory=list)
    aborted: threading.Event = field(default_factory=threading.Event)
    in_flight: int = 0
    most_in_flight: int = 0

    def sample(self, body: dict[str, Any]) -> tuple[list[int], str, str]:
        """Token ids, the finish reason, and the stop string; "" if none was reached."""
        prompt = body["prompt"]
        text = TOKENIZER.decode(prompt) if isinstance(prompt, list) else prompt
        question, _, so_far = text.removeprefix("Q: ").partition("\n")
        rest = SOLUTIONS.get(question, "one two three")[len(so_far):]
        if body.get("temperature"):
            rest = rest.replace("pies", WORDS[derive(body.get("seed", time.time_ns()), so_far) % len(WORDS)])
        encoded = TOKENIZER.encode(rest)
        for n_tokens, (_, end) in enumerate(encoded.offsets[: body["max_tokens"]], start=1):
            for stop in body.get("stop", ()):
                if stop in rest[:end]:
                    return encoded.ids[:n_tokens], self.dialect.stop_finish, stop
        if len(encoded.ids) < body["max_tokens"]:
            return [*encoded.ids, EOS], "stop", ""
        return encoded.ids[: body["max_tokens"]], "length", ""

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        d = self.dialect
        ids, finish, matched = self.sample(body)
        text = TOKENIZER.decode(ids)
        if matched:
            kept = d.keeps_stop and (body.get("include_stop_str_in_output") or d.stop_finish != "stop")
            text = text[: text.index(matched) + (len(matched) if kept else 0)]
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
        tokens = [TOKENIZER.decode([token], skip_special_tokens=False) for token in ids]
        if d.logprobs in ("cut", "content"):
            while tokens and len("".join(tokens)) > len(text):
                tokens.pop()
        if d.logprobs == "content":
            choice["logprobs"] = {"content": [{"token": token, "logprob": -0.5} for token in tokens]}
        elif d.logprobs:
            choice["logprobs"] = {"tokens": tokens, "token_logprobs": [-0.5] * len(tokens), "text_offset": []}
        if d.stop_field:
            choice[d.stop_field] = matched or None
        if d.token_ids and body.get("return_token_ids"):
            choice["token_ids"] = ids
        completion: dict[str, Any] = {"object": "text_completion", "choices": [choice]}
        if d.usage:
            n_prompt = len(body["prompt"]) if isinstance(body["prompt"], list) else 10
            details = {"cached_tokens": n_prompt // 2} if d.token_ids else None
            completion["usage"] = {
                "prompt_tokens": n_prompt,
                "completion_tokens": len(ids),
                "prompt_tokens_details": details,
            }
        return completion


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: Fake

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, *args: object) -> None:
        pass

    def reply(self, status: int, content: str, headers: dict[str, str] | None = None) -> None:
        data = content.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.fake.listing is None:
            self.reply(404, '{"error": {"message": "no such page"}}')
        else:
            self.reply(200, json.dumps(self.fake.listing))

    def do_POST(self) -> None:
        fake = self.fake
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fake.headers.append(dict(self.headers))
        fake.in_flight += 1
        fake.most_in_flight = max(fake.most_in_flight, fake.in_flight)
        try:
            if fake.delay_s:
                self.wait(fake.delay_s)
            fake.requests.append(body)
            if fake.failures:
                status, headers, content = fake.failures.pop(0)
                return self.reply(status, content, headers)
            if unknown := [name for name in fake.dialect.refuses if name in body]:
                message = f"Unrecognized request arguments supplied: {', '.join(unknown)}"
                return self.reply(400, json.dumps({"error": {"message": message}}))
            if body.get("stream"):
                return self.stream(body)
            self.reply(200, json.dumps(fake.completion(body)), {"Content-Type": "application/json"})
        except ConnectionError:
            fake.aborted.set()
            self.close_connection = True
        finally:
            fake.in_flight -= 1

    def wait(self, seconds: float) -> None:
        """Sleep; raise ConnectionResetError if the client disconnects."""
        self.connection.settimeout(seconds)
        try:
            if self.connection.recv(1, socket.MSG_PEEK) == b"":
                raise ConnectionResetError
        except TimeoutError:
            self.connection.settimeout(None)

    def stream(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        ids, finish, matched = self.fake.sample(body)
        assert not matched
        stream = decoders.DecodeStream(skip_special_tokens=True)
        for token in ids:
            text = stream.step(TOKENIZER, token) or ""
            choice: dict[str, Any] = {"text": text, "finish_reason": None, "logprobs": None}
            if self.fake.dialect.logprobs == "content":
                choice["logprobs"] = {"content": [{"token": text, "logprob": -0.5}]}
            self.event({"choices": [choice]})
            time.sleep(0.002 if len(ids) > 1000 else 0)
        self.event({"choices": [{"text": "", "finish_reason": finish}]})
        if body.get("stream_options"):
            self.event({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": len(ids)}})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def event(self, data: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")
        self.wfile.flush()


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer requests in threads for as long as the block lasts; yields the URL, without a path."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving(dialect: str | Dialect = "vllm", **settings: Any) -> Iterator[Fake]:
    """Run a server in a thread for as long as the block lasts. settings: fields of `Fake`."""
    fake = Fake(DIALECTS[dialect] if isinstance(dialect, str) else dialect, **settings)
    with listening(type("BoundHandler", (Handler,), {"fake": fake})) as url:
        fake.url = f"{url}/v1"
        yield fake


# -- policies on these servers ---------------------------------------------------------------------


def client_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no API key from the user's environment, and short pauses between retries."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(http, "_BACKOFF_S", 0.01)


def policy_of(*fakes: Fake, model: str = "m", prompt: Prompt = PROMPT, **settings: Any) -> OpenAIPolicy:
    return OpenAIPolicy([fake.url for fake in fakes], model=model, prompt=prompt, **settings)


async def step(
    policy: OpenAIPolicy, question: str = "pies?", steps: tuple[Step, ...] = (), *, seed: int = 0,
    temperature: float = 0.0, max_tokens: int = 500, problem: str = "p",
) -> Step:
    [new] = await policy.propose(
        Problem(problem, question), steps, until=Until.STEP, max_tokens=max_tokens, seed=seed,
        temperature=temperature,
    )
    return new
