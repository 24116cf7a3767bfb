"""The typed request for an evaluation of reward models, and its validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prm.data import load
from prm.reading.zoo import find
from prm.scoring.scorers import Engine
from search.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """Measure reward models on labelled data, beside baselines.

    prms: names that `prm.reading.zoo.find` knows. servers: base URLs of servers that have the one model that
        is named, or none is.
    data, baselines: data sets as `prm.data.load` takes them; the baselines learn from the latter.
    out: the folder of the report and of the scores, which are reused if the request is made again.
    strict: refuse data with rows that cannot be read; otherwise they are left out and counted.
    limit: the first records of each data set; None is all. dtype: as `search.precision.served` takes it.
    """

    prms: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    data: tuple[str, ...]
    out: Path
    baselines: tuple[str, ...] = ()
    strict: bool = False
    limit: int | None = None
    engine: Engine = "hf"
    dtype: str = "auto"

    def validate(self) -> None:
        """Raise UsageError, which lists everything that is wrong, before a model or data set is read."""
        faults = []
        if not self.prms and not self.servers:
            faults.append("name reward models by --prm, or a server by --prm-server")
        if self.servers and len(self.prms) > 1:
            faults.append("--prm-server has one reward model: name no more than one by --prm")
        faults += [*self._refused(find, self.prms), *self._refused(load, (*self.data, *self.baselines))]
        if self.limit is not None and self.limit < 1:
            faults.append(f"--limit {self.limit}: must be at least 1")
        if faults:
            raise UsageError(*faults)

    def _refused(self, look_up: Callable[[str], object], names: tuple[str, ...]) -> Iterator[str]:
        for name in names:
            try:
                look_up(name)
            except UsageError as error:
                yield str(error)
