"""python -m bench.html: a comparison, with every search tree in it, as one file for a browser."""

import sys

from bench.runner.cli.html import main

if __name__ == "__main__":
    sys.exit(main())
