"""Error types, grouped by who is responsible. Every message names the problem and the fix.

A `SearchError` raised while one problem is worked on becomes that problem's `Outcome.error`;
the others go on. `UnavailableError` ends the run instead. `UsageError` is raised before anything is loaded or
spent.
"""

from __future__ import annotations


class SearchError(Exception):
    """Base of all errors of this package. Each argument is a message of its own."""

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class UsageError(SearchError):
    """The request itself is wrong: an unknown name, a bad file, a checkpoint of the wrong kind."""


class PolicyError(SearchError):
    """The policy failed to return a sample, or returned an invalid one."""


class ScorerError(SearchError):
    """The reward model failed to return a score, or returned an invalid one."""


class ContextError(SearchError):
    """A prefix does not fit a model's context window. Prefixes are never truncated."""


class UnavailableError(SearchError):
    """No server of a model answers any more. No problem is to blame: the run stops, and can be resumed."""


class TraceError(UsageError):
    """A trace cannot be resumed: it belongs to another run, or it is damaged before its last line."""


def reason(error: Exception) -> str:
    """What an error says, for a message that names the file itself."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
