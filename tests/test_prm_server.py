"""`python -m prm.serve` and its client: the contract of scorers over HTTP, errors, limits, lost servers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.runner.cli.serve_prm import describe
from bench.runner.resolve import resolve_reward_model
from bench.runner.server.guard import BodyLimits
from bench.runner.specs import PRMSpec
from prm.reading.fingerprint import prm_fingerprint
from prm.reading.layout import Layout
from prm.scoring.remote import PRMServerScorer, load_remote_scorer
from prm.scoring.scorers import HFScorer
from prm.scoring.served import API_KEY, find_served
from search.engine import Outcome, solve
from search.errors import ContextError, ScorerError, UnavailableError, UsageError
from search.limits import Cost, charge, metered
from search.strategies.hgs import HGS
from search.trace import Trace
from search.types import Problem, Step, StepScore, StepScorer, Stop
from tests import fakes
from tests.conftest import Checkpoints
from tests.contracts import ScorerContract
from tests.fakes import RandomWorld
from tests.prm_servers import CARD, PRMServer, client_environment, described, serving_prm


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    client_environment(monkeypatch)


class World(RandomWorld):
    """Scores depend on texts alone, as those of a server must. scored: calls of the reward model.

    With the call number `gate`, `stop` is called, and nothing is answered any more while it `hangs`.
    """

    def __init__(self, *, pause_s: float = 0.0):
        super().__init__(pause_s=pause_s)
        self.scored = self.gate = 0
        self.hangs = False
        self.stop: Callable[[], object] = lambda: None

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        self.scored += 1
        if self.scored == self.gate:
            self.hangs = True
            self.stop()
        await asyncio.sleep(3600 if self.hangs else self._pause_s)
        texts = [step.text for step in steps]
        charge(prm_tokens=sum(map(len, texts[num_scored:])))
        return [fakes.score(*texts[: i + 1]) for i in range(num_scored, len(texts))]


class Failing:
    """error: raised by every call."""

    def __init__(self, error: Exception):
        self.error = error

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        raise self.error


def steps(*texts: str) -> list[Step]:
    return [Step(text, (), 0.0, Stop.STEP, 1) for text in texts]


Q = Problem("q", "1 + 1?")


# -- a real model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(checkpoints: Checkpoints) -> Iterator[PRMServer]:
    spec = PRMSpec(name=checkpoints.prm, engine="hf", dtype="float32")
    scorer = HFScorer(checkpoints.prm, dtype="float32")
    served = describe(resolve_reward_model(spec, checkpoints.prm, None), scorer)
    with serving_prm(scorer, served) as server:
        yield server


class TestOverHTTP(ScorerContract):
    atol = 1e-5

    @pytest.fixture
    def scorer(self, real: PRMServer) -> StepScorer:
        return load_remote_scorer(find_served([real.url]))

    async def test_scores_are_those_of_the_model_itself(
        self, scorer: StepScorer, checkpoints: Checkpoints
    ) -> None:
        here = HFScorer(checkpoints.prm, dtype="float32")
        for solution in self._solutions():
            self._same(await scorer.score(self.problem, solution), await here.score(self.problem, solution))

    async def test_the_prefix_is_read_from_the_servers_cache_and_charged_as_such(
        self, scorer: StepScorer
    ) -> None:
        solution = self.steps(["6 * 7 = 42\n", "42 + 1 = 43\n"])
        with metered() as first:
            await scorer.score(self.problem, solution[:1])
        with metered() as second:
            await scorer.score(self.problem, solution, num_scored=1)
        assert second.prm_tokens_cached == first.prm_tokens + first.prm_tokens_cached
        assert 0 < second.prm_tokens < second.prm_tokens_cached

    async def test_what_does_not_fit_is_an_error_that_names_the_problem(self, scorer: StepScorer) -> None:
        with pytest.raises(ContextError, match=r"contract: .*question and steps take \d+ tokens"):
            await scorer.score(self.problem, self.steps(["7 + " * 3000]))


def test_the_server_says_which_model_it_has(real: PRMServer, checkpoints: Checkpoints) -> None:
    served = find_served([f"{real.url}/v1/"])
    assert served == replace(real.served, urls=(real.url,))
    assert served.fingerprint == prm_fingerprint(checkpoints.prm)
    assert (served.run_as, served.layout) == ("hf float32", Layout())
    assert served.context and served.parameters
    card = httpx.get(f"{real.url}/model").json()
    assert (card["aggregate"], card["outcome"], card["domain"]) == ("product", False, "")
    assert find_served([real.url], checkpoints.prm).name == checkpoints.prm
    with pytest.raises(UsageError, match="serves another reward model"):
        find_served([real.url], "builtin")


# -- requests --------------------------------------------------------------------------------------


def refused(url: str, status: int, **body: Any) -> dict[str, Any]:
    reply = httpx.post(f"{url}/score", json={"question": "1 + 1?", "steps": ["2"], **body})
    assert reply.status_code == status
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


def test_a_reply_has_the_probabilities_and_their_logit() -> None:
    with serving_prm(World()) as server:
        body = {"question": "1 + 1?", "steps": ["2", "so 2"], "num_scored": 1}
        reply = httpx.post(f"{server.url}/score", json=body).json()
        [score] = reply["scores"]
        want = fakes.score("2", "so 2")
        assert score == {
            "negative": want.negative, "neutral": want.neutral, "positive": want.positive, "logit": want.logit
        }
        assert reply["usage"] == {"prm_tokens": 4, "prm_tokens_cached": 0}
        metrics = httpx.get(f"{server.url}/metrics").text.splitlines()
        assert "prm_serve_scores_total 1.0" in metrics
        assert 'prm_serve_tokens_total{kind="prm_tokens"} 4.0' in metrics
        assert 'prm_serve_requests_total{path="/score",status="200"} 1.0' in metrics
        assert httpx.get(f"{server.url}/health").json() == {"status": "ok", "requests": 0}


def test_what_cannot_be_scored_is_refused() -> None:
    with serving_prm(World(), limits=BodyLimits(n_bytes=2000)) as server:
        assert refused(server.url, 400, num_scored=2)["param"] == "num_scored"
        assert refused(server.url, 400, num_scored=-1)["param"] == "num_scored"
        assert refused(server.url, 400, steps="2")["param"] == "steps"
        assert "extra" in refused(server.url, 400, temperature=1)["message"].lower()
        assert refused(server.url, 409, model="another")["code"] == "model_mismatch"
        assert refused(server.url, 413, question="?" * 3000)["code"] == "request_too_large"
        assert httpx.get(f"{server.url}/nowhere").json()["error"]["message"].startswith("GET /nowhere")


def by_an_engine() -> ScorerError:
    error = ScorerError("vLLM failed")
    error.__cause__ = RuntimeError("CUDA error")
    return error


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ContextError("too long"), 400, "context_length_exceeded"),
        (ScorerError("no probabilities"), 422, "not_scored"),
        (by_an_engine(), 500, None),
        (RuntimeError("a bug"), 500, None),
    ],
    ids=["context", "score", "engine", "bug"],
)
async def test_an_error_has_its_status_and_stays_with_its_solution(
    error: Exception, status: int, code: str | None
) -> None:
    with serving_prm(Failing(error)) as server:
        assert refused(server.url, status)["code"] == code
        async with PRMServerScorer(described(server)) as scorer:
            kind = ContextError if status == 400 else ScorerError
            with pytest.raises(kind, match=f"^q: .*answered {status}"):
                await scorer.score(Q, steps("2"))


async def test_the_key_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_prm(World(), api_key="secret") as server:
        assert refused(server.url, 401)["code"] == "invalid_api_key"
        assert httpx.get(f"{server.url}/health").status_code == 200
        with pytest.raises(UsageError, match=f"answered 401: set {API_KEY}"):
            find_served([server.url])
        async with PRMServerScorer(described(server)) as scorer:
            with pytest.raises(UnavailableError, match="answered 401"):
                await scorer.score(Q, steps("2"))
        monkeypatch.setenv(API_KEY, "secret")
        async with PRMServerScorer(find_served([server.url])) as scorer:
            assert await scorer.score(Q, steps("2")) == [fakes.score("2")]


async def test_too_many_requests_are_told_to_come_back_and_do() -> None:
    with serving_prm(World(pause_s=0.02), max_requests=2) as server:
        async with PRMServerScorer(described(server)) as scorer:
            calls = [scorer.score(Problem(str(i), "?"), steps(str(i))) for i in range(5)]
            assert await asyncio.gather(*calls) == [[fakes.score(str(i))] for i in range(5)]
        metrics = httpx.get(f"{server.url}/metrics").text
    assert 'status="429"' in metrics


def test_a_client_that_goes_away_ends_its_call() -> None:
    with serving_prm(World(pause_s=30)) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/score", json={"question": "", "steps": ["2"]}, timeout=0.2)
        for _ in range(200):
            if httpx.get(f"{server.url}/health").json()["requests"] == 0:
                return
        raise AssertionError("it is still being worked on")


async def test_a_reply_that_is_none_is_never_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_prm(World()) as server:
        async with PRMServerScorer(described(server)) as scorer:
            for reply in (
                {}, {"scores": [], "usage": {"prm_tokens": 1, "prm_tokens_cached": 0}},
                {"scores": [{"negative": 0.5}], "usage": {}}, [], None,
                {"scores": [{"negative": 0.9, "neutral": 0.9, "positive": 0.9}], "usage": {}},
            ):  # fmt: skip

                async def request(*args: Any, reply: Any = reply, **how: Any) -> Any:
                    return reply

                monkeypatch.setattr(scorer._servers, "request", request)
                with pytest.raises(ScorerError, match=r"q: |not probabilities"):
                    await scorer.score(Q, steps("2"))


# -- which server ----------------------------------------------------------------------------------


def test_urls_that_are_no_reward_model() -> None:
    with pytest.raises(UsageError, match="no reward-model server can be reached: http://127"):
        find_served(["http://127.0.0.1:9"])
    with pytest.raises(UsageError, match="not the URL of a server"):
        find_served(["localhost:8001"])
    other = replace(CARD, fingerprint="e" * 32)
    with serving_prm(World()) as one, serving_prm(World(), other) as two:
        with pytest.raises(UsageError, match="all servers must serve the same"):
            find_served([one.url, two.url])
        assert find_served([one.url, "http://127.0.0.1:9"]).urls == (one.url, "http://127.0.0.1:9")
        with pytest.raises(UsageError, match="is no server of a reward model"):
            find_served([f"{one.url}/health"])


async def test_problems_are_spread_and_stay() -> None:
    worlds = [World(), World(), World()]
    with serving_prm(worlds[0]) as one, serving_prm(worlds[1]) as two, serving_prm(worlds[2]) as three:
        async with PRMServerScorer(described(one, two, three)) as scorer:
            for index in range(6):
                for _ in range(3):
                    await scorer.score(Problem(str(index), "?"), steps("2"))
            assert [world.scored for world in worlds] == [6, 6, 6]
            worlds[1]._pause_s = 1
            slow = asyncio.create_task(scorer.score(Problem("1", "?"), steps("2")))
            await asyncio.sleep(0)  # a call is in flight at the second, and stays there for a second
            for name in "abcd":
                await scorer.score(Problem(name, "?"), steps("2"))
            assert [world.scored for world in worlds] == [8, 7, 8]
            await slow


async def test_questions_of_one_id_are_spread_too() -> None:
    worlds = [World(), World()]
    with serving_prm(worlds[0]) as one, serving_prm(worlds[1]) as two:
        async with PRMServerScorer(described(one, two)) as scorer:
            for question in ("a", "b", "a", "c", "a"):
                await scorer.score(Problem("question", question), steps("2"))
    assert [world.scored for world in worlds] == [4, 1]


# -- lost servers ----------------------------------------------------------------------------------


def lose(server: PRMServer, world: World, call: int) -> None:
    """With this call, the server is lost, as by a kill."""
    world.gate, world.stop = call, lambda: threading.Thread(target=server.stop).start()


PROBLEMS = [Problem(f"p/{i}", f"{i}?") for i in range(12)]


async def outcomes(
    scorer: StepScorer, trace: Trace | None = None, speculate: int = 0
) -> dict[str, Outcome]:
    """Of a search that scores step by step, on problems whose samples do not depend on the scorer."""
    found = solve(
        PROBLEMS, HGS(width=2, max_samples=20), RandomWorld(), scorer, concurrency=4, trace=trace, seed=3,
        speculate=speculate,
    )  # fmt: skip
    return {outcome.problem.id: replace(outcome, seconds=0.0) async for outcome in found}


def same(got: dict[str, Outcome], want: dict[str, Outcome]) -> None:
    assert set(got) == set(want)
    for name, outcome in want.items():
        replayed = replace(got[name].events, replayed=0)
        assert replace(got[name], events=replayed) == outcome


async def test_a_server_killed_in_mid_run_and_started_again_costs_no_problem() -> None:
    want = await outcomes(World())
    world = World()
    with serving_prm(world) as server:

        def kill_and_restart() -> None:
            server.stop()
            world.hangs = False
            server.start()

        world.gate, world.stop = 25, lambda: threading.Thread(target=kill_and_restart).start()
        async with PRMServerScorer(described(server)) as scorer:
            got = await outcomes(scorer)
    assert world.scored > 25
    same(got, want)
    assert not any(outcome.error or outcome.events.failed for outcome in got.values())


async def test_of_two_servers_one_may_be_lost() -> None:
    want = await outcomes(World())
    world, lasting = World(), World()
    with serving_prm(world) as doomed, serving_prm(lasting) as other:
        lose(doomed, world, 10)
        async with PRMServerScorer(described(doomed, other)) as scorer:
            same(await outcomes(scorer), want)
    assert lasting.scored > 30


@pytest.mark.parametrize("speculate", [0, 2])
async def test_when_all_are_lost_the_run_stops_and_can_be_resumed(tmp_path: Path, speculate: int) -> None:
    want = await outcomes(World(), speculate=speculate)
    trace = Trace(tmp_path / "trace.jsonl", {})
    world = World()
    with serving_prm(world) as server:
        lose(server, world, 40)
        async with PRMServerScorer(described(server), patience_s=0.1) as scorer:
            with pytest.raises(UnavailableError, match="the reward model's servers are lost: no reply in 6"):
                await outcomes(scorer, trace, speculate)
        trace.close()
        lines = (tmp_path / "trace.jsonl").read_text().splitlines()
        assert not any('"failed"' in line for line in lines)
        assert 0 < sum('"chosen"' in line for line in lines) < len(PROBLEMS)
        server.scorer = World()
        server.start()
        trace = Trace(tmp_path / "trace.jsonl", {})
        async with PRMServerScorer(described(server)) as scorer:
            got = await outcomes(scorer, trace, speculate)
        trace.close()
    if speculate:  # what was drawn ahead, and so the cost, is a matter of timing
        got, want = ({k: replace(o, cost=Cost()) for k, o in found.items()} for found in (got, want))
    same(got, want)


async def test_a_server_started_again_with_another_model_counts_as_lost() -> None:
    world = World()
    with serving_prm(world, replace(CARD, fingerprint="e" * 32)) as server:
        async with PRMServerScorer(replace(CARD, urls=(server.url,)), patience_s=0.05) as scorer:
            with pytest.raises(UnavailableError, match="this server has another reward model"):
                await scorer.score(Q, steps("2"))
    assert world.scored == 0
