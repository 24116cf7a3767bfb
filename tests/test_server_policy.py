"""The server policy against real HTTP servers that answer by what is asked, in several dialects."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from search.errors import ContextError, PolicyError, UsageError
from search.limits import metered
from search.policies import http
from search.policies.openai_client import ServerPolicy
from search.policies.stepping import Sampling
from search.prompts import Prompt
from search.segment import SEGMENTERS
from search.types import Problem, Step, Stop, Until
from tests.fake_servers import DIALECTS, PROMPT, SOLUTIONS, TOKENIZER, Failure, Fake, Make, serving


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(http, "_BACKOFF_S", 0.01)


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER, eos_token="<eos>", bos_token="<bos>")
    tokenizer.chat_template = "Q: {{ messages[-1]['content'] }}"
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(params=[*DIALECTS, "vllm, tokens"])
def dialect_policy(request: pytest.FixtureRequest, tokenizer_path: str) -> Iterator[Make]:
    """Makes policies on one server of each dialect."""
    dialect, _, tokens = str(request.param).partition(", ")
    with serving(dialect) as fake:
        yield lambda **settings: policy_of(fake, tokenizer=tokenizer_path if tokens else "", **settings)


def policy_of(*fakes: Fake, model: str = "m", prompt: Prompt = PROMPT, **settings: Any) -> ServerPolicy:
    return ServerPolicy([fake.url for fake in fakes], model=model, prompt=prompt, **settings)


def dead_url() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}/v1"


async def step(
    policy: ServerPolicy, question: str = "pies?", steps: tuple[Step, ...] = (), *, seed: int = 0,
    temperature: float = 0.0, max_tokens: int = 500, problem: str = "p",
) -> Step:
    [made] = await policy.propose(
        Problem(problem, question), steps, until=Until.STEP, max_tokens=max_tokens, seed=seed,
        temperature=temperature,
    )
    return made


async def stepping(policy: ServerPolicy, question: str, **how: Any) -> list[Step]:
    steps: list[Step] = []
    while not steps or steps[-1].stop is Stop.STEP:
        steps.append(await step(policy, question, tuple(steps), **how))
    return steps


async def whole(policy: ServerPolicy, question: str) -> list[Step]:
    return await policy.propose(
        Problem("p", question), (), until=Until.END, max_tokens=500, seed=0, temperature=0.0
    )


def text(steps: list[Step]) -> str:
    return "".join(step.text for step in steps)


# Every dialect.


async def test_stepping_says_what_one_decode_says(dialect_policy: Make) -> None:
    policy = dialect_policy()
    for question in ("pies?", "maths"):
        stepped, at_once = await stepping(policy, question), await whole(policy, question)
        assert text(stepped) == text(at_once) == SOLUTIONS[question]
        assert [s.text for s in stepped] == SEGMENTERS["newline"].split(SOLUTIONS[question])
        assert [s.stop for s in stepped] == [Stop.STEP] * (len(stepped) - 1) + [Stop.END]
        assert [s.stop for s in at_once][-1] is Stop.END
    await policy.close()


async def test_all_tokens_are_counted(dialect_policy: Make) -> None:
    policy = dialect_policy()
    await stepping(policy, "pies?")  # a server that does not say why it stopped is known after this
    n_tokens = len(TOKENIZER.encode(SOLUTIONS["pies?"]).ids)
    for steps in (await stepping(policy, "pies?"), await whole(policy, "pies?")):
        assert n_tokens <= sum(s.n_tokens for s in steps) <= n_tokens + 3
    await policy.close()


async def test_a_prompts_stop_string_ends_the_solution(dialect_policy: Make) -> None:
    policy = dialect_policy()
    for steps in (await whole(policy, "chatty"), await stepping(policy, "chatty")):
        assert text(steps).rstrip("\n") == "It is 7.\n#### 7"
        assert steps[-1].stop is Stop.END
    await policy.close()


async def test_markers_that_begin_the_next_step(dialect_policy: Make) -> None:
    policy = dialect_policy(segmenter=SEGMENTERS["step_marker"])
    steps = await stepping(policy, "marked")
    assert [s.text for s in steps] == ["Step 1: ab.\n", "Step 2: cd.\n", "Step 3: ef."]
    await policy.close()


async def test_a_cut_is_no_end(dialect_policy: Make) -> None:
    policy = dialect_policy()
    cut = await step(policy, max_tokens=6)
    assert (cut.text, cut.stop, cut.n_tokens) == ("Ann ha", Stop.LENGTH, 6)
    await policy.close()


async def test_same_seed_same_sample_whatever_is_in_flight(dialect_policy: Make) -> None:
    policy = dialect_policy()
    alone = [await step(policy, seed=seed, temperature=0.8) for seed in range(6)]
    gather = await asyncio.gather(*(step(policy, seed=seed, temperature=0.8) for seed in range(6)))
    assert alone == gather
    assert len({s.text for s in alone}) > 1
    await policy.close()


# What goes over the wire.


async def test_prefixes_travel_as_token_ids(tokenizer_path: str) -> None:
    with serving("vllm") as fake:
        policy = policy_of(fake, tokenizer=tokenizer_path)
        first = await step(policy)
        second = await step(policy, steps=(first,))
        await policy.close()
    prompt = TOKENIZER.encode("Q: pies?\n").ids
    assert [body["prompt"] for body in fake.asked[1:]] == [prompt, [*prompt, *first.token_ids]]
    assert TOKENIZER.decode([*first.token_ids, *second.token_ids]) == "Ann has 3 pies.\nBob has 4 pies.\n"
    assert first.logprob == pytest.approx(-0.5 * len(first.token_ids))


async def test_token_ids_need_a_server_that_shows_them(tokenizer_path: str) -> None:
    for dialect in ("openai", "llama.cpp"):
        with serving(dialect) as fake:
            policy = policy_of(fake, tokenizer=tokenizer_path, prompt=Prompt("{question}\n", chat=True))
            steps = await stepping(policy, "pies?")
            await policy.close()
        assert text(steps) == SOLUTIONS["pies?"]
        assert all(isinstance(body["prompt"], str) for body in fake.asked[3:])
        assert not any(s.token_ids for s in steps)


async def test_a_refused_field_is_left_out_from_then_on() -> None:
    with serving("openai") as fake:
        policy = policy_of(fake)
        first = await step(policy)
        await step(policy, steps=(first,))
        await policy.close()
    assert ["include_stop_str_in_output" in body for body in fake.asked] == [True, False, False]


async def test_logprobs_are_those_of_the_tokens() -> None:
    for dialect in ("vllm", "sglang", "openai", "llama.cpp"):
        with serving(dialect) as fake:
            policy = policy_of(fake)
            made = await step(policy)
            await policy.close()
        n_shown = made.n_tokens - (dialect == "sglang")  # it does not show the token of the stop string
        assert made.logprob == pytest.approx(-0.5 * n_shown), dialect


async def test_a_server_that_does_not_say_why_is_streamed_from() -> None:
    with serving("bare") as fake:
        policy = policy_of(fake)
        with metered() as spent:
            made = await step(policy, "long")
        assert await asyncio.to_thread(fake.aborted.wait, 5)  # the request was closed at the stop string
        assert (made.text, made.stop) == ("Yes.\n", Stop.STEP)
        assert spent.policy_tokens >= 2 * made.n_tokens  # also the sample that could not be used
        await step(policy, steps=(await step(policy),))
        await policy.close()
    assert [bool(body.get("stream")) for body in fake.asked] == [False, True, True, True]
    assert not any("stop" in body for body in fake.asked[1:])


async def test_prompt_tokens_are_charged_by_whether_they_were_cached(tokenizer_path: str) -> None:
    with serving("vllm") as fake:
        policy = policy_of(fake, tokenizer=tokenizer_path)
        await policy.connect()
        with metered() as spent:
            one = await step(policy)
        await policy.close()
    n_prompt = len(TOKENIZER.encode("Q: pies?\n").ids)
    assert (spent.prompt_tokens, spent.prompt_tokens_cached) == (n_prompt - n_prompt // 2, n_prompt // 2)
    assert spent.policy_tokens >= one.n_tokens > 0


async def test_sampling_parameters() -> None:
    with serving("vllm") as fake:
        policy = policy_of(fake, sampling=Sampling(top_p=0.9))
        await step(policy, seed=5, temperature=0.7)
        await step(policy, seed=5, temperature=0.0)
        await policy.close()
        unseeded = policy_of(fake, seeded=False)
        await step(unseeded, seed=5, temperature=0.7)
        await unseeded.close()
    sampled, greedy, free = fake.asked
    assert (sampled["temperature"], sampled["top_p"], sampled["seed"]) == (0.7, 0.9, 5)
    assert (greedy["temperature"], greedy["top_p"]) == (0.0, 1.0)
    assert "seed" not in greedy and "seed" not in free
    assert sampled["stop"][0] == "\n" and sampled["model"] == "m"


async def test_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("vllm") as fake:
        monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
        for policy in (policy_of(fake), policy_of(fake, api_key="given")):
            await step(policy)
            await policy.close()
    assert [h["Authorization"] for h in fake.headers] == ["Bearer from-environment", "Bearer given"]


# Which model, what context.


async def test_the_server_names_its_model_and_its_context(tokenizer_path: str) -> None:
    with serving("vllm", listing={"data": [{"id": "tiny", "max_model_len": 12}]}) as fake:
        policy = policy_of(fake, model="", tokenizer=tokenizer_path)
        made = await step(policy)
        assert (made.n_tokens, made.stop) == (12 - len("Q: pies?\n"), Stop.LENGTH)
        with pytest.raises(ContextError, match="context holds 12"):
            await step(policy, "a longer question")
        await policy.close()
    assert {body["model"] for body in fake.asked} == {"tiny"}


async def test_one_of_several_models_must_be_named() -> None:
    with serving("vllm", listing={"data": [{"id": "a"}, {"id": "b"}]}) as fake:
        with pytest.raises(UsageError, match="2 models, name one: a, b"):
            await policy_of(fake, model="").connect()
        await policy_of(fake, model="b").connect()


async def test_a_server_without_a_list_needs_a_model() -> None:
    with serving("vllm") as fake, pytest.raises(PolicyError, match="404"):
        await policy_of(fake, model="").connect()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This model's maximum context length is 20 tokens. However, you requested 200 tokens"),
        (400, "the request exceeds the available context size, try increasing it"),
        (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096"),
    ],
)
async def test_too_long_for_the_server(status: int, message: str) -> None:
    failure: Failure = (status, {}, json.dumps({"error": {"message": message}}))
    with serving("vllm", failures=[failure]) as fake:
        policy = policy_of(fake)
        with pytest.raises(ContextError, match="use a shorter prompt") as caught:
            await step(policy)
        await policy.close()
    assert message in str(caught.value) and len(fake.asked) == 1


# Failures.


async def test_what_may_pass_is_asked_again() -> None:
    failures: list[Failure] = [(500, {}, "oops"), (429, {}, "busy"), (503, {}, ""), (408, {}, "")]
    with serving("vllm", failures=failures) as fake:
        policy = policy_of(fake)
        assert (await step(policy)).text == "Ann has 3 pies.\n"
        await policy.close()
    assert len(fake.asked) == 5 and all(body == fake.asked[0] for body in fake.asked)


async def test_retry_after_is_honoured() -> None:
    with serving("vllm", failures=[(429, {"Retry-After": "1"}, "busy")]) as fake:
        policy = policy_of(fake)
        began = time.monotonic()
        await step(policy)
        assert 1 <= time.monotonic() - began < 3
        await policy.close()


def test_retry_after_in_its_forms() -> None:
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    assert [http._retry_after_s(h) for h in ("7", "", "soon")] == [7, 0, 0]
    assert 55 < http._retry_after_s(soon) <= 60


async def test_back_off_grows_and_derives_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
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
async def test_what_will_not_pass_is_not_asked_again(status: int, hint: str) -> None:
    failure: Failure = (status, {}, '{"error": {"message": "no such sampler"}}')
    with serving("vllm", failures=[failure]) as fake:
        policy = policy_of(fake)
        with pytest.raises(PolicyError, match=hint) as caught:
            await step(policy)
        await policy.close()
    assert f"{fake.url}/completions answered {status}: no such sampler" in str(caught.value)
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    "content",
    [
        "<html>welcome</html>", "[]", "null", '"text"', "{}", '{"choices": []}', '{"choices": [{"text": 5}]}',
        '{"choices": [{"text": "a", "finish_reason": "abort"}], "usage": {"completion_tokens": 1}}',
        '{"choices": [{"text": "free", "finish_reason": "stop"}]}',
    ],
)
async def test_an_answer_that_is_none(content: str) -> None:
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
        with pytest.raises(PolicyError, match=r"no answer in 2 attempts.*no answer within 0\.1 s"):
            await step(policy)
        assert await asyncio.to_thread(fake.aborted.wait, 5)
        await policy.close()


async def test_all_servers_dead() -> None:
    urls = [dead_url(), dead_url()]
    policy = ServerPolicy(urls, model="m", prompt=PROMPT, retries=0)
    with pytest.raises(PolicyError) as caught:
        await step(policy)
    assert all(url in str(caught.value) for url in urls)
    await policy.close()


async def test_a_wrong_url_does_not_take_long_to_tell() -> None:
    policy = ServerPolicy([dead_url()], retries=50)
    with pytest.raises(PolicyError, match="no answer in 2 attempts, see that the servers are up"):
        await policy.connect()
    await policy.close()


async def test_a_dead_server_is_left_alone() -> None:
    with serving("vllm") as fake:
        policy = ServerPolicy([dead_url(), fake.url], model="m", prompt=PROMPT, retries=0)
        for number in range(4):
            await step(policy, problem=str(number))
        await policy.close()
    assert len(fake.asked) == 4


async def test_problems_are_dealt_in_turn_and_stay() -> None:
    with serving("vllm") as one, serving("vllm") as two:
        policy = policy_of(one, two)
        for problem in ("a", "b", "c", "a", "a"):
            await step(policy, problem=problem)
        await policy.close()
    assert (len(one.asked), len(two.asked)) == (4, 1)


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


# What is refused before anything is asked.


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"urls": []}, "no server"),
        ({"urls": ["localhost:8000"]}, "no server's URL"),
        ({"urls": "http://x"}, "no server's URL"),
        ({"urls": ["http://x:port"]}, "no URL"),
        ({"urls": ["http://x"], "prompt": Prompt("{question}", chat=True)}, "pass tokenizer"),
    ],
)
def test_bad_settings(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        ServerPolicy(**settings)


def test_no_such_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot load the tokenizer"):
        ServerPolicy(["http://x"], tokenizer=str(tmp_path))


def test_base_urls() -> None:
    urls = ["http://x:1", "http://x:1/", "https://x/v1/", "https://x/api/v3"]
    expected = ["http://x:1/v1", "http://x:1/v1", "https://x/v1", "https://x/api/v3"]
    assert [http.base_url(url) for url in urls] == expected
