"""What identifies a reward model, or an ensemble of them.

Results that are kept (traces, scores) carry the fingerprint of the models that made them, and are refused
once a model has changed: weights, tokenizer, configuration, or a reward model's layout and calibration.
"""

from __future__ import annotations

import json
from dataclasses import replace

from prm.reading.calibration import Calibration
from prm.reading.content import digest_of, fingerprint, old_fingerprint
from prm.reading.layout import layout_fields
from prm.reading.zoo import find


def prm_fingerprint(name: str, *, calibrated: bool = True) -> str:
    """Identifies a reward model by its layout, weights and tokenizer; an ensemble by its layout and members.

    name: as `prm.reading.zoo.find` takes it. calibrated: False leaves out the calibration and the aggregate,
        for what depends on the outputs of the head only.
    Raises UsageError.
    """
    entry = find(name)
    layout = replace(entry.layout, members=())  # names: what they stand for is hashed
    if not calibrated:
        layout = replace(layout, calibration=Calibration(), aggregate=None)
    fields = layout_fields(layout)
    if entry.members:
        return " ".join([digest_of(json.dumps(fields)), *map(prm_fingerprint, entry.members)])
    models = [fingerprint(model) or model for model in dict.fromkeys((entry.model, entry.tokenizer))]
    return digest_of(json.dumps([fields, models, entry.architecture]))


def old_prm_fingerprint(name: str) -> str | None:
    """What version 0.1.0 recorded of a reward model: its weights alone, or its members'."""
    entry = find(name)
    parts = [old_prm_fingerprint(member) for member in entry.members] or [old_fingerprint(entry.model)]
    return " ".join(part for part in parts if part is not None) or None
