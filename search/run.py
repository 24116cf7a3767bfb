"""python -m search.run: solve problems with a strategy, or with several. See `bench.runner.cli.run`."""

import sys

from bench.runner.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
