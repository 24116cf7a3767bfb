"""python -m bench.gguf_check: does a converted GGUF model tokenize and continue as llama.cpp does?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.experiments.gguf_check import GgufCheckRequest, check
from prm.data.rows import read_rows
from prm.pretrained.names import gguf_file, pretrained_folder
from prm.pretrained.packages import PACKAGES
from search.command import exit_code
from search.errors import UsageError

ABOUT = """\
llama.cpp continues questions greedily; the converted model, given the same tokens, predicts each of them.
Also compares the tokens of the prompts, of the continuations and of texts that tokenizers disagree about.
Needs the package xllamacpp, which this project does not install.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    return exit_code(lambda: _run(_parser().parse_args(arguments)))


def _run(args: argparse.Namespace) -> None:
    package = PACKAGES.get(args.model)
    folder = pretrained_folder(args.model)
    if folder is None:
        raise UsageError(f"{args.model}: neither a GGUF file nor one of {', '.join(PACKAGES)}")
    rows = [row for _, row in zip(range(args.limit), read_rows(args.questions), strict=False)]
    with TemporaryDirectory() as none_kept:
        report = check(
            GgufCheckRequest(
                file=Path(args.model).expanduser() if package is None else gguf_file(package),
                folder=folder, questions=[row.text("question", "problem") for row in rows],
                tokens=args.tokens, keep=args.keep or Path(none_kept) / "continued.jsonl",
                threads=args.threads,
            ),
            _progress,
        )  # fmt: skip
    print(json.dumps(report.as_json(), indent=1) if args.json else report.text())


def _progress(items: Sequence[str], what: str) -> Iterator[str]:
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, what, console=Console(stderr=True), transient=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.gguf_check", description=ABOUT)
    # fmt: off
    add = parser.add_argument
    add("model", metavar="MODEL", help=f"{', '.join(PACKAGES)}, or a GGUF file")
    add("--questions", required=True, metavar="FILE",
        help="JSON lines with a 'question' or 'problem', e.g. GSM8K's test.jsonl")
    add("--limit", type=int, default=50, metavar="N", help="how many of them (default: %(default)s)")
    add("--tokens", type=int, default=64, metavar="N",
        help="most tokens of a continuation (default: %(default)s)")
    add("--keep", type=Path, metavar="FILE",
        help="keep llama.cpp's continuations here; an interrupted command continues from there")
    add("--threads", type=int, default=2, metavar="N", help="threads of either (default: %(default)s)")
    add("--json", action="store_true", help="print one JSON object")
    # fmt: on
    return parser


if __name__ == "__main__":
    sys.exit(main())
