"""TRL's trainers over token ids. Imported late: TRL is an optional dependency."""

from __future__ import annotations

from typing import Any

from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

from prm.training.arguments import arguments, on_one_gpu
from prm.training.trainer import StopOnSignal
from prm.tuning.data import TuningData
from prm.tuning.request import TuneRequest

LOSSES = {"dpo": "sigmoid", "nca": "nca_pair"}
"""DPOTrainer's name of a method's loss."""


class _AsTokenised:
    """Data are tokenised already, so nothing is left to prepare. Usage is reported to nobody."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _send_telemetry(self) -> None:
        pass


class SFT(_AsTokenised, SFTTrainer):  # type: ignore[misc]  # TRL is untyped here
    """Learns right actions."""


class DPO(_AsTokenised, DPOTrainer):  # type: ignore[misc]
    """Learns from pairs: DPO's loss, or NCA's."""


class KTO(_AsTokenised, KTOTrainer):  # type: ignore[misc]
    """Learns from right and wrong actions, in the order of `prm.tuning.data.kto_rows`."""


def trainer_for(
    request: TuneRequest, model: Any, tokenizer: Any, data: TuningData, stop: StopOnSignal
) -> Any:
    """The trainer of a request. The reference is the base: loaded again, or the model without its LoRA."""
    options = {
        **arguments(request, len(data.train), data.validation is not None), "learning_rate": request.peak_lr,
        "gradient_checkpointing": request.gradient_checkpointing, "max_length": None,
    }  # fmt: skip
    if request.method == "sft":
        made, config = SFT, SFTConfig(**options)
    elif request.method == "kto":
        both = {f"per_device_{part}_batch_size": 2 * request.batch for part in ("train", "eval")}
        weights = {"desirable_weight": request.desirable, "undesirable_weight": 1.0}
        made, config = KTO, KTOConfig(**{**options, **both}, **weights, beta=request.beta)
    else:
        made, config = DPO, DPOConfig(**options, loss_type=[LOSSES[request.method]], beta=request.beta)
    return made(
        model=model, args=on_one_gpu(config), train_dataset=data.train, eval_dataset=data.validation,
        processing_class=tokenizer, callbacks=[stop], peft_config=_adapter(request),
    )  # fmt: skip


def _adapter(request: TuneRequest) -> Any:
    """LoRA for all layers but the output layer, as for reward models."""
    if not request.lora:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=request.lora, lora_alpha=2 * request.lora, target_modules="all-linear", exclude_modules=["lm_head"],
        task_type="CAUSAL_LM",
    )  # fmt: skip
