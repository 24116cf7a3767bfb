"""python -m search.serve: a search behind OpenAI's API. See `bench.runner.cli.serve`."""

import sys

from bench.runner.cli.serve import main

if __name__ == "__main__":
    sys.exit(main())
