"""python -m prm.rollouts: label steps by sampling on from them. See `bench.runner.rollouts`."""

import sys

from bench.runner.rollouts import main

if __name__ == "__main__":
    sys.exit(main())
