"""Rows of UltraInteract's files in the columns of TRL's trainers, as messages: for `datasets.Dataset.map`.

TRL does not know the schema. DPOTrainer, given the rows as they are, takes what `chosen` and `rejected` begin
with alike for the prompt, and never reads the trajectory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Message = dict[str, str]


def pair_messages(row: Mapping[str, Any]) -> dict[str, list[Message]]:
    """A row of pairs.jsonl for DPOTrainer, KTOTrainer and RewardTrainer: prompt, chosen and rejected."""
    prompt = [_message(turn["from"], turn["value"]) for turn in row["trajectory"]]
    sides = {side: [_message("assistant", row[side])] for side in ("chosen", "rejected")}
    return {"prompt": prompt, **sides}


def sft_messages(row: Mapping[str, Any]) -> dict[str, list[Message]]:
    """A row of sft.jsonl for SFTTrainer: prompt and completion, which alone bears loss."""
    prompt, completion = _message("user", row["instruction"]), _message("assistant", row["response"])
    return {"prompt": [prompt], "completion": [completion]}


def _message(role: str, text: str) -> Message:
    return {"role": role, "content": text}
