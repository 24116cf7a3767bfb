"""Two processes never write to one file of a run: the second is told, and what the first wrote stays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.runner.merging import merge
from search.errors import UsageError
from search.jsonl import JsonLinesFile
from search.trace import Trace

HOLDS = """
import sys
from pathlib import Path
from {module} import {name}
held = {name}(Path(sys.argv[1]), {arguments})
{then}
print("held", flush=True)
sys.stdin.read()
"""
TRACE = HOLDS.format(module="search.trace", name="Trace", arguments="{}", then="")
RESULTS = HOLDS.format(
    module="search.jsonl", name="JsonLinesFile", arguments="", then="held.append([{'a': 1}])"
)


@pytest.mark.parametrize(
    ("holder", "opened"),
    [
        (TRACE, lambda path: Trace(path, {})), (RESULTS, JsonLinesFile),
        (TRACE, lambda path: merge([path], [], path, lambda done: None)),
    ],
    ids=["trace", "results", "merge"],
)
def test_a_file_that_another_process_writes_is_refused_until_that_one_ends(
    holder: str, opened: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "file.jsonl"
    other = subprocess.Popen(
        [sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        before = path.read_bytes()
        with pytest.raises(UsageError, match=r"file\.jsonl: another process is writing to it"):
            opened(path)
        assert path.read_bytes() == before
    finally:
        other.kill()
        other.communicate()
    opened(path)


def test_where_there_are_no_such_locks_a_trace_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    Trace(tmp_path / "trace.jsonl", {})
    assert (tmp_path / "trace.jsonl").exists()


def test_what_is_refused_at_its_first_line_is_refused_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    late = JsonLinesFile(path)
    assert not path.exists(), "made with the first line: bad input leaves nothing"
    other = subprocess.Popen(
        [sys.executable, "-c", RESULTS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        for _ in range(2):
            with pytest.raises(UsageError, match="another process"):
                late.append([{"b": 2}])
        assert path.read_bytes() == b'{"a": 1}\n'
    finally:
        other.kill()
        other.communicate()
