"""python -m bench.pass_at_k: pass@k of sampled programs."""

import sys

from bench.runner.cli.pass_at_k import main

if __name__ == "__main__":
    sys.exit(main())
