"""python -m prm.preference.show: count and draw preference trees. See `bench.runner.cli.preference_trees`."""

import sys

from bench.runner.cli.preference_trees import main

if __name__ == "__main__":
    sys.exit(main())
