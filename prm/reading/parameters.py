"""How many parameters a checkpoint has, read from the headers of its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from prm.reading.zoo import find
from search.errors import UsageError, reason


def count_parameters(path: str) -> int:
    """The parameters of a checkpoint, a folder or hub id. No weights are read. Raises UsageError."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        headers = [_header(file) for file in sorted(folder.glob("*.safetensors"))]
        total: int = sum(prod(tensor["shape"]) for header in headers for tensor in header.values())
    else:
        total = _on_hub(path)
    if not total:
        raise UsageError(f"--budget: cannot tell how many parameters {path} has: it has no *.safetensors")
    return total


def _header(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """The tensors of a file, by name: https://huggingface.co/docs/safetensors#format."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except (OSError, ValueError) as error:
        raise UsageError(f"--budget: cannot read {path}: {reason(error)}") from error
    return {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def _on_hub(name: str) -> int:
    from huggingface_hub import get_safetensors_metadata

    try:
        return int(sum(get_safetensors_metadata(name).parameter_count.values()))
    except Exception as error:  # no network, no such model, no safetensors: the client has a class for each
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"--budget: cannot tell how many parameters {name} has: {first}") from error


def reward_model_parameters(name: str, count: Callable[[str], int] = count_parameters) -> int:
    """The parameters of a reward model, as `prm.reading.zoo.find` knows it. Raises UsageError.

    count: of a checkpoint.
    """
    entry = find(name)
    if entry.members:
        return sum(reward_model_parameters(member, count) for member in entry.members)
    return count(entry.model)
