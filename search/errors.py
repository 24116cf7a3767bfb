"""What can go wrong, by whose doing. Every message names the thing and the fix.

A `SearchError` raised while one problem is worked on becomes that problem's `Outcome.error`;
the others go on. `UsageError` is raised before anything is loaded or spent.
"""

from __future__ import annotations


class SearchError(Exception):
    """Base of all errors of this package."""


class UsageError(SearchError):
    """The request itself is wrong: an unknown name, a bad file, a checkpoint of the wrong kind."""


class PolicyError(SearchError):
    """The policy gave no sample."""


class ScorerError(SearchError):
    """The reward model gave no judgement, or one that is none."""


class ContextError(SearchError):
    """A prefix does not fit a model's context window; nothing is ever cut in silence."""


class TraceError(UsageError):
    """A trace cannot be resumed: it belongs to another run, or is damaged before its last line."""
