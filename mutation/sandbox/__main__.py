"""python -m mutation.sandbox: run one program against its tests, in isolation."""

import sys

from mutation.sandbox.sandbox import main

if __name__ == "__main__":
    sys.exit(main())
