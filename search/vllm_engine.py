"""Starting vLLM's `AsyncLLM`, for the policy and for the reward model alike."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from search.errors import UsageError

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM


def start_engine(model: str, *, core: int | None = None, **settings: Any) -> AsyncLLM:
    """Start an engine in its own process. Raises UsageError with vLLM's reason if it cannot.

    core: on a CPU, which half of the cores it computes on (0 or 1), so that a policy and a reward
        model do not fight for them; None is all of them. VLLM_CPU_OMP_THREADS_BIND overrides it.
    settings: vLLM's engine arguments.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    logging.getLogger("vllm").setLevel(logging.ERROR)
    environment: dict[str, str] = {}
    if current_platform.is_cpu():
        environment["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB; the default is half of the memory
        cores = sorted(os.sched_getaffinity(0))
        if core is not None and len(cores) > 1:
            half = len(cores) // 2
            mine = cores[:half] if core == 0 else cores[half:]
            environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, mine))
        settings.setdefault("enforce_eager", True)  # compiling takes a minute, for nothing at this size
        # A seeded request whose prompt is computed in parts stops the CPU engine: vLLM then rewinds
        # the request's generator, which CPU generators cannot do (0.32, `_bookkeeping_sync`).
        settings.setdefault("enable_chunked_prefill", False)
    added = [name for name in environment if name not in os.environ]
    os.environ.update({name: environment[name] for name in added})
    try:
        args = AsyncEngineArgs(
            model=model, disable_log_stats=True, **{"enable_prefix_caching": True, **settings}
        )
        return AsyncLLM.from_engine_args(args)
    except (ValueError, OSError, RuntimeError) as error:
        raise UsageError(f"vLLM cannot serve {model}: {error}") from error
    finally:
        for name in added:  # inherited by the engine's process; the next one gets its own
            del os.environ[name]
