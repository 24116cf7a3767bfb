"""What identifies a checkpoint: a hash of the content of all files that its output depends on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fnmatch import fnmatch
from hashlib import blake2b
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import time_ns

from prm.pretrained.cache import models_folder
from prm.reading.checkpoint import commit_of, read_json

FILES = (
    "*.safetensors", "*.bin", "*.pt", "*.pth", "*.index.json", "adapter_config.json",
    "config.json", "generation_config.json", "*quant*.json",
    "tokenizer*", "*.model", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt",
    "*.jinja", "chat_template.json",
)  # fmt: skip
"""Weights, configuration and tokenizer. A reward model's prm.json is hashed as the layout it stands for."""
NO_WEIGHTS = ("training_args.bin", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*")
"""State that a trainer leaves beside the weights."""

MERGED = "merged.json"
"""The file, in a checkpoint of the models' cache, that says which adapter was merged there."""

CACHED_FROM = 64 << 20
"""Bytes from which the hash of a file is cached: smaller files are hashed in under a tenth of a second."""
SETTLED_NS = 3 * 10**9
"""A file that changed less long ago is hashed again next time: two changes within a file system's clock
tick leave the same times."""

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last change of the content and of the inode, in ns. The latter
cannot be set back."""


def fingerprint(model: str) -> str | None:
    """Identifies a checkpoint: 32 hex digits of its files' content, or the commit of a hub id.

    An adapter that was merged into its base is identified by their content, not by that of the merged
    weights, whose last bits depend on the machine that merged them.

    model: a folder or hub id. None for a hub id that is not in the local cache, and for other names.
    """
    folder = Path(model)
    if not folder.is_dir():
        return commit_of(model)
    if folder.parent == models_folder() and (folder / MERGED).is_file():
        return str(read_json(folder / MERGED, str(folder / MERGED))["fingerprint"])
    files = sorted(_files(folder))
    with ThreadPoolExecutor() as threads:  # hashing releases the GIL
        digests = threads.map(_content, files)
        lines = [f"{file.relative_to(folder)} {digest}" for file, digest in zip(files, digests, strict=True)]
    return digest_of("\n".join(lines))


def _files(folder: Path) -> Iterator[Path]:
    for file in (*folder.iterdir(), *(folder / "additional_chat_templates").glob("*.jinja")):
        read = any(fnmatch(file.name, pattern) for pattern in FILES)
        if read and not any(fnmatch(file.name, pattern) for pattern in NO_WEIGHTS) and file.is_file():
            yield file


def digest_of(text: str) -> str:
    """32 hex digits."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


# -- hashes of files, cached ---------------------------------------------------------------------------

_IN_MEMORY: dict[tuple[str, Stamp], str] = {}
"""Hashes of this process, where the cache cannot be written."""


def _content(file: Path) -> str:
    """The hash of a file's content; from the cache if the file is large and has not changed since."""
    stamp = _stamp(file)
    if stamp[2] < CACHED_FROM:
        return _hashed(file)
    name, entry = str(file.resolve()), _entry(file)
    if (name, stamp) in _IN_MEMORY:
        return _IN_MEMORY[name, stamp]
    with suppress(OSError, ValueError, KeyError, TypeError):  # no such entry, or it is damaged
        kept = json.loads(entry.read_text())
        if kept["stamp"] == list(stamp):
            return str(kept["digest"])
    digest, now = _hashed(file), time_ns()
    if _stamp(file) == stamp and now - max(stamp[3:]) > SETTLED_NS:
        _IN_MEMORY[name, stamp] = digest
        with suppress(OSError):  # a cache that cannot be written is no error
            _write(entry, json.dumps({"file": name, "stamp": stamp, "digest": digest}))
    return digest


def _stamp(file: Path) -> Stamp:
    stat = file.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _hashed(file: Path) -> str:
    digest = blake2b(digest_size=16)
    with file.open("rb") as content:
        while part := content.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _entry(file: Path) -> Path:
    """Where the hash of this file is cached."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "prm-search" / "hashes" / f"{digest_of(str(file.resolve()))}.json"


def _write(path: Path, text: str) -> None:
    """Write a file in one piece: a reader sees all of it or the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


# -- version 0.1.0 -------------------------------------------------------------------------------------


def old_fingerprint(model: str) -> str | None:
    """What version 0.1.0 recorded: names, sizes and the first 64 KiB of local weights, as 16 hex digits."""
    folder = Path(model)
    if not folder.is_dir():
        return None
    digest = blake2b(digest_size=8)
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as weights:
            digest.update(f"{file.name} {file.stat().st_size}".encode() + weights.read(65536))
    return digest.hexdigest()
