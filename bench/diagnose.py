"""python -m bench.diagnose: why a recorded search does not solve more problems."""

import sys

from bench.runner.cli.diagnose import main

if __name__ == "__main__":
    sys.exit(main())
