"""Writes report.html: the page, its data, and the search trees in compressed blocks.

The page comes first and works while the rest of the file is still being read. A block holds the trees of
some problems of one cell: JSON, gzip, base64, in a script element that no browser runs. It is decoded when
one of its trees is looked at.
"""

from __future__ import annotations

import gzip
import json
import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from bench.report.diagnosed import DiagnosedGrid, Watch
from bench.report.html.index import index
from bench.report.html.standings import standings
from bench.report.html.trees import tree_json
from bench.report.methods import methods_of
from bench.report.recorded import RecordedRun, read_trace
from bench.report.sides import Graders

MOST_BYTES = 100_000_000
"""Of the trees, as they are stored; each cell has an equal share. The results are whole anyway."""
BLOCK = 400_000
"""Characters of JSON in a block, at least: about what a browser decodes in 10 ms."""
SCRIPTS = ("dom.js", "data.js", "chart.js", "overview.js", "problems.js", "tree.js", "main.js")


def write_html(
    report: DiagnosedGrid, out: Path, *, most_bytes: int = MOST_BYTES, watch: Watch = lambda what: None
) -> None:
    """Write the report of a grid to a file; a kill leaves the old one, or none.

    most_bytes: of the stored trees. Those of a cell that are beyond its share, those of the last problems,
        are left out, and the page says so. watch: told the methods as their trees are written.
    Raises UsageError if a trace cannot be read.
    """
    grid = report.grid
    methods = methods_of(grid)
    watch("comparing")
    found = standings(methods, grid.baseline)
    diagnoses = [report.diagnoses[method.strategy, method.budget] for method in methods]
    unfinished = out.with_name(f".{out.name}.unfinished")
    with TemporaryFile(dir=out.parent) as trees:
        store = _Store(trees, most_bytes // len(grid.cells))
        blocks = list[list[int]]()
        for method, diagnosis in zip(methods, diagnoses, strict=True):
            watch(f"trees of {method.name}")
            for cell in method.cells:
                why = {loss.problem: loss.why for loss in diagnosis.losses if loss.seed == cell.seed}
                blocks.append(store.add(read_trace(cell.trace), list(grid.problems), report.graders, why))
        data = index(grid, found, diagnoses, blocks, out.parent)
        try:
            with unfinished.open("wb") as file:
                file.write(page(grid.title, data).encode())
                trees.seek(0)
                while part := trees.read(1 << 20):
                    file.write(part)
                file.write(b"</body>\n</html>\n")
            os.replace(unfinished, out)
        finally:
            unfinished.unlink(missing_ok=True)


class _Store:
    """Writes trees as blocks, one after the other. share: bytes that the trees of one cell may take."""

    def __init__(self, file: IO[bytes], share: int):
        self._file, self._share, self._blocks = file, share, 0

    def add(
        self, run: RecordedRun, problems: Sequence[str], graders: Graders, why: Mapping[str, str]
    ) -> list[int]:
        """Write the trees of a cell. Returns the block of each problem, -1 where its tree is left out."""
        where, taken, size = dict[str, int](), 0, 0
        waiting = dict[str, str]()
        for problem in [*problems, None]:
            if problem is not None and problem in run.trees:
                tree = tree_json(run, problem, graders) | {"why": why.get(problem, "")}
                waiting[problem] = json.dumps(tree, separators=(",", ":"))
                size += len(waiting[problem])
            if waiting and (size >= BLOCK or problem is None):
                block = _block(self._blocks, waiting)
                taken += len(block)
                if taken > self._share:
                    break
                self._file.write(block)
                where.update(dict.fromkeys(waiting, self._blocks))
                self._blocks, size = self._blocks + 1, 0
                waiting.clear()
        return [where.get(problem, -1) for problem in problems]


def _block(number: int, trees: Mapping[str, str]) -> bytes:
    body = ",".join(f"{json.dumps(problem)}:{tree}" for problem, tree in trees.items())
    packed = b64encode(gzip.compress(f"{{{body}}}".encode(), 6, mtime=0))
    return b'<script type="application/octet-stream" id="block-%d">%b</script>\n' % (number, packed)


def page(title: str, data: Mapping[str, Any]) -> str:
    """The document up to the trees. Its policy allows this script and this style, and nothing else."""
    style, script = read("style.css"), "\n".join(map(read, SCRIPTS))
    script = f'(() => {{\n"use strict";\n{script}}})();\n'
    parts = {
        "TITLE": _escaped(title), "STYLE": style, "SCRIPT": script,
        "STYLE_HASH": _hash(style), "SCRIPT_HASH": _hash(script),
        "DATA": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    }  # fmt: skip
    text = read("template.html")
    pieces = text.split("%%")
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def read(name: str) -> str:
    """A part of the page that this package holds."""
    return files("bench.report.html").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
