"""How a vLLM engine is started, with a stub in place of vLLM: environment, precision, failures."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from search import precision
from search.devices import WHOLE
from search.errors import UsageError
from search.vllm_engine import leave_interrupts_to_the_parent, start_engine
from tests.commands import ROOT, environment


class Started:
    """What an engine was started with."""

    settings: dict[str, Any]
    environment: dict[str, str]


class Uni:
    """In place of vLLM's executor that works in the engine's own process."""


@pytest.fixture(params=["cpu", "gpu"])
def started(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    seen = Started()

    def from_vllm_config(config: SimpleNamespace, **how: object) -> str:
        seen.settings, seen.environment = config.settings, dict(os.environ)
        return request.param  # type: ignore[no-any-return]

    def engine_args(**settings: Any) -> SimpleNamespace:
        backend = settings.get("distributed_executor_backend", "uni")
        parallel = SimpleNamespace(distributed_executor_backend=backend)
        config = SimpleNamespace(settings=settings, parallel_config=parallel)
        return SimpleNamespace(create_engine_config=lambda: config)

    @contextmanager
    def threads(rank: int, local_rank: int) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")
            yield

    stubs = {
        "vllm": {}, "vllm.engine": {}, "vllm.v1": {}, "vllm.v1.engine": {}, "vllm.utils": {},
        "vllm.v1.executor": {"UniProcExecutor": Uni},
        "vllm.utils.ompmultiprocessing": {
            "OMPProcessManager": lambda config: SimpleNamespace(configure_omp_envs=threads)
        },
        "vllm.engine.arg_utils": {"AsyncEngineArgs": engine_args},
        "vllm.platforms": {"current_platform": SimpleNamespace(is_cpu=lambda: request.param == "cpu")},
        "vllm.v1.engine.async_llm": {"AsyncLLM": SimpleNamespace(from_vllm_config=from_vllm_config)},
    }  # fmt: skip
    for name, content in stubs.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("torch.cuda.is_available", lambda: request.param == "gpu")
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    yield seen


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "dtype": "float32"}')
    return str(tmp_path)


def test_only_the_process_of_an_engine_on_a_cpu_compiles_nothing(
    started: Started, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHDYNAMO_DISABLE", raising=False)
    kind = str(start_engine(model))
    assert started.environment.get("TORCHDYNAMO_DISABLE") == ("1" if kind == "cpu" else None)
    assert "TORCHDYNAMO_DISABLE" not in os.environ
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "0")
    start_engine(model)
    assert started.environment["TORCHDYNAMO_DISABLE"] == "0", "the user's own setting stands"


def test_an_engine_on_a_cpu_is_one_process_with_its_own_threads(
    started: Started, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    on_cpu = str(start_engine(model)) == "cpu"
    assert started.settings.get("distributed_executor_backend") is (Uni if on_cpu else None)
    assert started.environment.get("OMP_NUM_THREADS") == ("1" if on_cpu else None)
    start_engine(model, tensor_parallel_size=2)
    assert "distributed_executor_backend" not in started.settings
    assert "OMP_NUM_THREADS" not in started.environment


def test_weights_in_float32_are_served_in_bfloat16(started: Started, model: str) -> None:
    start_engine(model, runner="pooling")
    assert started.settings["dtype"] == "bfloat16"
    start_engine(model, runner="pooling", dtype="float16")
    assert started.settings["dtype"] == "float16"


@pytest.mark.parametrize("ours", [True, False])
def test_the_processes_of_our_engines_leave_interrupts_to_the_parent(
    ours: bool, started: Started, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_engine(model)
    left_alone = signal.getsignal(signal.SIGINT)
    leave_interrupts_to_the_parent()
    assert signal.getsignal(signal.SIGINT) is left_alone, "this process is no engine's"
    if ours:
        monkeypatch.setattr(os, "environ", started.environment)
    engine = get_context("fork").Process(target=_exit_with_one_if_it_ignores_interrupts)
    engine.start()
    engine.join()
    assert engine.exitcode == ours


def _exit_with_one_if_it_ignores_interrupts() -> None:
    leave_interrupts_to_the_parent()
    os._exit(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)


# -- scripts -------------------------------------------------------------------------------------------

SCRIPT = """
import multiprocessing
import search.vllm_engine as engine

def spawn(model, share, settings):
    process = multiprocessing.get_context("spawn").Process(target=print)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError("Engine core initialization failed. See root cause above.")
    return "started"

