"""The server with the built-in models on transformers."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from bench.runner.models import load_run
from bench.runner.request import RunRequest
from bench.runner.server.app import create_app
from bench.runner.specs import PolicySpec
from search.strategies.hgs import HGS

QUESTION = "Ann has 5 coins. Ben owns 3 more coins than Ann. How many coins does Ben have?"


@pytest.mark.slow
async def test_the_built_in_models_answer_alone_and_together() -> None:
    request = RunRequest(strategies={"hgs": HGS()}, question=QUESTION, policy=PolicySpec(engine="hf"))
    run = request.validate()
    async with load_run(run) as models:
        transport = httpx.ASGITransport(create_app(run, models))
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:

            async def ask(content: str, **more: Any) -> httpx.Response:
                body = {"messages": [{"role": "user", "content": content}], **more}
                return await client.post("/v1/chat/completions", json=body)

            alone = (await ask(QUESTION, seed=1)).json()
            text = alone["choices"][0]["message"]["content"]
            assert text.endswith("The answer is 8.") and alone["choices"][0]["finish_reason"] == "stop"
            others = [ask(QUESTION.replace("5", str(n)), seed=n) for n in range(2, 5)]
            among, *_ = await asyncio.gather(ask(QUESTION, seed=1), *others)
            assert among.json()["choices"] == alone["choices"]
            cut = (await ask(QUESTION, seed=1, stop="so Ben")).json()["choices"][0]["message"]["content"]
            assert text.startswith(cut) and "so Ben" not in cut and cut
            turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
            reply = await ask("", messages=[*turns, {"role": "user", "content": QUESTION}])
            assert reply.status_code == 400 and "leaves out the user message" in reply.text
