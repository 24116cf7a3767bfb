"""python -m bench.sandbox_speed: see `bench.experiments.sandbox_speed`."""

import sys

from bench.experiments.sandbox_speed import main

if __name__ == "__main__":
    sys.exit(main())
