"""vLLM's engine arguments as a user gives them: checked before vLLM is imported, which takes seconds."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from search.errors import UsageError

NOT_TO_BE_SET = {
    "model": "name the model by --policy or --prm", "dtype": "it is set by --dtype",
    "runner": "policies generate, and reward models pool", "disable_log_stats": "no statistics are logged",
    "worker_extension_cls": "the heads of reward models need it",
}  # fmt: skip
"""Arguments that are the engine's own business, and why."""

PLACEMENT = frozenset({
    "gpu_memory_utilization", "kv_cache_memory_bytes", "tensor_parallel_size", "pipeline_parallel_size",
    "data_parallel_size", "distributed_executor_backend", "max_num_seqs", "max_num_batched_tokens",
    "cpu_offload_gb", "enforce_eager", "block_size", "enable_prefix_caching", "enable_chunked_prefill",
    "download_dir", "load_format",
})  # fmt: skip
"""Arguments on which results depend no more than by the order of sums. Others identify a run."""

_TAKES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}


def split_engine_args(text: str) -> dict[str, str]:
    """NAME=VALUE,NAME=VALUE as a mapping. Values may hold commas, as JSON does. Raises UsageError."""
    given: dict[str, str] = {}
    for part in re.split(r",(?=\s*[A-Za-z_][\w-]*=)", text):
        name, equals, value = part.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if not equals or not name or not value.strip():
            raise UsageError(f"takes NAME=VALUE,NAME=VALUE, not {text!r}")
        if name in given:
            raise UsageError(f"{name} is given twice")
        given[name] = value.strip()
    return given


def check_engine_args(option: str, given: Mapping[str, str], engine: str) -> dict[str, Any]:
    """The arguments with values of their types. Raises UsageError, naming the option.

    engine: that the model runs on.
    """
    if not given:
        return {}
    if engine != "vllm":
        raise UsageError(f"{option}: these are arguments of vLLM's engine, and the model runs on {engine}")
    known = _known(_source())
    values = {}
    for name, text in given.items():
        if name in NOT_TO_BE_SET:
            raise UsageError(f"{option}: {name} is not to be set: {NOT_TO_BE_SET[name]}")
        if name not in known:
            close = get_close_matches(name, known, n=3, cutoff=0.5)
            meant = f": did you mean {' or '.join(close)}?" if close else ""
            raise UsageError(f"{option}: vLLM's engine has no argument {name!r}{meant}")
        values[name] = _value(f"{option}: {name}", text, known[name])
    return values


def of_identity(args: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments that results depend on."""
    return {name: value for name, value in args.items() if name not in PLACEMENT}


def _source() -> Path:
    """The module that defines `AsyncEngineArgs`, in the installed vLLM."""
    spec = find_spec("vllm")
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / "engine" / "arg_utils.py"


@cache
def _known(source: Path) -> dict[str, str]:
    """The fields of `AsyncEngineArgs` with their annotations, read off its source."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return {
        field.target.id: ast.unparse(field.annotation)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name in ("EngineArgs", "AsyncEngineArgs")
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def _value(where: str, text: str, annotation: str) -> Any:
    """`text` as a value of the type: of a number, a truth value or a text, as Python or JSON writes them.

    Values of other types are taken as JSON, or else as a text; vLLM checks them when it starts.
    """
    kinds = [kind.strip() for kind in annotation.strip("\"'").split("|")]
    simple = [kind for kind in kinds if kind in _TAKES]
    if "None" in kinds and text.lower() in ("none", "null"):
        return None
    for kind in simple:
        try:
            return _simple(kind, text)
        except ValueError:
            continue
    if len(simple) == len([kind for kind in kinds if kind != "None"]):
        raise UsageError(f"{where} takes {' or '.join(_TAKES[kind] for kind in simple)}, not {text!r}")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _simple(kind: str, text: str) -> Any:
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    if kind == "str":
        return text
    number = int(text) if kind == "int" else float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
