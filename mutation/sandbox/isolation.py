"""How the sandbox's processes are shut in: the bubblewrap command, and what of this machine is in there."""

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
    "add --unsafe-no-isolation if every program is to be trusted"
)


class SandboxError(UsageError):
    """The sandbox cannot run here; nothing was run."""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_isolation() -> None:
    """Raises SandboxError, with what to do, where programs cannot be shut in."""
    if shutil.which("bwrap") is None:
        raise SandboxError(f"bubblewrap is missing, and model-written code runs nowhere else: {INSTALL}")
    if this_machine() is None:
        raise SandboxError(
            f"no list of system calls for {platform.system()} on {platform.machine()}: programs cannot be "
            "confined here; --unsafe-no-isolation runs them with resource limits only"
        )


def command(module: str, control: int, settings: dict[str, Any]) -> list[str]:
    """The command that starts a module of `inside`, which speaks on the descriptor `control`."""
    # Not -I, which would not let the hash seed be set; the environment is nobody's but ours.
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
    """Why a server did not start, from what it wrote to its standard error."""
    last = complaint.strip().splitlines()[-1:] or ["it said nothing"]
    if "namespace" in complaint or "Operation not permitted" in complaint:
        fix = (
            "this system does not let bubblewrap make namespaces: in a container, allow them (for Docker "
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined); on Ubuntu 24.04, sysctl "
            "kernel.apparmor_restrict_unprivileged_userns=0; or add --unsafe-no-isolation if every program "
            "is to be trusted"
        )
    elif "--size" in complaint:
        fix = "bubblewrap 0.8 or later is needed"
    else:
        fix = "see docs/mutation.md, or add --unsafe-no-isolation if every program is to be trusted"
    return SandboxError(f"the sandbox does not start ({last[0]}): {fix}")


@cache
def _interpreter() -> list[str]:
    """The files of the running Python: executable, standard library, the shared libraries of both."""
    executable = os.path.realpath(sys.executable)
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    modules = [
        str(path) for folder in standard for path in Path(folder, "lib-dynload").glob("*.so")
        if not path.name.startswith("_tkinter")
    ]  # fmt: skip
    try:
        listed = subprocess.run(["ldd", executable, *modules], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SandboxError("ldd is missing, which says what libraries Python needs") from error
    libraries = set(re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", listed.stdout, re.MULTILINE))
    cache_file = ["/etc/ld.so.cache"] if os.path.exists("/etc/ld.so.cache") else []
    found = [*sorted(standard), *sorted(libraries), *cache_file]
    # Through no symbolic link but the last: a link's target is not there yet when it is bound.
    return [executable, *(str(Path(path).parent.resolve() / Path(path).name) for path in found)]


def _links() -> list[str]:
    """The root's own symbolic links to where libraries are (/lib is usr/lib on most systems)."""
    tops = [path for path in ("/lib", "/lib64", "/bin") if os.path.islink(path)]
    return [word for path in tops for word in ("--symlink", os.readlink(path), path)]


def _installed_packages() -> list[str]:
    """Folders inside the standard library that hold what is not of it."""
    standard = Path(sysconfig.get_path("stdlib"))
    return [str(standard / name) for name in ("site-packages", "dist-packages") if (standard / name).is_dir()]
