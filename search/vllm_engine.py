"""Starting vLLM's `AsyncLLM`, for policies and for reward models."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from search.devices import WHOLE, DeviceShare
from search.errors import SearchError, UsageError
from search.precision import served_by_vllm

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.engine.async_llm import AsyncLLM

T = TypeVar("T")

BLOCK_SIZE = 32
"""Tokens per cache block on a CPU, the smallest size that vLLM takes there. Only whole blocks are
reused: with vLLM's default of 128, the prefix of a short problem would never be."""


_OURS = "PRM_SEARCH_ENGINE"
"""Set in the environment of the processes that `start_engine` starts."""

UNGUARDED = (
    "vLLM runs in a process of its own, which imports your script again: the script must start the engine "
    'inside `if __name__ == "__main__":`, e.g. `if __name__ == "__main__": asyncio.run(main())`'
)
REIMPORT_FAILED = (
    "vLLM runs in a process of its own, which imports your script again, and that failed: what must not run "
    'there belongs inside `if __name__ == "__main__":`'
)
_STARTED_AGAIN = re.compile(f"{re.escape(UNGUARDED)}|finished its bootstrapping phase")
"""In the output of a new process that started another one while it imported the main module."""
_IMPORTED_AGAIN = re.compile(r"_fixup_main_from_(path|name)")
"""In the traceback of a new process that failed while it imported the main module."""


def start_engine(model: str, *, share: DeviceShare = WHOLE, **settings: Any) -> AsyncLLM:
    """Start an engine in a process of its own. Raises UsageError with the reason if that fails.

    share: this engine's share of the machine. VLLM_CPU_OMP_THREADS_BIND in the environment, or
        `gpu_memory_utilization` in the settings, overrides it.
    settings: vLLM's engine arguments.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(UNGUARDED)  # this is the new process, importing the script; the other one is told
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    with _output_in_a_file() as log:
        try:
            return _start(model, share, settings)
        except (ValueError, OSError, RuntimeError) as error:
            if reason := _failed_import(Path(log).read_text(errors="replace")):
                raise UsageError(f"{reason}; the output of the new process is in {log}") from error
            raise UsageError(f"vLLM cannot serve {model}: {error}; its output is in {log}") from error


def _failed_import(output: str) -> str | None:
    """What is wrong with the script if the new process failed while it imported it, else None.

    output: of the new process.
    """
    if _STARTED_AGAIN.search(output):
        return UNGUARDED
    return REIMPORT_FAILED if _IMPORTED_AGAIN.search(output) else None


def _start(model: str, share: DeviceShare, settings: dict[str, Any]) -> AsyncLLM:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.executor import UniProcExecutor

    logging.getLogger("vllm").setLevel(logging.ERROR)
    settings["dtype"] = served_by_vllm(settings.get("dtype", "auto"), model)
    environment = {_OURS: "1"}
    if current_platform.is_cpu():
        environment["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB; the default is half of all memory
        # Parts of vLLM's sampler are compiled even in eager mode, which needs a C++ compiler, and on a busy
        # machine fails when torch's probe of the CPU's instructions times out.
        environment["TORCHDYNAMO_DISABLE"] = "1"
        if share != WHOLE:
            mine = share.cores(sorted(os.sched_getaffinity(0)))
            environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, mine))
        settings.setdefault("block_size", BLOCK_SIZE)
        settings.setdefault("enforce_eager", True)  # compiling takes a minute and gains nothing here
        # The CPU engine crashes on a seeded request whose prompt is computed in chunks: vLLM rewinds the
        # request's generator, which CPU generators do not support (0.32, `_bookkeeping_sync`).
        settings.setdefault("enable_chunked_prefill", False)
        # vLLM turns "uni" into "mp" here, and the engine and its worker then wait for each other on busy
        # cores. The executor's class is left as it is: one process for each engine.
        if settings.get("tensor_parallel_size", 1) == settings.get("pipeline_parallel_size", 1) == 1:
            settings.setdefault("distributed_executor_backend", UniProcExecutor)
    elif share != WHOLE:
        settings.setdefault("gpu_memory_utilization", share.gpu_memory)
    added = [name for name in environment if name not in os.environ]
    os.environ.update({name: environment[name] for name in added})
    try:
        args = AsyncEngineArgs(
            model=model, disable_log_stats=True, **{"enable_prefix_caching": True, **settings}
        )
        config = args.create_engine_config()
        with _threads(config):
            return AsyncLLM.from_vllm_config(config, disable_log_stats=True)
    finally:
        for name in added:  # the engine's process has inherited them; the next engine gets its own
            del os.environ[name]


def leave_interrupts_to_the_parent() -> None:
    """Ignore SIGINT in this process, if it is an engine's that `start_engine` has started.

    vLLM calls this in all its processes (pyproject.toml, `vllm.general_plugins`). A terminal sends Ctrl-C to
    engines as well, which would stop answering at once, before the parent has stopped to ask.
    """
    if os.environ.get(_OURS) and multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _threads(config: VllmConfig) -> AbstractContextManager[None]:
    """Set the environment for the threads of an engine's process, as vLLM does for a worker of its own."""
    from vllm.utils.ompmultiprocessing import OMPProcessManager
    from vllm.v1.executor import UniProcExecutor

    if config.parallel_config.distributed_executor_backend is not UniProcExecutor:
        return nullcontext()
    threads: AbstractContextManager[None] = OMPProcessManager(config).configure_omp_envs(0, 0)
    return threads


async def final(outputs: AsyncIterator[T], failure: type[SearchError]) -> T:
    """The last output of a request, which is the complete one. Raises `failure` if there is none."""
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
def _output_in_a_file() -> Iterator[str]:
    """Redirect stdout and stderr of this process, and of those it starts, to a file; yield its path.

    This catches what does not go through Python's logging: progress bars, warnings of C++ libraries.
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
