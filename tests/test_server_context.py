"""Prompts that leave a server too little room, sent as text: noticed before the server refuses them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from bench.runner.cli import serve
from bench.runner.models import load_policy, load_run
from bench.runner.request import Run
from bench.runner.resolve import resolve_policy
from bench.runner.specs import PolicySpec
from bench.tasks.builtin import Builtin
from search.errors import ContextError
from search.limits import metered
from search.policies.openai_client import OpenAIPolicy
from search.policies.prompt_lengths import PromptLengths
from search.types import Problem, Step, Stop, Until
from tests.fake_servers import (
    DIALECTS,
    TOKENIZER,
    Fake,
    Handler,
    client_environment,
    policy_of,
    serving,
    step,
)
from tests.resumed import validated

PROMPT = "Q: pies?\n"
TEXT_DIALECTS = [name for name, dialect in DIALECTS.items() if not dialect.token_ids]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    client_environment(monkeypatch)


@pytest.fixture(autouse=True)
def refusals(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Servers hold their context as real ones do, and count prompts. Holds the prompts they refused."""
    refused: list[str] = []
    complete, event = Fake.completion, Handler.event

    def counted(fake: Fake, body: dict[str, Any]) -> dict[str, Any]:
        made = complete(fake, body)
        if "usage" in made:
            made["usage"]["prompt_tokens"] = taken(body)
        return made

    def taken(body: dict[str, Any]) -> int:
        prompt = body["prompt"]
        return len(prompt) if isinstance(prompt, list) else len(TOKENIZER.encode(prompt).ids)

    def reply(handler: Handler, status: int, content: str, headers: dict[str, str] | None = None) -> None:
        context = handler.fake.listing["data"][0].get("max_model_len") if handler.fake.listing else None
        body = handler.fake.requests[-1] if handler.fake.requests and handler.command == "POST" else None
        if body is not None and context is not None and taken(body) + body["max_tokens"] > context:
            refused.append(body["prompt"])
            message = f"This model's maximum context length is {context} tokens."
            status, content = 400, json.dumps({"error": {"message": message}})
        send(handler, status, content, headers)

    def counted_event(handler: Handler, data: dict[str, Any]) -> None:
        if "usage" in data:
            data["usage"]["prompt_tokens"] = taken(handler.fake.requests[-1])
        event(handler, data)

    send = Handler.reply
    monkeypatch.setattr(Handler, "event", counted_event)
    monkeypatch.setattr(Handler, "reply", reply)
    monkeypatch.setattr(Fake, "completion", counted)
    yield refused


@pytest.fixture(scope="module")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER, eos_token="<eos>", bos_token="<bos>")
    tokenizer.save_pretrained(path)
    return str(path)


def listing(context: int) -> dict[str, Any]:
    return {"data": [{"id": "m", "max_model_len": context}]}


@pytest.mark.parametrize("dialect", TEXT_DIALECTS)
@pytest.mark.parametrize("tokenized", [False, True])
async def test_a_step_is_cut_where_the_context_ends(
    dialect: str, tokenized: bool, tokenizer_path: str, refusals: list[str]
) -> None:
    with serving(dialect, listing=listing(len(PROMPT) + 6)) as fake:
        policy = policy_of(fake, tokenizer=tokenizer_path if tokenized else "")
        made = await step(policy)
        assert (made.text, made.stop, made.n_tokens) == ("Ann ha", Stop.LENGTH, 6)
        with pytest.raises(ContextError, match=f"holds {len(PROMPT) + 6}"):
            await step(policy, steps=(replace(made, stop=Stop.STEP),))
        await policy.close()
    assert refusals == []


@pytest.mark.parametrize("dialect", TEXT_DIALECTS)
async def test_later_steps_and_whole_solutions_are_cut_there_too(dialect: str, refusals: list[str]) -> None:
    with serving(dialect, listing=listing(len(PROMPT) + 22)) as fake:
        policy = policy_of(fake)
        first = await step(policy)
        assert first.text == "Ann has 3 pies.\n"  # the tokenizer has ".\n" as one token
        second = await step(policy, steps=(first,))
        assert second.text == "Bob has" and second.stop is Stop.LENGTH
        whole = await policy.propose(
            Problem("p", "pies?"), (), until=Until.END, max_tokens=500, seed=0, temperature=0.0
        )
        assert "".join(s.text for s in whole) == first.text + second.text and whole[-1].stop is Stop.LENGTH
        await policy.close()
    assert refusals == []


