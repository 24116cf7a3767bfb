"""The documentation is true: its examples run, its links lead somewhere, its commands exist."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "bench" / "builtin" / "README.md"]
RECORDED = ROOT / "tests" / "recorded"
EMBEDDING = ROOT / "docs" / "guides" / "embedding.md"

BLOCK = re.compile(r"^```python\n(.*?)^```", re.S | re.M)
FENCED = re.compile(r"^```.*?^```", re.S | re.M)
INLINE_CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.M)
MODULE = re.compile(r"(?<!\S)-m ((?:search|prm|mutation|bench)[\w.]*)([^\n`]*)")
OPTION = re.compile(r"(?<!\S)--[a-z][\w-]*")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = HEADING.findall(FENCED.sub("", read(page)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def options_by_module() -> dict[str, set[str]]:
    """Every module of a documented command `python -m MODULE ...`, with the options it is given."""
    options: dict[str, set[str]] = defaultdict(set)
    for page in PAGES:
        for module, rest in MODULE.findall(read(page)):
            options[module.rstrip(".")].update(OPTION.findall(rest.partition("#")[0]))
    return options


COMMANDS = options_by_module()
EXAMPLES = [
    pytest.param(code, id=f"{name(page)}-{number}")
    for page in PAGES
    for number, code in enumerate(BLOCK.findall(read(page)), start=1)
]


def output(code: str, folder: Path) -> str:
    """What the code prints, in a folder with a recorded run."""
    shutil.copytree(RECORDED, folder / "runs" / "mine")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_example_runs_and_prints_something(code: str, tmp_path: Path) -> None:
    assert output(code, tmp_path).strip()


def test_the_embedding_example_finds_the_way_down_and_is_short(tmp_path: Path) -> None:
    code = BLOCK.findall(read(EMBEDDING))[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    ways = {line.split()[0]: re.findall(r"'(\d+)'", line) for line in output(code, tmp_path).splitlines()}
    assert ways == {
        "ten": [str(n) for n in range(9, -1, -1)],
        "five": [str(n) for n in range(4, -1, -1)],
    }


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_resolves(page: Path) -> None:
    text = INLINE_CODE.sub("", FENCED.sub("", read(page)))
    broken = []
    for link in LINK.findall(text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_and_picture_is_linked() -> None:
    files = {path for path in (ROOT / "docs").rglob("*") if path.is_file()}
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in LINK.findall(read(page))
    }
    assert {name(path) for path in files - linked} == set()


def test_documented_commands_are_found() -> None:
    assert {"search.run", "prm.train", "prm.evaluate", "mutation.build", "bench.grade"} <= COMMANDS.keys()


@pytest.mark.parametrize("module", sorted(COMMANDS))
def test_every_documented_command_exists_and_takes_its_options(
    module: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # runpy's, if the module was imported before
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert not ended.value.code
    assert COMMANDS[module] <= set(OPTION.findall(capfd.readouterr().out.replace("[", " ")))


def test_the_readme_is_short() -> None:
    assert len(read(README).splitlines()) < 200
