"""OpenAIPolicy against HTTP servers in several dialects: samples, requests, models, settings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from search.errors import ContextError, PolicyError, UsageError
from search.limits import metered
from search.policies import http
from search.policies.openai_client import OpenAIPolicy
from search.policies.stepping import Sampling
from search.prompts import Prompt
from search.segment import SEGMENTERS
from search.types import Problem, Step, Stop, Until
from tests.fake_servers import (
    DIALECTS,
    SOLUTIONS,
    TOKENIZER,
    Make,
    client_environment,
    policy_of,
    serving,
    step,
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    client_environment(monkeypatch)


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER, eos_token="<eos>", bos_token="<bos>")
    tokenizer.chat_template = "Q: {{ messages[-1]['content'] }}"
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(params=[*DIALECTS, "vllm, tokens"])
def dialect_policy(request: pytest.FixtureRequest, tokenizer_path: str) -> Iterator[Make]:
    """Creates policies on a server of each dialect."""
    dialect, _, tokens = str(request.param).partition(", ")
    with serving(dialect) as fake:
        yield lambda **settings: policy_of(fake, tokenizer=tokenizer_path if tokens else "", **settings)


async def stepping(policy: OpenAIPolicy, question: str, **how: Any) -> list[Step]:
    steps: list[Step] = []
    while not steps or steps[-1].stop is Stop.STEP:
        steps.append(await step(policy, question, tuple(steps), **how))
    return steps


async def whole(policy: OpenAIPolicy, question: str) -> list[Step]:
    return await policy.propose(
        Problem("p", question), (), until=Until.END, max_tokens=500, seed=0, temperature=0.0
    )


def text(steps: list[Step]) -> str:
    return "".join(step.text for step in steps)


# -- every dialect ---------------------------------------------------------------------------------


async def test_stepping_gives_the_text_of_one_decode(dialect_policy: Make) -> None:
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
    await stepping(policy, "pies?")  # after this, the policy knows whether it has to stream
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


async def test_steps_that_begin_with_a_marker(dialect_policy: Make) -> None:
    policy = dialect_policy(segmenter=SEGMENTERS["step_marker"])
    steps = await stepping(policy, "marked")
    assert [s.text for s in steps] == ["Step 1: ab.\n", "Step 2: cd.\n", "Step 3: ef."]
    await policy.close()


async def test_a_step_cut_at_max_tokens(dialect_policy: Make) -> None:
    policy = dialect_policy()
    cut = await step(policy, max_tokens=6)
    assert (cut.text, cut.stop, cut.n_tokens) == ("Ann ha", Stop.LENGTH, 6)
    await policy.close()


async def test_the_same_seed_gives_the_same_sample_whatever_is_in_flight(dialect_policy: Make) -> None:
    policy = dialect_policy()
    alone = [await step(policy, seed=seed, temperature=0.8) for seed in range(6)]
    together = await asyncio.gather(*(step(policy, seed=seed, temperature=0.8) for seed in range(6)))
    assert alone == together
    assert len({s.text for s in alone}) > 1
    await policy.close()


# -- requests --------------------------------------------------------------------------------------


async def test_prefixes_are_sent_as_token_ids(tokenizer_path: str) -> None:
    with serving("vllm") as fake:
        policy = policy_of(fake, tokenizer=tokenizer_path)
        first = await step(policy)
        second = await step(policy, steps=(first,))
        await policy.close()
    prompt = TOKENIZER.encode("Q: pies?\n").ids
    assert [body["prompt"] for body in fake.requests[1:]] == [prompt, [*prompt, *first.token_ids]]
    assert TOKENIZER.decode([*first.token_ids, *second.token_ids]) == "Ann has 3 pies.\nBob has 4 pies.\n"
    assert first.logprob == pytest.approx(-0.5 * len(first.token_ids))


async def test_prefixes_are_sent_as_text_if_the_server_returns_no_token_ids(tokenizer_path: str) -> None:
    for dialect in ("openai", "llama.cpp"):
        with serving(dialect) as fake:
            policy = policy_of(fake, tokenizer=tokenizer_path, prompt=Prompt("{question}\n", chat=True))
            steps = await stepping(policy, "pies?")
            await policy.close()
        assert text(steps) == SOLUTIONS["pies?"]
        assert all(isinstance(body["prompt"], str) for body in fake.requests[3:])
        assert not any(s.token_ids for s in steps)


async def test_a_field_that_a_server_rejects_is_not_sent_again() -> None:
    with serving("openai") as fake:
        policy = policy_of(fake)
        first = await step(policy)
        await step(policy, steps=(first,))
        await policy.close()
    assert ["include_stop_str_in_output" in body for body in fake.requests] == [True, False, False]


async def test_logprobs_are_summed_over_tokens() -> None:
    for dialect in ("vllm", "sglang", "openai", "llama.cpp"):
        with serving(dialect) as fake:
            policy = policy_of(fake)
            made = await step(policy)
            await policy.close()
        n_shown = made.n_tokens - (dialect == "sglang")  # it does not report the token of the stop string
        assert made.logprob == pytest.approx(-0.5 * n_shown), dialect


async def test_samples_are_streamed_if_the_server_does_not_report_why_they_stop() -> None:
    with serving("bare") as fake:
        policy = policy_of(fake)
        with metered() as spent:
            made = await step(policy, "long")
        assert await asyncio.to_thread(fake.aborted.wait, 5)  # the request was closed at the stop string
        assert (made.text, made.stop) == ("Yes.\n", Stop.STEP)
        assert spent.policy_tokens >= 2 * made.n_tokens  # with the sample that was dropped
        await step(policy, steps=(await step(policy),))
        await policy.close()
    assert [bool(body.get("stream")) for body in fake.requests] == [False, True, True, True]
    assert not any("stop" in body for body in fake.requests[1:])


@pytest.mark.parametrize(
    ("question", "most", "text", "stop"),
    [
        ("pies?", 15, "Ann has 3 pies.", Stop.LENGTH),  # none is left to draw it again with
        ("pies?", 20, "Ann h", Stop.LENGTH),
        ("pies?", 30, "Ann has 3 pies.\n", Stop.STEP),
        ("late", 5, "\nYes", Stop.LENGTH),  # drawn again, then continued after a blank line
    ],
)
async def test_a_sample_that_is_drawn_again_keeps_to_the_tokens_of_its_call(
    question: str, most: int, text: str, stop: Stop
) -> None:
    with serving("bare") as fake:
        policy = policy_of(fake)
        with metered() as spent:
            made = await step(policy, question, max_tokens=most)
        await policy.close()
    assert (made.text, made.stop, spent.policy_tokens) == (text, stop, most)


async def test_cached_prompt_tokens_are_charged_apart(tokenizer_path: str) -> None:
    with serving("vllm") as fake:
        policy = policy_of(fake, tokenizer=tokenizer_path)
        await policy.open()
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
    sampled, greedy, free = fake.requests
    assert (sampled["temperature"], sampled["top_p"], sampled["seed"]) == (0.7, 0.9, 5)
    assert (greedy["temperature"], greedy["top_p"]) == (0.0, 1.0)
    assert "seed" not in greedy and "seed" not in free
    assert sampled["stop"][0] == "\n" and sampled["model"] == "m"


async def test_the_api_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("vllm") as fake:
        monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
        for policy in (policy_of(fake), policy_of(fake, api_key="given")):
            await step(policy)
            await policy.close()
    assert [h["Authorization"] for h in fake.headers] == ["Bearer from-environment", "Bearer given"]


# -- models and contexts ---------------------------------------------------------------------------


async def test_model_and_context_are_those_of_the_server(tokenizer_path: str) -> None:
    with serving("vllm", listing={"data": [{"id": "tiny", "max_model_len": 12}]}) as fake:
        policy = policy_of(fake, model="", tokenizer=tokenizer_path)
        made = await step(policy)
        assert (made.n_tokens, made.stop) == (12 - len("Q: pies?\n"), Stop.LENGTH)
        with pytest.raises(ContextError, match="context holds 12"):
            await step(policy, "a longer question")
        await policy.close()
    assert {body["model"] for body in fake.requests} == {"tiny"}


async def test_async_with_opens_and_closes_the_policy(tokenizer_path: str) -> None:
    with serving("vllm") as fake:
        async with policy_of(fake, tokenizer=tokenizer_path) as policy:
            assert len(fake.requests) == 1  # it has asked whether the server returns token ids
            await step(policy)
        await policy.close()
    assert len(fake.requests) == 2


async def test_one_of_several_models_must_be_named() -> None:
    with serving("vllm", listing={"data": [{"id": "a"}, {"id": "b"}]}) as fake:
        with pytest.raises(UsageError, match="2 models; name one: a, b"):
            await policy_of(fake, model="").open()
        await policy_of(fake, model="b").open()


async def test_a_server_without_a_list_of_models_needs_a_name() -> None:
    with serving("vllm") as fake, pytest.raises(PolicyError, match="404"):
        await policy_of(fake, model="").open()


# -- settings that are refused before any request --------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"urls": []}, "no server"),
        ({"urls": ["localhost:8000"]}, "not the URL of a server"),
        ({"urls": "http://x"}, "not the URL of a server"),
        ({"urls": ["http://x:port"]}, "not a URL"),
        ({"urls": ["http://x"], "prompt": Prompt("{question}", chat=True)}, "pass tokenizer"),
    ],
)
def test_bad_settings(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        OpenAIPolicy(**settings)


def test_an_unknown_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot load the tokenizer"):
        OpenAIPolicy(["http://x"], tokenizer=str(tmp_path))


def test_base_urls() -> None:
    urls = ["http://x:1", "http://x:1/", "https://x/v1/", "https://x/api/v3"]
    expected = ["http://x:1/v1", "http://x:1/v1", "https://x/v1", "https://x/api/v3"]
    assert [http.base_url(url) for url in urls] == expected
