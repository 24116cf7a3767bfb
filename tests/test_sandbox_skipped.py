"""What is said, and done, where bubblewrap is not installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests import sandboxed
from tests.sandboxed import CANNOT_RUN, skipped_line

ROOT = Path(__file__).parent.parent


def test_the_last_line_says_how_many_were_skipped_why_and_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = [f"Skipped: {CANNOT_RUN}namespaces are not allowed", "Skipped: no GPU"] * 2
    monkeypatch.setattr(sandboxed.shutil, "which", lambda name: None)
    monkeypatch.setattr(sandboxed.os, "geteuid", lambda: 1000)
    line = skipped_line(reasons)
    assert line.startswith("2 tests skipped") and "bubblewrap is not installed" in line
    assert "sudo apt-get install bubblewrap" in line and "\n" not in line
    monkeypatch.setattr(sandboxed.shutil, "which", lambda name: "/usr/bin/bwrap")
    assert "namespaces are not allowed" in skipped_line(reasons[:1])
    assert skipped_line(["Skipped: no GPU"]) == "" and skipped_line([]) == ""


@pytest.mark.parametrize("workers", [["-n", "0"], ["-n", "2"]])
def test_a_run_without_bubblewrap_ends_with_that_line(workers: list[str], tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    command = [sys.executable, "-m", "pytest", "-q", *workers, "tests/test_sandbox_functions.py", "-p",
               "no:cacheprovider"]  # fmt: skip
    run = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    last = run.stdout.strip().splitlines()[-1]
    assert run.returncode == 0 and "bubblewrap is not installed" in last, run.stdout + run.stderr
    assert last.split()[0].isdigit() and "apt-get install bubblewrap" in last


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / ".ci" / "install.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    return module


@pytest.mark.parametrize(
    ("root", "apt", "fails", "ran", "said"),
    [
        (True, True, (), 1, ""),
        (True, True, ("install",), 3, "apt-get failed: E: no network"),
        (True, False, (), 0, "there is no apt-get"),
        (False, True, (), 0, "run as root"),
    ],
)
def test_bubblewrap_is_installed_where_it_can_be(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], root: bool,
    apt: bool, fails: tuple[str, ...], ran: int, said: str,
) -> None:  # fmt: skip
    commands: list[tuple[str, ...]] = []

    def execute(*command: str) -> str:
        commands.append(command)
        if any(word in command for word in fails):
            raise install.Failed("E: no network")
        return ""

    monkeypatch.setattr(install, "execute", execute)
    monkeypatch.setattr(install.os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(install.shutil, "which", lambda name: name if apt and name != "bwrap" else None)
    install.install_bubblewrap()
    output = capsys.readouterr().out
    assert len(commands) == ran and (not said or said in output)
    if said:
        assert "sudo apt-get install bubblewrap" in output.splitlines()[-1]
    commands.clear()
    monkeypatch.setattr(install.shutil, "which", lambda name: f"/usr/bin/{name}")
    install.install_bubblewrap()
    assert not commands
