"""Parsing programs in several threads at once."""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mutation.parsing import parse, source_lines

PROGRAM = "def f(x):\n" + "".join(f"    y{i} = [a for a in range({i}) if a % 2 == 0]\n" for i in range(30))


class Finalized:
    """Garbage whose finalizer is Python code, in which another thread may get its turn."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        sum(range(50))


@pytest.fixture
def much_switching() -> Iterator[None]:
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("much_switching")
def test_threads_may_parse_at_once() -> None:
    def at_depth(n: int, run: Callable[[], Any]) -> Any:
        return run() if n == 0 else at_depth(n - 1, run)

    def work(thread: int) -> str:
        for _ in range(50):
            for _ in range(20):
                Finalized()
            tree = at_depth(7 * thread, lambda: parse(PROGRAM))
        return ast.dump(tree)

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(work, range(4))) == {ast.dump(ast.parse(PROGRAM))}


def test_it_raises_what_pythons_parser_does() -> None:
    with pytest.raises(SyntaxError):
        parse("def")
    assert isinstance(parse("x = 1").body[0], ast.Assign)


@pytest.mark.parametrize("inside", ["", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_the_parser_counts_them(end: str, inside: str) -> None:
    program = f"a = '''x{inside}y{end}z'''{end}b = 1"
    lines = source_lines(program)
    assert "".join(lines) == program
    assert [node.end_lineno for node in parse(program).body] == [2, 3] and len(lines) == 3
