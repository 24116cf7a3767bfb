"""What a run is run on: recorded with its results, because speed and the last digits depend on it."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "transformers", "vllm", "numpy", "math-verify")


@cache
def machine() -> dict[str, str]:
    """The hardware (`cpu`, `cores`, `gpu`) and the versions of Python and of the libraries, in words."""
    return {
        "cpu": _cpu(), "cores": str(os.cpu_count()), "gpu": _gpu(), "system": platform.platform(),
        "python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }  # fmt: skip


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()


def _gpu() -> str:
    """The GPUs as nvidia-smi lists them; "none" without it."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "none"
    return ", ".join(listed.stdout.split("\n")).strip(", ") or "none"
