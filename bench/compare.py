"""python -m bench.compare: two runs, paired by problem."""

import sys

from bench.runner.cli.compare import main

if __name__ == "__main__":
    sys.exit(main())
