"""What a model is trained to score, from the sources of its records."""

from __future__ import annotations

from collections.abc import Iterable

from prm.data.labels import LabelledSolution
from prm.data.pairs import Pair
from prm.reading.layout import Domain

_MATH = {"prm800k", "math-shepherd", "processbench", "prmbench", "gsm8k", "math", "builtin"}
_CODE = {"mbpp", "humaneval", "builtin-code"}
_MUTATION = "mutation"
"""The producer of labels that `mutation.build` writes, whatever the source."""


def domain_of(records: Iterable[LabelledSolution | Pair]) -> Domain:
    """The domain that all records share; "" if they differ or the source of one is unknown."""
    found = {_domain(*source) for source in {_source(record) for record in records}}
    return found.pop() if len(found) == 1 else ""


def _source(record: LabelledSolution | Pair) -> tuple[str, str]:
    return record.source, "" if isinstance(record, Pair) else record.produced_by


def _domain(source: str, produced_by: str) -> Domain:
    name = source.removeprefix("rollouts/").partition("/")[0]
    if produced_by == _MUTATION or name in _CODE:
        return "code"
    return "math" if name in _MATH else ""
