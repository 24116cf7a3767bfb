"""python -m bench.run: strategies x budgets x seeds, compared at equal cost. See bench.runner.cli.grid."""

import sys

from bench.runner.cli.grid import main

if __name__ == "__main__":
    sys.exit(main())
