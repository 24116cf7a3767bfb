"""Starting vLLM's `AsyncLLM`, for the policy and for the reward model alike."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from search.devices import WHOLE, DeviceShare
from search.errors import SearchError, UsageError
from search.precision import served

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

T = TypeVar("T")

BLOCK_SIZE = 32
"""Tokens a cache block on a CPU, the least it takes. Only whole blocks are reused: with vLLM's own
128, the prefix of a short problem never is."""


def start_engine(model: str, *, share: DeviceShare = WHOLE, **settings: Any) -> AsyncLLM:
    """Start an engine in its own process. Raises UsageError with vLLM's reason if it cannot.

    part: what it has of the machine beside other engines; VLLM_CPU_OMP_THREADS_BIND, or
        `gpu_memory_utilization` among the settings, overrides it.
    settings: vLLM's engine arguments.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    with _aside() as said:
        try:
            return _start(model, share, settings)
        except (ValueError, OSError, RuntimeError) as error:
            reason = f"vLLM cannot serve {model}: {error}; what it said is in {said}"
            raise UsageError(reason) from error


def _start(model: str, share: DeviceShare, settings: dict[str, Any]) -> AsyncLLM:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    logging.getLogger("vllm").setLevel(logging.ERROR)
    environment: dict[str, str] = {}
    if current_platform.is_cpu():
        environment["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB; the default is half of the memory
        if share != WHOLE:
            mine = share.cores(sorted(os.sched_getaffinity(0)))
            environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, mine))
        settings["dtype"] = served(settings.get("dtype", "auto"))
        settings.setdefault("block_size", BLOCK_SIZE)
        settings.setdefault("enforce_eager", True)  # compiling takes a minute, for nothing at this size
        # A seeded request whose prompt is computed in parts stops the CPU engine: vLLM then rewinds
        # the request's generator, which CPU generators cannot do (0.32, `_bookkeeping_sync`).
        settings.setdefault("enable_chunked_prefill", False)
    elif share != WHOLE:
        settings.setdefault("gpu_memory_utilization", share.gpu_memory)
    added = [name for name in environment if name not in os.environ]
    os.environ.update({name: environment[name] for name in added})
    try:
        args = AsyncEngineArgs(
            model=model, disable_log_stats=True, **{"enable_prefix_caching": True, **settings}
        )
        return AsyncLLM.from_engine_args(args)
    finally:
        for name in added:  # inherited by the engine's process; the next one gets its own
            del os.environ[name]


async def final(outputs: AsyncIterator[T], failure: type[SearchError]) -> T:
    """The last of a request's outputs, which is the whole one. Raises `failure` if it fails or has none."""
    result = None
    try:
        async for output in outputs:
            result = output
    except Exception as error:
        raise failure(f"vLLM failed: {error}") from error
    if result is None:
        raise failure("vLLM returned nothing")
    return result


@contextmanager
def _aside() -> Iterator[str]:
    """Send what this process, and those it starts, write to the terminal into a file; yield its path.

    The engine's processes write past Python's logging: progress bars, warnings of C++ libraries.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.NamedTemporaryFile("w", prefix="prm-search-vllm-", suffix=".log", delete=False) as file:
        kept = [(number, os.dup(number)) for number in (1, 2)]
        try:
            for number, _ in kept:
                os.dup2(file.fileno(), number)
            yield file.name
        finally:
            for number, copy in kept:
                os.dup2(copy, number)
                os.close(copy)