async def test_a_prompt_that_fills_the_context_is_not_sent(tokenizer_path: str, refusals: list[str]) -> None:
    with serving("openai", listing=listing(len(PROMPT))) as fake:
        policy = policy_of(fake, tokenizer=tokenizer_path)
        await policy.open()
        before = len(fake.requests)
        with pytest.raises(ContextError, match="take 9 tokens"):
            await step(policy)
        await policy.close()
    assert len(fake.requests) == before and refusals == []


async def test_without_a_tokenizer_a_prompt_is_counted_once_and_charged(refusals: list[str]) -> None:
    with serving("sglang", listing=listing(len(PROMPT) + 40)) as fake:
        policy = policy_of(fake)
        with metered() as spent:
            await asyncio.gather(*(step(policy, seed=seed, temperature=0.8) for seed in range(8)))
        await policy.close()
    counting = [body for body in fake.requests if body["max_tokens"] == 1]
    assert len(counting) == 1 and len(fake.requests) == 9
    assert spent.policy_tokens >= 8 * len("Ann has 3 pies.\n") - 8 + 1
    assert refusals == []


async def test_where_there_is_room_nothing_is_counted(refusals: list[str]) -> None:
    with serving("sglang", listing=listing(2048)) as fake:
        policy = policy_of(fake)
        first = await step(policy)
        await step(policy, steps=(first,))
        await policy.close()
    assert [body["max_tokens"] for body in fake.requests] == [500, 500]


async def test_a_server_that_reports_nothing_decides_itself() -> None:
    bare = replace(DIALECTS["openai"], usage=False)
    with serving(bare, listing=listing(len(PROMPT) + 6)) as fake:
        policy = policy_of(fake)
        for _ in range(2):
            with pytest.raises(ContextError, match="maximum context length"):
                await step(policy)
        await policy.close()
    assert len([body for body in fake.requests if body["max_tokens"] == 1]) == 1


def test_bounds_of_a_length() -> None:
    lengths = PromptLengths()
    assert lengths.fits("abc", 5) and not lengths.fits("abc", 4)
    assert not lengths.fits("ab¢", 5), "bytes, not characters"
    lengths.note("abc", 1)
    assert lengths.fits("abc", 1) and lengths.fits("abcdef", 6) and not lengths.fits("abcdef", 5)
    lengths.note("abcde", 2)
    assert lengths.fits("abcdef", 5)


# -- concurrency ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_the_runs_concurrency_bounds_the_requests_in_flight(
    concurrency: int,
) -> None:
    with serving("openai", delay_s=0.05) as fake:
        spec = PolicySpec(name="m", servers=(fake.url,))
        resolved = resolve_policy(spec, Builtin(), [])
        async with load_policy(resolved, concurrency=concurrency) as policy:
            await asyncio.gather(*(_one(policy, n) for n in range(12)))
    assert fake.most_in_flight == concurrency


async def _one(policy: Any, n: int) -> Step:
    [made] = await policy.propose(
        Problem(f"p{n}", "pies?"), (), until=Until.STEP, max_tokens=3, seed=n, temperature=0.0
    )
    return made  # type: ignore[no-any-return]


async def test_concurrency_of_the_command_line_reaches_the_client(here: Path) -> None:
    with serving("openai") as fake:
        words = ["--engine", "server", "--server", fake.url, "--policy", "m", "--strategy", "cot"]
        run = validated([*words, "--concurrency", "300", "--out", str(here / "run")])
        async with load_run(run) as models:
            assert isinstance(models.policy, OpenAIPolicy)
            assert models.policy._servers._concurrency == 300


def test_that_of_a_server_of_searches_reaches_the_client_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def listen(run: Run, *rest: Any) -> int:
        async with load_run(run) as models:
            assert isinstance(models.policy, OpenAIPolicy)
            return models.policy._servers._concurrency

    monkeypatch.setattr(serve, "_listen", listen)
    with serving("openai") as fake:
        words = ["--engine", "server", "--server", fake.url, "--policy", "m", "--strategy", "cot"]
        assert serve.main([*words, "--port", "0", "--concurrency", "300"]) == 300
