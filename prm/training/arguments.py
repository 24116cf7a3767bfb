"""The options of transformers' Trainer that all training here shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T", bound=Any)

LOG_EVERY = 10
"""Steps between logged losses; shorter runs log every step."""


class Schedule(Protocol):
    """What a request says of a run: see `prm.training.request.TrainRequest`."""

    @property
    def out(self) -> Path: ...
    @property
    def batch(self) -> int: ...
    @property
    def accumulate(self) -> int: ...
    @property
    def epochs(self) -> float: ...
    @property
    def steps(self) -> int: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def warmup(self) -> float: ...
    @property
    def bf16(self) -> bool: ...
    @property
    def every(self) -> int: ...
    @property
    def seed(self) -> int: ...


def arguments(request: Schedule, examples: int, validated: bool) -> dict[str, Any]:
    """Keyword arguments of `TrainingArguments`, without the learning rate.

    examples: how many there are to train on. validated: whether there are validation data.
    """
    import torch

    per_step = request.batch * request.accumulate
    steps = request.steps if request.steps > 0 else request.epochs * examples / per_step
    return {
        "output_dir": str(request.out / "checkpoints"), "per_device_train_batch_size": request.batch,
        "per_device_eval_batch_size": request.batch, "gradient_accumulation_steps": request.accumulate,
        "num_train_epochs": request.epochs, "max_steps": request.steps, "weight_decay": request.weight_decay,
        "lr_scheduler_type": "cosine", "warmup_steps": request.warmup, "bf16": request.bf16,
        "use_cpu": not torch.cuda.is_available(), "seed": request.seed, "report_to": "none",
        "logging_steps": LOG_EVERY if steps >= 2 * LOG_EVERY else 1,
        "eval_strategy": "steps" if validated else "no", "eval_steps": request.every,
        "save_steps": request.every, "save_total_limit": 2,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }  # fmt: skip


def on_one_gpu(options: T) -> T:
    """transformers' options, changed so that a process uses one GPU.

    If it finds several, its Trainer splits each batch among them, and pairs, whose chosen solutions come
    before the rejected ones, would be torn apart. `accelerate launch` uses several, one a process.

    options: `TrainingArguments`.
    """
    if options.n_gpu > 1:  # also looks for GPUs: it is read only once that is done
        options._n_gpu = 1
    return options
