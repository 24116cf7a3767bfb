"""python -m prm.preference.from_traces: preference trees from traces. See `bench.runner.cli.from_traces`."""

import sys

from bench.runner.cli.from_traces import main

if __name__ == "__main__":
    sys.exit(main())
