"""python -m prm.preference.collect: collect preference trees. See `bench.runner.cli.collect`."""

import sys

from bench.runner.cli.collect import main

if __name__ == "__main__":
    sys.exit(main())
