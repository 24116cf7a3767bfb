"""How large a checkpoint's weights are. None are read."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from prm.reading.zoo import find

BIN = "pytorch_model*.bin"
"""Weights as PyTorch stores them; other *.bin files are not weights."""


def prm_bytes(name: str) -> int | None:
    """The weights of a reward model, of all members of an ensemble, in bytes; None if that is not known.

    name: as `prm.reading.zoo.find` takes it. Raises UsageError.
    """
    entry = find(name)
    if not entry.members:
        return weight_bytes(entry.model)
    sizes = [prm_bytes(member) for member in entry.members]
    return None if None in sizes else sum(size or 0 for size in sizes)


def weight_bytes(model: str) -> int | None:
    """The weights as they are stored, in bytes; None if that is not known. model: a folder or hub id."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(model, "config.json")
        folder = Path(cached).parent if isinstance(cached, str) else Path()
        if not isinstance(cached, str) or not _stored(folder):
            return _on_hub(model)
    return _stored(folder) or None


def _stored(folder: Path) -> int:
    for kind in ("*.safetensors", BIN):
        if size := sum(file.stat().st_size for file in folder.glob(kind)):
            return size
    return 0


def _on_hub(model: str) -> int | None:
    """Of a hub id whose weights are not here yet: from the headers or the sizes of its files."""
    from huggingface_hub import get_safetensors_metadata
    from huggingface_hub.errors import NotASafetensorsRepoError

    try:
        try:
            files = get_safetensors_metadata(model).files_metadata.values()
        except NotASafetensorsRepoError:
            return bin_bytes_on_hub(model) or None
    except Exception:  # no network, no such model: the client has a class for each
        return None
    return sum(end - begin for f in files for begin, end in (t.data_offsets for t in f.tensors.values()))


def bin_bytes_on_hub(model: str) -> int:
    """The bytes of a hub model's files of PyTorch. Raises what huggingface_hub raises."""
    from huggingface_hub import HfApi

    files = HfApi().model_info(model, files_metadata=True).siblings or []
    return sum(file.size or 0 for file in files if fnmatch(file.rfilename, BIN))
