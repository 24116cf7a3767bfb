"""python -m bench.tree: the search tree of one problem."""

import sys

from bench.runner.cli.tree import main

if __name__ == "__main__":
    sys.exit(main())
