"""python -m bench.rerank: how well a reward model chooses among sampled solutions."""

import sys

from bench.runner.cli.rerank import main

if __name__ == "__main__":
    sys.exit(main())
