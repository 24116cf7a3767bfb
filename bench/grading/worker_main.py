"""Runs math-verify in a worker process. bench.grading.worker starts it by its path.

The first line of standard input is empty. The reply is "", or why math-verify cannot be loaded. Every other
line is [answer, answer, seconds], and the reply is true or false.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
from contextlib import suppress

MEMORY_BYTES = 2 << 30


def main() -> None:
    """Reply to requests until the pipe is closed."""
    requests, replies = sys.stdin, sys.stdout
    sys.stdout = sys.stderr  # output of libraries must not be taken for a reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends this process
    for line in requests:
        if line.strip():
            a, b, seconds = json.loads(line)
            # The parent kills this process after `seconds`. This covers the case that the parent has ended.
            faulthandler.dump_traceback_later(2 * seconds, exit=True)
            reply: bool | str = equal(a, b)
            faulthandler.cancel_dump_traceback_later()
        else:
            reply = load()
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def load() -> str:
    """Limit the memory and import math-verify. Returns "", or why that failed."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # every thread would reserve memory
    with suppress(ImportError, OSError, ValueError):  # missing on Windows, refused by macOS
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable()
    try:
        parse("1")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def equal(a: str, b: str) -> bool:
    """Whether math-verify calls the two LaTeX answers equal in either order; it is not symmetric."""
    from math_verify import verify

    try:
        first, second = parse(a), parse(b)
        return any(
            # Ten places instead of six, the default: 1.414214 is not the square root of 2.
            verify(gold, target, float_rounding=10, timeout_seconds=None)
            for gold, target in ((first, second), (second, first))
        )
    except Exception:
        return False


def parse(answer: str) -> list[object]:
    """The answer as sympy objects. Uses only math-verify's LaTeX grammar: its other parser evaluates text."""
    from math_verify import LatexExtractionConfig
    from math_verify import parse as read

    config = LatexExtractionConfig(boxed_match_priority=0)
    boxed = f"\\boxed{{{answer}}}"
    return list(read(boxed, [config], fallback_mode="no_fallback", parsing_timeout=None))


if __name__ == "__main__":
    main()
