"""python -m bench.merge: the shares of a run as one run."""

import sys

from bench.runner.cli.merge import main

if __name__ == "__main__":
    sys.exit(main())
