"""python -m bench.reselect: other ways to choose among the solutions of a recorded run."""

import sys

from bench.runner.cli.reselect import main

if __name__ == "__main__":
    sys.exit(main())
