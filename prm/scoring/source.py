"""A reward model as commands name it: loaded here, or on servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prm.reading.fingerprint import prm_fingerprint
from prm.reading.layout import Layout
from prm.reading.zoo import find
from prm.scoring.remote import load_remote_scorer
from prm.scoring.scorers import Engine, ManagedScorer, load_scorer
from prm.scoring.served import ServedPRM, find_served


@dataclass(frozen=True, slots=True)
class Source:
    """Where scores come from.

    name: of the model. layout: how it reads steps. weights: its fingerprint. engine, dtype: what it runs on;
    of a model on servers, what they say. served: the model there, None if it is loaded here.
    """

    name: str
    layout: Layout
    weights: str
    engine: str
    dtype: str
    served: ServedPRM | None = None

    @property
    def identity(self) -> dict[str, str]:
        """What scores depend on beside the solutions."""
        return {"prm_weights": self.weights, "engine": self.engine, "dtype": self.dtype}

    def load(self) -> ManagedScorer:
        """The model. Use it in `async with`. Raises UsageError."""
        if self.served is not None:
            return load_remote_scorer(self.served)
        return load_scorer(self.name, "vllm" if self.engine == "vllm" else "hf", dtype=self.dtype)


def source(name: str, engine: Engine, dtype: str, servers: Sequence[str] = ()) -> Source:
    """The reward model of this name. Loads no weights. Raises UsageError.

    name: as `prm.reading.zoo.find` takes it; on `python -m prm.serve` it may be "". servers: base URLs.
    """
    if not servers:
        return Source(name, find(name).layout, prm_fingerprint(name), engine, dtype)
    served = find_served(servers, name or None)
    return Source(served.name, served.layout, served.fingerprint, served.kind, served.run_as, served)
