"""The LoRA adapter of a training run by itself, beside the checkpoint that it is merged into."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from prm.reading.local import RECORDS

FOLDER = "adapter"


def save_adapter(model: Any, base: str, out: Path) -> None:
    """Write the adapter, and a reward model's head with it, to the folder `adapter` in `out`, as PEFT does.

    Call it before the adapter is merged: the model is without it afterwards. Beside the weights are what says
    how the model reads a question (the first of `RECORDS` in `out`), a policy's generation_config.json, which
    names the tokens that end an answer, and a card, but no tokenizer: the base's is used.

    model: of PEFT, with the adapter "default". base: as the user named it.
    """
    folder, config = out / FOLDER, model.peft_config["default"]
    own = model.get_base_model()
    is_classifier = type(own).__name__.endswith("ForSequenceClassification")
    config.base_model_name_or_path = base
    config.task_type = "SEQ_CLS" if is_classifier else "CAUSAL_LM"
    for name in ("target_modules", "exclude_modules"):  # sets, which would be written in any order
        setattr(config, name, sorted(getattr(config, name) or ()))
    # "auto" would look for the base on the hub, to see whether its vocabulary was larger or smaller
    model.save_pretrained(folder, selected_adapters=["default"], save_embedding_layers=False)
    if not is_classifier:
        own.generation_config.save_pretrained(folder)
    record = next((out / name for name in RECORDS if (out / name).is_file()), None)
    if record is not None:
        shutil.copy(record, folder)
    (folder / "README.md").write_text(_card(out.name, base, config.r), encoding="utf-8")


def _card(name: str, base: str, rank: int) -> str:
    """In place of PEFT's, which is a form to be filled in."""
    return f"""---
library_name: peft
---
# {name}: a LoRA adapter of rank {rank}

Base: `{base}`, whose tokenizer is used. Options that take the folder of a checkpoint take this one: it is
merged into its base on first use. The card of the checkpoint says how it was trained.
"""