engine._start = spawn
"""
START = 'print(engine.start_engine("m"))\n'
REIMPORTED = 'if __name__ != "__main__":\n    '
UNGUARDED = {
    "at once": START,
    "in main": f"def main():\n    {START}main()\n",
    "in asyncio": f"import asyncio\nasync def main():\n    {START}asyncio.run(main())\n",
    "something else fails first": f'{REIMPORTED}open("absent")\n{START}',
    "another process first": (
        f'{REIMPORTED}multiprocessing.get_context("spawn").Process(target=print).start()\n{START}'
    ),
}
GUARDED = {
    "guarded": f'if __name__ == "__main__":\n    {START}',
    "left": f"{REIMPORTED}raise SystemExit(0)\n{START}",
}


def ran(code: str, folder: Path, *, as_module: bool = False) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(SCRIPT + code)
    words = ["-m", "script"] if as_module else ["script.py"]
    env = environment() | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("as_module", [False, True])
@pytest.mark.parametrize("case", UNGUARDED)
def test_a_script_without_a_guard_is_told_so(case: str, as_module: bool, tmp_path: Path) -> None:
    done = ran(UNGUARDED[case], tmp_path, as_module=as_module)
    assert done.returncode == 1 and "started" not in done.stdout
    error = done.stderr.strip().splitlines()[-1]
    assert "UsageError" in error and 'if __name__ == "__main__":' in error, done.stderr
    reason = "and that failed" if case == "something else fails first" else "must start the engine inside"
    assert reason in error


@pytest.mark.parametrize("case", GUARDED)
def test_a_script_with_a_guard_starts(case: str, tmp_path: Path) -> None:
    done = ran(GUARDED[case], tmp_path)
    assert case == "left" or done.stdout == "started\n", done.stderr


def test_an_engine_that_fails_otherwise_gives_vllms_reason(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("Engine core initialization failed.")

    monkeypatch.setattr("search.vllm_engine._start", fail)
    with pytest.raises(UsageError, match=r"vLLM cannot serve m: Engine core.*its output is in") as raised:
        start_engine("m", share=WHOLE)
    assert "__main__" not in str(raised.value)


# -- vLLM itself ---------------------------------------------------------------------------------------

ANSWER = """
import asyncio
import signal
from psutil import Process
from bench.runner.checkpoints import BUILTIN
from search.policies.vllm import VLLMPolicy
from search.prompts import Prompt
from search.types import Problem, Until

async def main():
    async with VLLMPolicy(str(BUILTIN / "policy"), prompt=Prompt("{question}", chat=True)) as policy:
        problem = Problem(
            "p", "Ann has 5 coins. Ben owns 3 more coins than Ann. How many coins does Ben have?"
        )
        for temperature in (0.0, 0.8):
            steps = await policy.propose(
                problem, [], until=Until.END, max_tokens=90, seed=1, temperature=temperature
            )
            print(repr(steps[-1].text), steps[-1].logprob < 0)
            for engine in Process().children(recursive=True):
                engine.send_signal(signal.SIGINT)

if __name__ == "__main__":
    asyncio.run(main())
"""
COMPILER = re.compile(r"(.*-)?(gcc|g\+\+|cc|c\+\+|cpp|clang|clang\+\+)(-[\d.]+)?")


def without_compilers(folder: Path) -> str:
    """A PATH with every program of today's but compilers of C and C++."""
    folder.mkdir()
    for source in map(Path, os.environ["PATH"].split(os.pathsep)):
        for program in source.iterdir() if source.is_dir() else ():
            if not COMPILER.fullmatch(program.name) and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    assert not any(shutil.which(name, path=folder) for name in ("cc", "gcc", "c++", "g++", "clang"))
    return str(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.vllm
def test_vllm_starts_and_answers_without_a_compiler(tmp_path: Path) -> None:
    """Nor does it compile anything, or use what was compiled before. Ctrl-C does not reach the engine."""
    (tmp_path / "script.py").write_text(ANSWER)
    hidden = ("CC", "CXX", "TORCHDYNAMO_DISABLE")
    env = {name: value for name, value in environment().items() if name not in hidden}
    compiled = tmp_path / "compiled"
    env |= {"PATH": without_compilers(tmp_path / "bin"), "TORCHINDUCTOR_CACHE_DIR": str(compiled)}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "'The answer is 8.' True" and len(done.stdout.splitlines()) == 2
    assert [path for path in compiled.rglob("*") if path.is_file()] == []
