"""How every command of the project ends: one mapping from errors to exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import IntEnum

from search.errors import SearchError, UnavailableError, reason


class Exit(IntEnum):
    """Exit codes of the commands."""

    DONE = 0
    FAILED = 1
    """The command ran, and everything it was to do failed; each command's --help says what that means. Or it
    was stopped on the way: a model's servers were lost, or a file could not be written."""
    USAGE = 2
    """The request is wrong; nothing was spent."""
    INTERRUPTED = 130
    """Ctrl-C."""


def _print(message: str) -> None:
    print(message, file=sys.stderr)


def exit_code(work: Callable[[], int | None], *, report: Callable[[str], None] = _print) -> int:
    """Run `work`; return its exit code, or the one that what it raised stands for.

    work: returns an exit code; None is `Exit.DONE`.
    report: shows a line that explains an error; called for each message of the error.
    """
    try:
        return work() or Exit.DONE
    except SearchError as error:
        for message in error.args:
            report("error: " + " ".join(str(message).split()))
        return Exit.FAILED if isinstance(error, UnavailableError) else Exit.USAGE
    except BrokenPipeError:  # the reader has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except OSError as error:  # a full disk, a file system that cannot be written
        where = f"{error.filename}: " if error.filename else ""
        report(f"error: {where}{reason(error)}")
        return Exit.FAILED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
