"""python -m prm.rollouts: label steps by sampling on from them. See `bench.runner.cli.rollouts`."""

import sys

from bench.runner.cli.rollouts import main

if __name__ == "__main__":
    sys.exit(main())
