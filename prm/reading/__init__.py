"""How a reward model reads a question and its steps: text template, head, calibration, ensembles, the zoo."""

from prm.reading.layout import Layout
from prm.reading.zoo import RewardModel, find

__all__ = ["Layout", "RewardModel", "find"]
