"""vLLM's engine arguments as a user gives them, and the shares of engines that run side by side."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bench.runner.models as models
from bench.runner import engine_args
from bench.runner.checkpoints import BUILTIN
from bench.runner.cli.run import main
from bench.runner.engine_args import check_engine_args, of_identity, split_engine_args
from bench.runner.resolve import ResolvedPolicy, ResolvedPRM
from prm.reading.size import prm_bytes, weight_bytes
from search.devices import WHOLE, DeviceShare
from search.errors import UsageError
from search.policies.stepping import Sampling
from search.prompts import Prompt
from search.segment import SEGMENTERS

SOURCE = '''
class Other:
    tensor_parallel_size: str = "of another class"

class EngineArgs:
    model: str = "m"
    dtype: ModelDType = "auto"
    tensor_parallel_size: int = ParallelConfig.tensor_parallel_size
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.9
    enforce_eager: "bool | None" = None
    quantization: QuantizationMethods | str | None = None
    kv_cache_dtype: CacheDType = "auto"
    hf_overrides: dict[str, Any] = field()

class AsyncEngineArgs(EngineArgs):
    enable_log_requests: bool = False
'''


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vLLM of few arguments."""
    path = tmp_path / "arg_utils.py"
    path.write_text(SOURCE)
    monkeypatch.setattr(engine_args, "_source", lambda: path)


def checked(text: str, engine: str = "vllm") -> dict[str, Any]:
    return check_engine_args("--policy-args", split_engine_args(text), engine)


def test_values_have_the_types_of_the_arguments(source: None) -> None:
    assert checked("tensor_parallel_size=2,max-model-len=8192, gpu_memory_utilization=0.3") == {
        "tensor_parallel_size": 2, "max_model_len": 8192, "gpu_memory_utilization": 0.3,
    }  # fmt: skip
    assert checked("max_model_len=none,enforce_eager=True,gpu_memory_utilization=1") == {
        "max_model_len": None, "enforce_eager": True, "gpu_memory_utilization": 1.0,
    }  # fmt: skip
    assert checked('hf_overrides={"a": 1, "b": [2, 3]},quantization=fp8,kv_cache_dtype=fp8') == {
        "hf_overrides": {"a": 1, "b": [2, 3]}, "quantization": "fp8", "kv_cache_dtype": "fp8",
    }  # fmt: skip
    assert check_engine_args("--prm-args", {}, "hf") == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tensor_paralel_size=2", "no argument 'tensor_paralel_size': did you mean tensor_parallel_size"),
        ("tensor_parallel_size=two", "tensor_parallel_size takes a whole number, not 'two'"),
        ("max_model_len=8k", "max_model_len takes a whole number, not '8k'"),
        ("gpu_memory_utilization=inf", "takes a number, not 'inf'"),
        ("enforce_eager=1", "takes true or false, not '1'"),
        ("dtype=float16", "dtype is not to be set: it is set by --dtype"),
        ("model=m", "name the model by --policy or --prm"),
    ],
)
def test_what_vllm_would_not_take_is_refused(source: None, text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"^--policy-args: .*{reason}"):
        checked(text)


@pytest.mark.parametrize("text", ["", "a", "a=", "=1", "a=1,a=2", "2"])
def test_what_is_no_list_of_arguments_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        split_engine_args(text)


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_the_installed_engine_has_the_arguments_of_the_documentation() -> None:
    text = "tensor_parallel_size=2,max_model_len=8192,gpu_memory_utilization=0.3,enable_log_requests=true"
    assert set(checked(text)) == set(split_engine_args(text))


