"""How every command of this package ends: errors in one line, and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable

from search.errors import SearchError


def run(main: Callable[[], None]) -> None:
    """Run a command. An error of use is one line and exit code 2; Ctrl-C is exit code 130."""
    try:
        main()
    except SearchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
