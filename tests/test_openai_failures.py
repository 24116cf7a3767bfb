"""OpenAIPolicy when servers fail: retries, errors, time-outs, several servers, cancelled calls."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest

from search.errors import ContextError, PolicyError
from search.policies import http, openai_client
from search.policies.openai_client import OpenAIPolicy
from search.types import Step
from tests.fake_servers import PROMPT, Failure, client_environment, policy_of, serving, step


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    client_environment(monkeypatch)


def dead_url() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}/v1"


# -- errors and retries ----------------------------------------------------------------------------


async def test_failures_that_may_pass_are_retried() -> None:
    failures: list[Failure] = [(500, {}, "oops"), (429, {}, "busy"), (503, {}, ""), (408, {}, "")]
    with serving("vllm", failures=failures) as fake:
        policy = policy_of(fake)
        assert (await step(policy)).text == "Ann has 3 pies.\n"
        await policy.close()
    assert len(fake.requests) == 5 and all(body == fake.requests[0] for body in fake.requests)


async def test_retry_after_is_honoured() -> None:
    with serving("vllm", failures=[(429, {"Retry-After": "1"}, "busy")]) as fake:
        policy = policy_of(fake)
        began = time.monotonic()
        await step(policy)
        assert 1 <= time.monotonic() - began < 3
        await policy.close()


def test_both_forms_of_retry_after() -> None:
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    assert [http._retry_after_s(h) for h in ("7", "", "soon")] == [7, 0, 0]
    assert 55 < http._retry_after_s(soon) <= 60


async def test_the_back_off_grows_and_derives_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    runs = []
    for seed in (1, 1, 2):
        with serving("vllm", failures=[(503, {}, "")] * 3) as fake:
            policy = policy_of(fake)
            await step(policy, seed=seed)
            await policy.close()
        runs.append(tuple(slept))
        slept.clear()
    assert runs[0] == runs[1] != runs[2]
    assert all(0.005 * 2**n <= s < 0.01 * 2**n for n, s in enumerate(runs[0])) and len(runs[0]) == 3


@pytest.mark.parametrize(
    ("status", "hint"), [(400, "no such sampler"), (401, "OPENAI_API_KEY"), (404, "ends in /v1")]
)
async def test_rejected_requests_are_not_retried(status: int, hint: str) -> None:
    failure: Failure = (status, {}, '{"error": {"message": "no such sampler"}}')
    with serving("vllm", failures=[failure]) as fake:
        policy = policy_of(fake)
        with pytest.raises(PolicyError, match=hint) as caught:
            await step(policy)
        await policy.close()
    assert f"{fake.url}/completions answered {status}: no such sampler" in str(caught.value)
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    "content",
    [
        "<html>welcome</html>", "[]", "null", '"text"', "{}", '{"choices": []}', '{"choices": [{"text": 5}]}',
        '{"choices": [{"text": "a", "finish_reason": "abort"}], "usage": {"completion_tokens": 1}}',
        '{"choices": [{"text": "free", "finish_reason": "stop"}]}',
    ],
)
async def test_a_malformed_reply(content: str) -> None:
    with serving("vllm", failures=[(200, {}, content)]) as fake:
        policy = policy_of(fake)
        with pytest.raises(PolicyError):
            await step(policy)
        await policy.close()


@pytest.mark.parametrize(
    "content",
    ['data: {"choices": [{"te', 'data: {"error": "lost"}\n\n', 'data: {"choices": [{"text": "a"}]}\n\n'],
)
async def test_a_broken_stream(content: str) -> None:
    failure: Failure = (200, {"Content-Type": "text/event-stream"}, content)
    with serving("bare", failures=[failure]) as fake:
        policy = policy_of(fake)
        with pytest.raises(PolicyError):
            await step(policy)
        await policy.close()


async def test_a_slow_server_times_out() -> None:
    with serving("vllm", delay_s=5) as fake:
        policy = policy_of(fake, timeout_s=0.1, retries=1)
        with pytest.raises(PolicyError, match=r"no reply in 2 attempts.*no reply within 0\.1 s"):
            await step(policy)
        assert await asyncio.to_thread(fake.aborted.wait, 5)
        await policy.close()


async def test_all_servers_are_dead() -> None:
    urls = [dead_url(), dead_url()]
    policy = OpenAIPolicy(urls, model="m", prompt=PROMPT, retries=0)
    with pytest.raises(PolicyError) as caught:
        await step(policy)
    assert all(url in str(caught.value) for url in urls)
    await policy.close()


async def test_a_wrong_url_is_reported_soon() -> None:
    policy = OpenAIPolicy([dead_url()], retries=50)
    with pytest.raises(PolicyError, match="no reply in 2 attempts; check that the servers are running"):
        await policy.open()
    await policy.close()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This model's maximum context length is 20 tokens. However, you requested 200 tokens"),
        (400, "the request exceeds the available context size, try increasing it"),
        (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096"),
    ],
)
async def test_a_prompt_longer_than_the_servers_context(status: int, message: str) -> None:
    failure: Failure = (status, {}, json.dumps({"error": {"message": message}}))
    with serving("vllm", failures=[failure]) as fake:
        policy = policy_of(fake)
        with pytest.raises(ContextError, match="use a shorter prompt") as caught:
            await step(policy)
        await policy.close()
    assert message in str(caught.value) and len(fake.requests) == 1


# -- several servers -------------------------------------------------------------------------------


async def test_a_dead_server_is_avoided() -> None:
    with serving("vllm") as fake:
        policy = OpenAIPolicy([dead_url(), fake.url], model="m", prompt=PROMPT, retries=0)
        for number in range(4):
            await step(policy, problem=str(number))
        await policy.close()
    assert len(fake.requests) == 4


async def test_problems_are_assigned_in_turn_and_stay() -> None:
    with serving("vllm") as one, serving("vllm") as two:
        policy = policy_of(one, two)
        for problem in ("a", "b", "c", "a", "a"):
            await step(policy, problem=problem)
        await policy.close()
    assert (len(one.requests), len(two.requests)) == (4, 1)


async def test_questions_of_one_id_are_assigned_in_turn_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "HOMES", 2)
    with serving("vllm") as one, serving("vllm") as two:
        policy = policy_of(one, two)
        for question in ("a", "b", "a", "c", "b", "a"):  # with "c", "a" is forgotten
            await step(policy, question, problem="question")
        await policy.close()
    asked = [[body["prompt"] for body in fake.requests] for fake in (one, two)]
    assert asked == [["Q: a\n", "Q: a\n", "Q: c\n"], ["Q: b\n", "Q: b\n", "Q: a\n"]]


# -- cancelled and concurrent calls ----------------------------------------------------------------


async def test_cancelling_closes_the_request() -> None:
    with serving("vllm", delay_s=20) as fake:
        policy = policy_of(fake)
        task = asyncio.create_task(step(policy))
        while not fake.in_flight:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(fake.aborted.wait, 5)
        await policy.close()


async def test_requests_in_flight_are_bounded() -> None:
    with serving("vllm", delay_s=0.2) as fake:
        policy = policy_of(fake, concurrency=3)
        await asyncio.gather(*(step(policy, seed=seed) for seed in range(12)))
        await policy.close()
    assert 2 <= fake.most_in_flight <= 3


def test_one_event_loop_after_another() -> None:
    with serving("vllm") as fake:
        policy = policy_of(fake)

        async def both(*, close: bool) -> list[Step]:
            steps = await asyncio.gather(step(policy, seed=1), step(policy, seed=2))
            if close:
                await policy.close()
            return list(steps)

        first = asyncio.run(both(close=True))
        assert asyncio.run(both(close=False)) == first == asyncio.run(both(close=True))
