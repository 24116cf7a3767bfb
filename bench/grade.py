"""python -m bench.grade: grade a file of answers."""

import sys

from bench.runner.cli.grade import main

if __name__ == "__main__":
    sys.exit(main())
