"""How many parameters a checkpoint has, read from the headers of its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from prm.reading.checkpoint import read_config
from prm.reading.size import BIN, bin_bytes_on_hub
from prm.reading.zoo import find
from search.errors import UsageError, reason

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}


def count_parameters(path: str) -> int:
    """The parameters of a checkpoint, a folder or hub id. No weights are read.

    Of files of PyTorch (*.bin), which have no header to read, their sizes tell, to within a thousandth.
    Raises UsageError.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        headers = [_header(file) for file in sorted(folder.glob("*.safetensors"))]
        total: int = sum(prod(tensor["shape"]) for header in headers for tensor in header.values())
        n_bytes = sum(file.stat().st_size for file in folder.glob(BIN))
    else:
        total, n_bytes = _on_hub(path)
    total = total or n_bytes // _bytes_each(path)
    if not total:
        raise UsageError(f"--budget: cannot tell how many parameters {path} has: it has no weights")
    return total


def _bytes_each(path: str) -> int:
    """Of a parameter, in the precision that the configuration names."""
    fields = read_config(path)
    name = str(fields.get("dtype") or fields.get("torch_dtype") or "float32")
    return BYTES.get(name.removeprefix("torch."), 4)


def _header(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """The tensors of a file, by name: https://huggingface.co/docs/safetensors#format."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except (OSError, ValueError) as error:
        raise UsageError(f"--budget: cannot read {path}: {reason(error)}") from error
    return {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def _on_hub(name: str) -> tuple[int, int]:
    """The parameters in files of safetensors, and the bytes of files of PyTorch. Raises UsageError."""
    from huggingface_hub import get_safetensors_metadata
    from huggingface_hub.errors import NotASafetensorsRepoError

    try:
        try:
            return int(sum(get_safetensors_metadata(name).parameter_count.values())), 0
        except NotASafetensorsRepoError:
            return 0, bin_bytes_on_hub(name)
    except Exception as error:  # no network, no such model: the client has a class for each
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
