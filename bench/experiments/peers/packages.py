"""The packages that are compared with, each installed into a folder of its own."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

from search.errors import UsageError

PINNED = {
    "reasoners": ("llm-reasoners==1.0.2",),
    "treequest": ("treequest==0.3.3", "ulid-py==1.1.0"),
    "its_hub": ("its_hub==1.2.0",),
}
"""Without their dependencies: those that are used here are installed with this project."""


def load(package: str, module: str) -> Any:
    """A module of a package, installed into runs/peers/ the first time. Raises UsageError.

    The folder comes last on the path, so that nothing in it hides what is installed here.
    """
    folder = Path("runs/peers", package)
    if not folder.is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        if subprocess.run([*pip, *PINNED[package]], check=False).returncode:
            raise UsageError(f"pip could not install {' '.join(PINNED[package])} into {folder}")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return importlib.import_module(module)
