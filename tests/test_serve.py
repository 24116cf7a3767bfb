"""The server, asked by the stock `openai` client."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from bench.runner.models import Models, NoScorer
from bench.runner.server.searching import ServerLimits
from bench.tasks.builtin import Builtin
from search.engine import solve_all
from search.strategies import STRATEGIES
from search.strategies.best_of_n import BestOfN
from search.types import Problem
from tests.serving import Served, World, a_run, serving

Q = [{"role": "user", "content": "1 + 1?"}]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def chat(served: Served, **fields: Any) -> Any:
    return served.usual.chat.completions.create(**{"model": "best_of_n", "messages": Q, **fields})


def refused(served: Served, status: int, **fields: Any) -> str:
    with pytest.raises(openai.APIStatusError) as error:
        chat(served, **fields)
    assert error.value.status_code == status
    assert isinstance(error.value.body, dict) and error.value.body["message"]
    return str(error.value.body["message"])


# -- answers ---------------------------------------------------------------------------------------


def test_the_answer_is_that_of_solve(served: Served) -> None:
    world = World()
    [outcome] = solve_all([Problem("question", "1 + 1?")], BestOfN(), world, world, seed=7, answers=Builtin())
    got = chat(served, seed=7)
    assert (got.object, got.model) == ("chat.completion", "best_of_n")
    assert got.choices[0].message.content == outcome.text
    assert got.choices[0].finish_reason == ("stop" if outcome.finished else "length")
    cost, usage = outcome.cost, got.usage
    assert usage.completion_tokens == usage.policy_tokens == cost.policy_tokens > 0
    assert usage.prompt_tokens == cost.prompt_tokens + cost.prompt_tokens_cached
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens == cost.prompt_tokens_cached
    assert usage.completion_tokens_details.rejected_prediction_tokens == cost.policy_tokens_discarded > 0
    assert (usage.prm_tokens, usage.prm_tokens_cached) == (cost.prm_tokens, cost.prm_tokens_cached)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_stream_says_what_the_whole_answer_says(served: Served, name: str) -> None:
    whole = chat(served, model=name, seed=3, n=2)
    chunks = list(chat(served, model=name, seed=3, n=2, stream=True, stream_options={"include_usage": True}))
    texts, reasons = ["", ""], ["", ""]
    for chunk in chunks[:-1]:
        [choice] = chunk.choices
        assert chunk.usage is None and not reasons[choice.index]
        texts[choice.index] += choice.delta.content or ""
        reasons[choice.index] = choice.finish_reason or ""
    assert texts == [choice.message.content for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)


def test_a_chunk_is_a_step(served: Served) -> None:
    whole = chat(served, seed=5, model="hgs").choices[0].message.content
    chunks = [c.choices[0].delta.content for c in chat(served, seed=5, model="hgs", stream=True)]
    assert [text for text in chunks if text] == whole.splitlines(keepends=True) and whole.count("\n") > 1


def test_choices_have_seeds_of_their_own(served: Served) -> None:
    both = [choice.message.content for choice in chat(served, n=4, seed=3).choices]
    assert both == [chat(served, seed=seed).choices[0].message.content for seed in range(3, 7)]
    assert len(set(both)) > 1


def test_texts_are_completed(served: Served) -> None:
    got = served.usual.completions.create(model="cot", prompt="1 + 1?", seed=3)
    world = World()
    [outcome] = solve_all([Problem("question", "1 + 1?")], STRATEGIES["cot"](), world, world, seed=3)
    assert (got.object, got.choices[0].text) == ("text_completion", outcome.text)
    chunks = served.usual.completions.create(model="cot", prompt=["1 + 1?"], seed=3, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == outcome.text


def test_parameters_budget_and_lengths_reach_the_search(served: Served) -> None:
    extra = {"params": {"n": 3, "aggregate": "min"}, "search": True}
    search = chat(served, temperature=0.3, extra_body=extra).choices[0].search
    assert search["params"] == {"n": 3, "temperature": 0.3, "aggregate": "min"}
    assert search["cost"]["samples"] == 3
    budget = {"budget": {"samples": 2, "scores": 1}, "search": True}
    search = chat(served, extra_body=budget).choices[0].search
    assert (search["cost"]["samples"], search["events"]["exhausted"]) == (2, 1)
    short = chat(served, max_tokens=6, seed=1)
    assert len(short.choices[0].message.content) <= 6
    assert chat(served, max_completion_tokens=6, seed=1).choices == short.choices


def test_the_tree_is_told_on_request(served: Served) -> None:
    got = chat(served, seed=7, extra_body={"search": True})
    search, text = got.choices[0].search, got.choices[0].message.content
    nodes = {tuple(node["address"]): node for node in search["nodes"]}
    assert list(nodes) == sorted(nodes) and {len(address) for address in nodes} > {1, 2}
    ends = [a for a in nodes if "".join(nodes[a[: i + 1]]["text"] for i in range(len(a))) == text]
    assert ends and all(sum(node["score"].values()) == pytest.approx(1) for a in ends for node in [nodes[a]])
    assert search["cost"]["policy_tokens"] == got.usage.policy_tokens
    assert not hasattr(chat(served).choices[0], "search")


def test_models_are_strategies(served: Served) -> None:
    models = served.usual.models
    listed = list(models.list())
    assert listed[0].id == "best_of_n" and {model.id for model in listed} == set(STRATEGIES)
    assert models.retrieve("hgs").params["width"] == 16  # type: ignore[attr-defined]
    assert chat(served, model="default").model == "best_of_n"
    with pytest.raises(openai.NotFoundError):
        models.retrieve("nope")


def test_without_a_reward_model_only_what_needs_none_is_served() -> None:
    world = World()
    with serving(a_run("cot"), world, models=Models(world, NoScorer())) as served:
        assert {model.id for model in served.usual.models.list()} == {
            "cot", "self_consistency", "adaptive_vote",
        }  # fmt: skip
        assert "needs a reward model" in refused(served, 400, model="hgs")


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "says", "fields"),
    [
        (404, "best_of_n", {"model": "nope"}),
        (400, "did you mean aggregate", {"extra_body": {"params": {"agregate": "min"}}}),
        (400, "n takes a whole number", {"extra_body": {"params": {"n": "many"}}}),
        (400, "n=0", {"extra_body": {"params": {"n": 0}}}),
        (400, "n: ", {"n": 0}),
        (400, "tools is not supported", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        (400, "logprobs is not supported", {"logprobs": True}),
        (400, "tool_choice is not supported", {"tool_choice": "required"}),
        (400, "web_search_options is not supported", {"web_search_options": {}}),  # a search, by default
        (400, "what", {"extra_body": {"what": 1}}),
        (400, "budget.samples", {"extra_body": {"budget": {"samples": -1}}}),
        (400, "prm_tokens", {"extra_body": {"budget": {"prm_tokens": 9}}}),
        (400, "deadline_s", {"extra_body": {"deadline_s": 0}}),
        (400, "top_p", {"top_p": 0.5}),
        (400, "stop", {"stop": ""}),
        (400, "messages", {"messages": []}),
        (400, "the user's", {"messages": [*Q, {"role": "assistant", "content": "2"}]}),
        (400, "empty", {"messages": [{"role": "user", "content": " "}]}),
        (400, "messages.0.content", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused(
    served: Served, status: int, says: str, fields: dict[str, Any]
) -> None:
    assert says in refused(served, status, **fields)


def test_what_asks_for_nothing_is_taken(served: Served) -> None:
    plain = chat(served, seed=1).choices
    assert plain == chat(
        served, seed=1, tools=[], logprobs=False, frequency_penalty=0, response_format={"type": "text"},
        top_p=1, user="me", stop=None, tool_choice="auto", parallel_tool_calls=True,
        messages=[{"role": "user", "content": [{"type": "text", "text": "1 + 1?"}]}],
    ).choices  # fmt: skip


def test_what_asks_a_completion_for_nothing_is_taken(served: Served) -> None:
    complete = served.usual.completions.create
    plain = complete(model="cot", prompt="1 + 1?", seed=3)
    same = complete(model="cot", prompt="1 + 1?", seed=3, best_of=1, echo=False, suffix="", logprobs=None)
    assert same.choices == plain.choices
    with pytest.raises(openai.BadRequestError, match="logprobs is not supported"):
        complete(model="cot", prompt="1 + 1?", logprobs=0)  # those of the sampled tokens


def test_errors_of_http_have_openais_form(served: Served) -> None:
    url, headers = f"{served.url}/v1/chat/completions", {"content-type": "application/json"}
    post = httpx.post(url, content=b"{", headers=headers)
    for reply, status in ((post, 400), (httpx.get(url), 405), (httpx.get(f"{served.url}/v2"), 404)):
        assert reply.status_code == status
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_several_turns_need_a_chat_template() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, *Q]
    with serving(a_run(chat=False)) as served:
        assert chat(served).choices[0].message.content
        assert "chat template" in refused(served, 400, messages=turns)
        assert "chat template" in refused(served, 400, messages=[{"role": "system", "content": "a"}, *Q])


def test_a_failed_search_is_an_error_also_in_a_stream() -> None:
    class Broken(World):
        async def propose(self, *args: Any, **how: Any) -> Any:
            raise RuntimeError("no luck")

    with serving(world=Broken()) as served:
        assert "no luck" in refused(served, 500)
        with pytest.raises(openai.APIError, match="no luck"):
            list(chat(served, stream=True))


def test_the_key_is_asked_for() -> None:
    with serving(api_key="s3cret") as served:
        assert "key" in refused(served, 401)
        assert served.client(api_key="s3cret").models.list().data
        assert httpx.get(f"{served.url}/health").json()["status"] == "ok"
        assert httpx.get(f"{served.url}/v1/models").headers["www-authenticate"] == "Bearer"


def test_a_body_may_not_be_too_large_or_too_slow() -> None:
    with serving(limits=ServerLimits(body_bytes=1000, body_s=0.2)) as served:
        assert "1000 bytes" in refused(served, 413, messages=[{"role": "user", "content": "a" * 1000}])

        async def slow() -> tuple[int, int]:
            async def pieces(pause_s: float, piece: bytes) -> Any:
                for _ in range(20):
                    yield piece
                    await asyncio.sleep(pause_s)

            async with httpx.AsyncClient(base_url=served.url) as client:
                one = await client.post("/v1/completions", content=pieces(0.0, b" " * 100))
                other = await client.post("/v1/completions", content=pieces(0.1, b" "))
                return one.status_code, other.status_code

        assert asyncio.run(slow()) == (413, 408)


# -- many at once ----------------------------------------------------------------------------------


async def test_the_answer_is_the_same_among_64_others(served: Served) -> None:
    async with served.asynchronous() as client:

        async def ask(i: int, model: str) -> str:
            got = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": f"{i} + 1?"}], seed=i
            )
            return str(got.choices[0].message.content)

        names = list(STRATEGIES)
        alone = {i: await ask(i, names[i % len(names)]) for i in range(len(names))}
        among = await asyncio.gather(*(ask(i, names[i % len(names)]) for i in range(64)))
    assert dict(enumerate(among[: len(names)])) == alone
    assert len(set(among)) > 10


def wait_until(served: Served, requests: int, seconds: float) -> None:
    end = time.perf_counter() + seconds
    while httpx.get(f"{served.url}/health").json()["requests"] != requests:
        assert time.perf_counter() < end
        time.sleep(0.01)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_ends_its_search(stream: bool) -> None:
    with serving(world=World(pause_s=30)) as served:
        body = {"model": "hgs", "messages": Q, "stream": stream}
        url = f"{served.url}/v1/chat/completions"
        with (
            pytest.raises(httpx.ReadTimeout),
            httpx.stream("POST", url, json=body, timeout=0.3) as reply,
        ):
            wait_until(served, 1, 1)
            list(reply.iter_lines())
        wait_until(served, 0, 1)
        metrics = httpx.get(f"{served.url}/metrics").text
        assert "prm_search_running_searches 0.0" in metrics
        assert ('status="200"' if stream else 'status="499"') in metrics


async def test_too_many_requests_are_told_to_come_back() -> None:
    limits = ServerLimits(searches=1, requests=2)
    with serving(a_run("cot"), World(pause_s=0.3), limits=limits) as served:
        async with served.asynchronous() as client:

            async def ask() -> str:
                try:
                    got = await client.chat.completions.create(model="cot", messages=Q)  # type: ignore[arg-type]
                    return str(got.choices[0].message.content)
                except openai.RateLimitError as error:
                    return str(error.response.headers["retry-after"])

            got = await asyncio.gather(*(ask() for _ in range(5)))
    answers = [text for text in got if text != "1"]
    assert len(answers) == 2 and len(set(answers)) == 1


def test_a_deadline_is_kept() -> None:
    with serving(world=World(pause_s=60)) as served:
        begin = time.perf_counter()
        got = chat(served, model="mcts", extra_body={"deadline_s": 0.5, "search": True})
        assert 0.5 <= time.perf_counter() - begin < 5
        assert got.choices[0].search["events"]["late"] == 1


async def test_waiting_counts_towards_the_deadline() -> None:
    """The search that waits gets what the other one leaves of its time."""
    with serving(world=World(pause_s=60), limits=ServerLimits(searches=1)) as served:
        async with served.asynchronous() as client:

            async def ask(deadline_s: float) -> float:
                extra = {"deadline_s": deadline_s, "search": True}
                got: Any = await client.chat.completions.create(
                    model="mcts", messages=Q, extra_body=extra  # type: ignore[arg-type]
                )
                return float(got.choices[0].search["seconds"])

            first = asyncio.create_task(ask(1.5))
            await asyncio.sleep(0.1)
            second = await ask(4.0)
            assert await first > 1 and second < 3.9  # about 1.5 and 2.6: both count from their arrival


def test_metrics_count_what_was_spent() -> None:
    with serving() as served:
        usage = chat(served, seed=1).usage
        refused(served, 404, model="nope")
        lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    assert f'prm_search_cost_total{{kind="policy_tokens"}} {float(usage.policy_tokens)}' in lines
    assert 'prm_search_requests_total{path="/v1/chat/completions",status="200"} 1.0' in lines
    assert 'prm_search_requests_total{path="/v1/chat/completions",status="404"} 1.0' in lines


def test_a_step_is_sent_before_the_search_ends() -> None:
    """REBASE drops all paths but one early: what is left of the search is longer than what is settled."""
    with serving(world=World(pause_s=0.05)) as served:
        for seed in range(20):
            times: list[float] = []
            body = {"model": "rebase", "messages": Q, "stream": True, "seed": seed,
                    "params": {"n": 2, "balance_temperature": 0.001}}  # fmt: skip
            with httpx.stream("POST", f"{served.url}/v1/chat/completions", json=body, timeout=10) as reply:
                for line in reply.iter_lines():
                    chunk = json.loads(line[6:]) if line.startswith("data: {") else None
                    if chunk and chunk["choices"][0]["delta"].get("content"):
                        times.append(time.perf_counter())
            if len(times) > 1 and times[-1] - times[0] > 0.04:
                return
    raise AssertionError("every stream came at the end")
