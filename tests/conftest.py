"""Tiny checkpoints, made once a session: no test needs weights that ship."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

from tests.sandboxed import skipped_line

settings.register_profile("untimed", deadline=None)  # how fast a test runs is not what it tests
settings.load_profile("untimed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts its background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests press Ctrl-C


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """vLLM's tests first, then files with slow tests, so that two workers end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    for item in items:
        if item.get_closest_marker("vllm"):
            if not names_vllm(item.nodeid):
                raise pytest.UsageError(f"{item.nodeid}: name vllm, so that it runs with vLLM's other tests")
            if find_spec("vllm") is None:
                item.add_marker(pytest.mark.skip(reason="vLLM is not installed"))
    items.sort(key=lambda item: (not item.get_closest_marker("vllm"), item.path not in slow))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """One thread each: with models this small, two only wait for each other, and for the other worker's.

    Here the fixtures have imported torch, and the test has not started a thread that computes yet.
    """
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def names_vllm(test: str) -> bool:
    """test: its file, class and function, and parameters, which do not count."""
    return "vllm" in test.split("[")[0].lower()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What one worker runs together: the tests of a file, and all that start vLLM.

    Two pairs of vLLM's engines on two cores would wait for each other. (With pytest 9.2, xdist 3.8 ignores
    the groups of `--dist loadgroup`.)
    """
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    class Together(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "vllm" if names_vllm(nodeid) else str(super()._split_scope(nodeid))

    return Together(config, log)


LAST_LINE = pytest.StashKey[str]()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)]
    terminalreporter.config.stash[LAST_LINE] = skipped_line(reasons)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line says which tests were skipped for want of bubblewrap, where some were."""
    if line := config.stash.get(LAST_LINE, ""):
        print(line)


@dataclass(frozen=True)
class Checkpoints:
    """Folders. They know what a solution looks like and nothing else: enough to drive a search.

    two_labels: its head has two outputs, its prm.json names three labels.
    no_layout: the reward model without its prm.json.
    """

    policy: str
    prm: str
    two_labels: str
    no_layout: str


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Checkpoints:
    """Made by the first worker that needs them, for all."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder if worker_id == "master" else folder.parent) / "checkpoints"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            _make_checkpoints(making := folder.with_name("checkpoints.making"))
            making.rename(folder)
    return Checkpoints(*(str(folder / name) for name in ("policy", "prm", "two_labels", "no_layout")))


def _make_checkpoints(folder: Path) -> None:
    import torch

    from bench.builtin.networks import Size, new_policy
    from bench.builtin.prm_network import new_prm
    from bench.builtin.recipe import CHAT_TEMPLATE
    from bench.builtin.tokenizer import build_tokenizer
    from bench.builtin.training import backbone_samples, batches, encode_solution, fit, language_loss
    from bench.tasks.generated.graph import Difficulty
    from bench.tasks.generated.problems import generate
    from prm.reading.head import LABELS
    from prm.reading.layout import Layout, save_layout

    torch.set_num_threads(1)  # models this small only lose time by waiting for each other's threads
    folder.mkdir()
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE

    policy = new_policy(Size(hidden=128, layers=2), seed=0)
    examples = [encode_solution(tokenizer, p) for p in generate("train", 0, 200, Difficulty(2, 2, 0))]
    data = [batch for epoch in range(4) for batch in batches(examples, 600, epoch)]
    fit(
        policy, language_loss(policy), iter(data), steps=len(data), lr=1e-2, decay=0.4,
        log=folder / "log.jsonl", evaluate=dict,
    )  # fmt: skip
    models = {
        "policy": policy, "prm": new_prm(policy, LABELS, backbone_samples(), seed=0),
        "two_labels": new_prm(policy, LABELS[1:], backbone_samples(), seed=0),
    }  # fmt: skip
    torch.nn.init.normal_(models["prm"].score.weight, std=0.3)
    for name, model in models.items():
        model.to(torch.bfloat16).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        if name != "policy":
            save_layout(Layout(), folder / name)
    shutil.copytree(folder / "prm", folder / "no_layout", ignore=lambda *_: ["prm.json"])
    assert json.loads((folder / "prm" / "config.json").read_text())["id2label"]["2"] == "positive"


SHORT = ["--step-tokens", "40", "--solution-tokens", "90"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    yield tmp_path


@pytest.fixture
def models(checkpoints: Checkpoints) -> list[str]:
    return ["--engine", "hf", "--policy", checkpoints.policy, "--prm", checkpoints.prm, *SHORT]
