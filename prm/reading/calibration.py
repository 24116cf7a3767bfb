"""What `prm.calibrate` fits: scaling of a reward model's probabilities, and HGS's thresholds on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite

from search.errors import UsageError
from search.types import StepScore


@dataclass(frozen=True, slots=True)
class Calibration:
    """Bias-corrected temperature scaling (Alexandari et al., arXiv:1901.06852), and thresholds.

    accept, reject: HGS's thresholds on P(not wrong) and P(wrong), in [0, 1]; None if not fitted.
    temperature: the logits are divided by it.
    bias: added to the logits after that, one number per label; empty adds nothing.

    Raises UsageError if a number is out of range.
    """

    accept: float | None = None
    reject: float | None = None
    temperature: float = 1.0
    bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, threshold in (("accept", self.accept), ("reject", self.reject)):
            if threshold is not None and not 0 <= threshold <= 1:
                raise UsageError(f"prm.json: {name}={threshold} must lie between 0 and 1")
        if not self.temperature > 0:
            raise UsageError(f"prm.json: temperature={self.temperature} must be above 0")
        if not all(map(isfinite, self.bias)):
            raise UsageError(f"prm.json: bias={list(self.bias)} must be finite numbers")

    @property
    def thresholds(self) -> dict[str, float]:
        """The fitted thresholds, by the name of HGS's parameter."""
        fitted = {"accept": self.accept, "reject": self.reject}
        return {name: threshold for name, threshold in fitted.items() if threshold is not None}

    def step_score(self, labels: Sequence[str], probabilities: Sequence[float]) -> StepScore:
        """The calibrated score of a step.

        probabilities: the head's, [len(labels)]; a missing "negative" is 1 - "positive".
        Raises ScorerError if they are not probabilities.
        """
        by_label = dict(zip(labels, map(float, probabilities), strict=True))
        by_label.setdefault("negative", 1 - by_label["positive"])
        if self.temperature != 1 or self.bias:
            biases = dict(zip(labels, self.bias, strict=False))  # a single output is a logit against 0
            powers = {
                label: max(p, 1e-12) ** (1 / self.temperature) * exp(biases.get(label, 0.0))
                for label, p in by_label.items()
            }
            by_label = {label: p / sum(powers.values()) for label, p in powers.items()}
        return StepScore(by_label["negative"], by_label.get("neutral", 0.0), by_label["positive"])
