"""The bubblewrap command that isolates the sandbox's processes, and the files that they can see."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

from mutation.sandbox.inside.syscalls import this_machine
from search.errors import UsageError

INSIDE = Path(__file__).parent / "inside"
RUNNER = "/runner/mutation/sandbox/inside"
START = "import sys; sys.path.insert(0, {path!r}); from mutation.sandbox.inside.{module} import main; main()"
ENVIRONMENT = {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"}
INSTALL = (
    "install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap), or "
    "add --unsafe-no-isolation if you trust every program"
)


class SandboxError(UsageError):
    """The sandbox cannot run on this machine. Nothing was run."""


def cores() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_isolation() -> None:
    """Raises SandboxError, which says what to do, if programs cannot be isolated on this machine."""
    if shutil.which("bwrap") is None:
        raise SandboxError(f"bubblewrap is not installed; model-written code runs only inside it: {INSTALL}")
    if this_machine() is None:
        raise SandboxError(
            f"programs cannot be confined on this machine: there is no list of system calls for "
            f"{platform.system()} on {platform.machine()}. --unsafe-no-isolation runs them with resource "
            "limits only"
        )


def command(module: str, control: int, settings: dict[str, Any]) -> list[str]:
    """The command that starts a module of `inside`, which communicates on the descriptor `control`."""
    # Not -I, which would ignore PYTHONHASHSEED. The environment contains only what is set here.
    options = ["-s", "-S", "-P", "-B", "-X", "utf8", "-X", "no_debug_ranges"]
    python = [os.path.realpath(sys.executable), *options, "-c"]
    words = [str(control), json.dumps(settings)]
    if not settings["isolated"]:
        return [*python, START.format(path=str(INSIDE.parents[2]), module=module), *words]
    binds = [word for path in _interpreter() for word in ("--ro-bind", path, path)]
    hidden = [word for path in _installed_packages() for word in ("--tmpfs", path)]
    return [
        "bwrap",
        "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
        "--unshare-cgroup-try", "--hostname", "sandbox", "--cap-drop", "ALL", "--new-session",
        "--die-with-parent",
        *_links(), *binds, *hidden,
        "--ro-bind", str(INSIDE), RUNNER,
        "--dev-bind", os.devnull, os.devnull,
        "--size", str(settings["file_mb"] << 20), "--tmpfs", settings["folder"],
        "--remount-ro", "/", "--chdir", "/", "--",
        *python, START.format(path="/runner", module=module), *words,
    ]  # fmt: skip


def explained(complaint: str) -> SandboxError:
    """The reason why a server did not start, from its standard error."""
    last = complaint.strip().splitlines()[-1:] or ["it printed no error"]
    if "namespace" in complaint or "Operation not permitted" in complaint:
        fix = (
            "this system does not let bubblewrap create namespaces. In a container, allow them (for Docker: "
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined). On Ubuntu 24.04, set "
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0. Or add --unsafe-no-isolation if you "
            "trust every program"
        )
    elif "--size" in complaint:
        fix = "install bubblewrap 0.8 or later"
    else:
        fix = "see docs/guides/code.md, or add --unsafe-no-isolation if you trust every program"
    return SandboxError(f"the sandbox did not start ({last[0]}): {fix}")


@cache
def _interpreter() -> list[str]:
    """The files of the running Python: executable, standard library, and the shared libraries of both."""
    executable = os.path.realpath(sys.executable)
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    modules = [
        str(path) for folder in standard for path in Path(folder, "lib-dynload").glob("*.so")
        if not path.name.startswith("_tkinter")
    ]  # fmt: skip
    try:
        listed = subprocess.run(["ldd", executable, *modules], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SandboxError("ldd is not installed; it lists the shared libraries that Python needs") from error
    libraries = set(re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", listed.stdout, re.MULTILINE))
    cache_file = ["/etc/ld.so.cache"] if os.path.exists("/etc/ld.so.cache") else []
    paths = [*sorted(standard), *sorted(libraries), *cache_file]
    # Folders without symbolic links: the target of a link does not exist yet when the file is bound.
    return [executable, *(str(Path(path).parent.resolve() / Path(path).name) for path in paths)]


def _links() -> list[str]:
    """The symbolic links in the root folder to the libraries (/lib is usr/lib on most systems)."""
    tops = [path for path in ("/lib", "/lib64", "/bin") if os.path.islink(path)]
    return [word for path in tops for word in ("--symlink", os.readlink(path), path)]


def _installed_packages() -> list[str]:
    """The folders of installed packages, which are inside that of the standard library."""
    standard = Path(sysconfig.get_path("stdlib"))
    return [str(standard / name) for name in ("site-packages", "dist-packages") if (standard / name).is_dir()]
