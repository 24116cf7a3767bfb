"""python -m prm.serve: a reward model over HTTP. See `bench.runner.cli.serve_prm`."""

import sys

from bench.runner.cli.serve_prm import main

if __name__ == "__main__":
    sys.exit(main())
