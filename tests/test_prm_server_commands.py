"""Commands that score on a server: the same results as without, refused resumes, the server's own process."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.runner.cli.run import main
from bench.runner.cli.serve_prm import describe
from bench.runner.cli.serve_prm import main as serve
from bench.runner.resolve import resolve_reward_model
from bench.runner.specs import PRMSpec
from prm.evaluate import main as evaluate
from prm.score import main as score
from prm.scoring import http_scorer
from prm.scoring.scorers import HFScorer
from tests.commands import ROOT, environment
from tests.prm_servers import CARD, PRMServer, client_environment, serving_prm
from tests.test_prm_server import World, lose

SAME = ("n", "correct", "samples", "policy_tokens", "judgements", "backtracks", "duplicates", "errors", "prm")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    client_environment(monkeypatch)


@pytest.fixture(scope="module")
def server() -> Iterator[PRMServer]:
    """The built-in reward model."""
    import torch

    torch.set_num_threads(1)  # models this small only lose time by waiting for each other's threads
    resolved = resolve_reward_model(PRMSpec(engine="hf", dtype="float32"), "builtin", None)
    scorer = HFScorer("builtin", dtype="float32")
    with serving_prm(scorer, describe(resolved, scorer)) as server:
        yield server


RUN = ["--engine", "hf", "--dtype", "float32", "--no-baseline", "--limit", "2", "--set", "max_samples=6"]


def row(*words: str, path: str) -> dict[str, Any]:
    assert main([*RUN, *words, "--json", path]) == 0
    return {name: json.loads(Path(path).read_text())[name] for name in SAME}


def test_a_search_on_a_server_is_the_one_without(
    here: Path, server: PRMServer, capfd: pytest.CaptureFixture[str]
) -> None:
    local = row("--out", "local", path="local.json")
    remote = row("--prm-server", server.url, "--out", "remote", path="remote.json")
    assert remote == local
    config = json.loads((here / "remote" / "hgs.jsonl").read_text().splitlines()[0])["config"]
    assert config["prm_weights"] == server.served.fingerprint
    assert config["prm_server"] == "prm.serve: hf float32"
    capfd.readouterr()
    with serving_prm(World(), replace(CARD, name="builtin")) as other:
        again = ["--prm-server", other.url, "--out", "remote", "--resume"]
        assert main(again) == 2
        refusal = " ".join(capfd.readouterr().err.split())
        assert "prm_weights was" in refusal and "is the trace of another run" in refusal


def test_a_run_whose_server_is_lost_says_how_to_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(http_scorer.HTTPScorer.__init__, "__kwdefaults__", {
        "concurrency": 8, "timeout_s": 60.0, "patience_s": 0.05,
    })  # fmt: skip
    world = World()
    with serving_prm(world) as server:
        lose(server, world, 3)
        assert main([*RUN, "--prm-server", server.url, "--out", "run"]) == 1
    said = " ".join(capfd.readouterr().err.split())
    assert "stopped; to continue where it stopped:" in said and "--resume" in said
    assert "the reward model's servers are lost" in said
    assert '"failed"' not in (here / "run" / "hgs.jsonl").read_text()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--prm-engine", "hf"], "--prm-engine is for a model that is loaded here"),
        (["--prm-args", "a=1"], "--prm-args is for a model that is loaded here"),
        (["--prm", "weak"], "--prm weak: .* serves another reward model, world"),
        (["--prm-server", "http://127.0.0.1:9"], "no reward-model server can be reached"),
        (["--prm-server", "http://127.0.0.1:9,"], "--prm-server"),
    ],
    ids=["engine", "arguments", "another model", "nothing there", "an empty URL"],
)
def test_requests_that_do_not_go_with_a_server(
    words: list[str], reason: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving_prm(World()) as server:
        given = words if "--prm-server" in words else ["--prm-server", server.url, *words]
        assert main(["--question", "?", "--engine", "hf", *given]) == 2
    assert re.search(reason, " ".join(capfd.readouterr().err.split()))


def some_solutions() -> str:
    rows = [{"question": f"{i} + 1?", "steps": [f"{i} + 1 = {i + 1}", "so"]} for i in range(6)]
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "in.jsonl"


def test_a_file_is_scored_on_a_server_as_without(here: Path, server: PRMServer) -> None:
    file = some_solutions()
    assert score([file, "--prm", "builtin", "--dtype", "float32", "--out", "here.jsonl"]) == 0
    assert score([file, "--prm-server", server.url, "--out", "there.jsonl"]) == 0
    both = [
        [json.loads(line) for line in Path(name).read_text().splitlines()]
        for name in ("here.jsonl", "there.jsonl")
    ]
    for one, other in zip(*both, strict=True):
        assert one["prm_weights"] == other["prm_weights"]
        assert other["score"] == pytest.approx(one["score"], abs=1e-4)


def test_scoring_a_file_goes_on_after_the_server_was_lost(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = some_solutions()
    assert score([file, "--out", "none.jsonl"]) == 2
    monkeypatch.setattr(http_scorer.HTTPScorer.__init__, "__kwdefaults__", {
        "concurrency": 1, "timeout_s": 60.0, "patience_s": 0.05,
    })  # fmt: skip
    world = World()
    with serving_prm(world) as lost:
        lose(lost, world, 5)
        assert score([file, "--prm-server", lost.url, "--out", "lost.jsonl"]) == 1
        work = Path("lost.jsonl.work")
        assert len(work.read_text().splitlines()) == 4, "of one window"
        lost.scorer = rest = World()
        lost.start()
        assert score([file, "--prm-server", lost.url, "--out", "lost.jsonl", "--resume"]) == 0
        assert rest.scored == 2 and not work.exists()
        assert score([file, "--prm-server", lost.url, "--out", "whole.jsonl"]) == 0
    assert Path("lost.jsonl").read_text() == Path("whole.jsonl").read_text()


def test_a_model_on_a_server_is_evaluated(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": f"{i}?", "steps": [f"a{i}", f"b{i}"], "labels": [1, -1]} for i in range(8)]
    Path("labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    world = World()
    with serving_prm(world) as server:
        command = ["--prm-server", server.url, "--data", "labels.jsonl", "--out", "report"]
        assert evaluate(command) == 0
        assert evaluate(command) == 0
    assert world.scored == 8, "scores that are kept are not scored again"
    assert "world: balanced accuracy" in capsys.readouterr().out
    assert f"--prm-server {server.url}" in Path("report/report.md").read_text()
    assert evaluate(["--data", "labels.jsonl", "--out", "none"]) == 2


def test_what_the_server_cannot_serve_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    for words, reason in (
        (["--prm", "absent"], "absent"),
        (["--prm", "builtin", "--engine", "server"], "name the server by --prm-server URL"),
        (["--prm", "builtin", "--engine", "hf", "--prm-args", "a=1"], "runs on hf"),
        (["--prm", "builtin", "--engine", "hf", "--port", "70000"], "takes a number from 0 to 65535"),
        ([], "--prm"),
    ):
        assert serve(words) == 2
        assert reason in " ".join(capfd.readouterr().err.split())


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_stop() -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "prm.serve", "--prm", "builtin", "--engine", "hf", "--port", "0"],
        cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stderr is not None
    said = [server.stderr.readline(), server.stderr.readline()]
    assert said[0].startswith("reward model builtin on hf: ready in ")
    url = re.fullmatch(r"serving on (http://127\.0\.0\.1:\d+) \(Ctrl-C stops\)\n", said[1])
    assert url is not None
    body = {"question": "Ann has 5 coins. Ben owns 3 more coins than Ann. How many coins does Ben have?"}
    steps = ["Ben has 5 + 3 = 8 coins.\n", "Ben has 5 + 3 = 9 coins.\n"]
    values = [
        httpx.post(f"{url[1]}/score", json={**body, "steps": [step]}, timeout=60).json()["scores"][0]["logit"]
        for step in steps
    ]
    assert values[0] > values[1]
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0