def test_engines_without_such_arguments_refuse_them(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for option in ("--policy-args", "--prm-args"):
        assert main(["--question", "?", "--engine", "hf", option, "tensor_parallel_size=2"]) == 2
        assert f"{option}: these are arguments of vLLM's engine, and the model runs on hf" in (
            " ".join(capfd.readouterr().err.split())
        )
    assert main(["--question", "?", "--engine", "hf", "--policy-args", "two"]) == 2
    assert "takes NAME=VALUE,NAME=VALUE" in " ".join(capfd.readouterr().err.split())


def test_where_a_model_runs_does_not_identify_a_run() -> None:
    args = {"tensor_parallel_size": 2, "quantization": "fp8", "gpu_memory_utilization": 0.3}
    assert of_identity(args) == {"quantization": "fp8"}


# -- shares ----------------------------------------------------------------------------------------


def test_memory_is_divided_by_sizes_and_cores_equally() -> None:
    small, large = WHOLE.split(2, (3 << 30, 15 << 30))
    assert [list(share.cores(range(4))) for share in (small, large)] == [[0, 1], [2, 3]]
    assert (small.gpu_memory, large.gpu_memory) == (0.15, 0.75)
    assert [share.gpu_memory for share in WHOLE.split(2)] == [0.45, 0.45]
    assert WHOLE.split(2, (None, 15 << 30)) == WHOLE.split(2) == (DeviceShare(0, 2), DeviceShare(1, 2))
    assert WHOLE.split(2, (1, 1 << 40))[0].gpu_memory == 0.09, "the smallest needs some, too"
    halves = large.split(2)
    assert [share.gpu_memory for share in halves] == [0.375, 0.375]


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(1, 1 << 40), min_size=1, max_size=12))
def test_parts_of_memory_add_up_and_grow_with_sizes(sizes: list[int]) -> None:
    parts = [share.memory for share in WHOLE.split(len(sizes), sizes)]
    assert sum(parts) == pytest.approx(1)
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    assert all(parts[a] <= parts[b] + 1e-9 for a, b in pairwise(order))
    assert min(parts) > 0.04


def test_sizes_are_read_off_the_files(tmp_path: Path) -> None:
    prm, weak = (str(BUILTIN / name) for name in ("prm", "prm-weak"))
    want = [sum(file.stat().st_size for file in Path(name).glob("*.safetensors")) for name in (prm, weak)]
    assert [weight_bytes(prm), prm_bytes("weak")] == want
    (tmp_path / "both.yaml").write_text(f"members: [{prm}, {weak}]\n")
    assert prm_bytes(str(tmp_path / "both.yaml")) == sum(want)
    assert weight_bytes(str(tmp_path)) is None


async def test_a_pair_on_vllm_gets_shares_by_its_sizes_and_is_no_work_for_the_garbage_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, DeviceShare] = {}

    def loader(name: str) -> Any:
        @asynccontextmanager
        async def load(*args: Any, **how: Any) -> AsyncIterator[None]:
            given[name] = next(arg for arg in (*args, *how.values()) if isinstance(arg, DeviceShare))
            yield None

        return load

    monkeypatch.setattr(models, "quiet_transformers", lambda: None)  # which imports it
    monkeypatch.setattr(models, "load_policy", loader("policy"))
    monkeypatch.setattr(models, "load_scorer", loader("scorer"))
    policy = ResolvedPolicy(
        name="p", path=str(BUILTIN / "policy"), engine="vllm", dtype="auto", tokenizer=None, servers=(),
        prompt=Prompt("{question}"), segmenter=SEGMENTERS["newline"], sampling=Sampling(), seeded=True,
    )  # fmt: skip
    prm = ResolvedPRM(name="b", model="builtin", engine="vllm", dtype="auto", public_tests=False)
    before = gc.get_freeze_count()
    with pytest.raises(ZeroDivisionError):
        async with models.load(policy, prm):
            assert gc.get_freeze_count() > before + 10_000
            1 / 0  # noqa: B018
    assert gc.get_freeze_count() == 0
    sizes = weight_bytes(policy.path) or 0, prm_bytes("builtin") or 0
    assert given["policy"].memory / given["scorer"].memory == pytest.approx(sizes[0] / sizes[1])
